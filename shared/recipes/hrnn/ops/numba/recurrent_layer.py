"""The layer of the linear recurrence, and the norm: matrix products by torch, the rest by kernels. No weights.

Shapes as in network.py: T steps, B streams, N rows, H hidden, W state width, R half of it, V = 3 W, P buckets of time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from shared.recipes.hrnn.config import GAP_BUCKETS
from shared.recipes.hrnn.ops.numba.compiled import (
    ONE,
    ZERO,
    compile_kernel,
    convert_to,
    create_partial_sums,
    read_float,
    run_in_parts,
    sigmoid,
)

LEAST_MEAN = np.finfo(np.float32).eps
"""The epsilon that torch's rms_norm adds to the mean square."""


class RecurrentLayer(torch.autograd.Function):
    """A whole layer: norm, gated linear recurrence, output gate, residual. ``fast`` multiplies matrices in bfloat16."""

    @staticmethod
    def forward(
        ctx: Any,
        x_TBH: Tensor,
        norm_H: Tensor,
        into_VH: Tensor,
        time_PW: Tensor,
        out_HW: Tensor,
        gap_TB: Tensor,
        keep_TB2: Tensor,
        h_BW: Tensor,
        fast: bool,
    ) -> tuple[Tensor, Tensor]:
        (T, B, H), W = x_TBH.shape, out_HW.shape[1]
        low = torch.bfloat16 if fast else x_TBH.dtype
        x_NH, into_low, out_low = x_TBH.reshape(-1, H).contiguous(), into_VH.to(low), out_HW.to(low)
        gap_TB, keep_TB2, h_BW = gap_TB.contiguous(), keep_TB2.contiguous(), h_BW.contiguous()
        normed_NH, rms_N = _apply_norm(x_NH, norm_H, low)
        with torch.autocast("cpu", enabled=False):
            into_NV = torch.mm(normed_NH, into_low.T)
            h_TBW, y_NW = x_NH.new_empty(T, B, W), into_NV.new_empty(T * B, W)
            run_in_parts(gated_scan_kernel, B, into_NV.view(T, B, 3, 2, -1), time_PW.view(-1, 2, W // 2), gap_TB,
                         keep_TB2, h_BW.view(B, 2, -1), h_TBW.view(T, B, 2, -1), y_NW.view(T, B, 2, -1))  # fmt: skip
            z_NH = torch.mm(y_NW, out_low.T).to(x_NH.dtype).add_(x_NH)
        ctx.save_for_backward(x_NH, norm_H, time_PW, gap_TB, keep_TB2, h_BW, rms_N, normed_NH, into_low, out_low,
                              into_NV, h_TBW, y_NW)  # fmt: skip
        last_BW = h_TBW[-1].clone()
        ctx.mark_non_differentiable(last_BW)
        return z_NH.view(T, B, H), last_BW

    @staticmethod
    def backward(ctx: Any, dz_TBH: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        (x_NH, norm_H, time_PW, gap_TB, keep_TB2, h_BW, rms_N, normed_NH, into_low, out_low,
         into_NV, h_TBW, y_NW) = ctx.saved_tensors  # fmt: skip
        (T, B, W), H = h_TBW.shape, x_NH.shape[1]
        dz_NH = dz_TBH.reshape(-1, H).contiguous()
        low_dz = dz_NH.to(out_low.dtype)
        dout_HW = torch.mm(low_dz.T, y_NW).to(x_NH.dtype)
        dy_NW = torch.mm(low_dz, out_low)
        dinto_NV, dtime_PW = torch.empty_like(into_NV), create_partial_sums(B, GAP_BUCKETS, W)
        run_in_parts(gated_scan_backward_kernel, B, dy_NW.view(T, B, 2, -1), into_NV.view(T, B, 3, 2, -1),
                 time_PW.view(-1, 2, W // 2), gap_TB, keep_TB2, h_BW.view(B, 2, -1), h_TBW.view(T, B, 2, -1),
                 dinto_NV.view(T, B, 3, 2, -1), dtime_PW.view(-1, GAP_BUCKETS, 2, W // 2),
                 torch.zeros(B, 2, W // 2))  # fmt: skip
        dinto_VH = torch.mm(normed_NH.T, dinto_NV).to(x_NH.dtype).T
        dx_NH, dnorm_H = _apply_norm_backward(torch.mm(dinto_NV, into_low), x_NH, rms_N, norm_H, dz_NH)
        return dx_NH.view(T, B, H), dnorm_H, dinto_VH, dtime_PW.sum(0), dout_HW, None, None, None, None


class RmsNorm(torch.autograd.Function):
    """torch's rms_norm with its default epsilon."""

    @staticmethod
    def forward(ctx: Any, x_TBH: Tensor, weight_H: Tensor) -> Tensor:
        x_NH = x_TBH.reshape(-1, len(weight_H)).contiguous()
        y_NH, rms_N = _apply_norm(x_NH, weight_H, x_NH.dtype)
        ctx.save_for_backward(x_NH, rms_N, weight_H)
        return y_NH.view_as(x_TBH)

    @staticmethod
    def backward(ctx: Any, dy_TBH: Tensor) -> tuple[Tensor, Tensor]:
        x_NH, rms_N, weight_H = ctx.saved_tensors
        dx_NH, dweight_H = _apply_norm_backward(dy_TBH.reshape(x_NH.shape).contiguous(), x_NH, rms_N, weight_H, None)
        return dx_NH.view_as(dy_TBH), dweight_H


def _apply_norm(x_NH: Tensor, weight_H: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    y_NH, rms_N = torch.empty_like(x_NH, dtype=dtype), x_NH.new_empty(len(x_NH))
    run_in_parts(norm_kernel, len(x_NH), x_NH, weight_H, y_NH, rms_N)
    return y_NH, rms_N


def _apply_norm_backward(
    dy_NH: Tensor, x_NH: Tensor, rms_N: Tensor, weight_H: Tensor, past_NH: Tensor | None
) -> tuple[Tensor, Tensor]:
    dx_NH, dweight_H = torch.empty_like(x_NH), create_partial_sums(len(x_NH), len(weight_H))
    run_in_parts(norm_backward_kernel, len(x_NH), dy_NH, x_NH, rms_N, weight_H, past_NH, dx_NH, dweight_H)
    return dx_NH, dweight_H.sum(0)


@compile_kernel
def norm_kernel(_: int, begin: int, end: int, x_NH: Any, weight_H: Any, y_NH: Any, rms_N: Any) -> None:
    """Write y = x / rms(x) * weight, and 1 / rms(x) to ``rms_N`` for the backward pass."""
    H = x_NH.shape[1]
    for n in range(begin, end):
        x, y = x_NH[n], y_NH[n]
        total = ZERO
        for h in range(H):
            total += x[h] * x[h]
        rms_N[n] = rms = np.float32(ONE / np.sqrt(total / np.float32(H) + LEAST_MEAN))
        for h in range(H):
            y[h] = convert_to(y[h], x[h] * rms * weight_H[h])


@compile_kernel
def norm_backward_kernel(
    part: int,
    begin: int,
    end: int,
    dy_NH: Any,
    x_NH: Any,
    rms_N: Any,
    weight_H: Any,
    past_NH: Any,
    dx_NH: Any,
    dweight_H: Any,
) -> None:
    """Write dx, and add dweight to the sum of this part.

    With r = 1 / rms(x): dx = (dy * weight - x * r^2 * mean(dy * weight * x)) * r. ``past_NH`` is added to it: the
    gradient of the residual, which passes the norm by; None if there is no residual.
    """
    H = x_NH.shape[1]
    for n in range(begin, end):
        dy, x, dx, rms = dy_NH[n], x_NH[n], dx_NH[n], rms_N[n]
        dweight = dweight_H[part]
        along = ZERO
        for h in range(H):
            d = read_float(dy[h])
            along += d * weight_H[h] * x[h]
            dweight[h] += d * x[h] * rms
        # The component along x, which normalization removes.
        along = np.float32(along * rms * rms / np.float32(H))
        if past_NH is None:
            for h in range(H):
                dx[h] = (read_float(dy[h]) * weight_H[h] - x[h] * along) * rms
        else:
            past = past_NH[n]
            for h in range(H):
                dx[h] = (read_float(dy[h]) * weight_H[h] - x[h] * along) * rms + past[h]


@compile_kernel
def gated_scan_kernel(
    _: int,
    begin: int,
    end: int,
    into_TB32R: Any,
    time_P2R: Any,
    gap_TB: Any,
    keep_TB2: Any,
    before_B2R: Any,
    h_TB2R: Any,
    y_TB2R: Any,
) -> None:
    """Write h_t = a h_(t-1) + (1 - a) v and y = h silu(g) for some streams, with a = sigmoid(gate + time).

    The second last axis of the states is [session's half, user's half]; ``keep`` is 0 where that half starts.
    """
    for t in range(len(h_TB2R)):
        for b in range(begin, end):
            for of_user in range(2):
                gates, vs, gs = into_TB32R[t, b, 0, of_user], into_TB32R[t, b, 1, of_user], into_TB32R[t, b, 2, of_user]
                keep, time = keep_TB2[t, b, of_user], time_P2R[gap_TB[t, b], of_user]
                before = before_B2R[b, of_user] if t == 0 else h_TB2R[t - 1, b, of_user]
                h, y = h_TB2R[t, b, of_user], y_TB2R[t, b, of_user]
                for r in range(len(h)):
                    a, v, g = sigmoid(read_float(gates[r]) + time[r]), read_float(vs[r]), read_float(gs[r])
                    # keep * before is the state, or 0 where a session or a user begins.
                    h_r = v + a * (keep * before[r] - v)
                    h[r] = h_r
                    y[r] = convert_to(y[r], h_r * g * sigmoid(g))


@compile_kernel
def gated_scan_backward_kernel(
    part: int,
    begin: int,
    end: int,
    dy_TB2R: Any,
    into_TB32R: Any,
    time_P2R: Any,
    gap_TB: Any,
    keep_TB2: Any,
    before_B2R: Any,
    h_TB2R: Any,
    dinto_TB32R: Any,
    dtime_P2R: Any,
    dh_B2R: Any,
) -> None:
    """Write the gradients of ``gated_scan_kernel``, last step first. ``time_P2R``'s are added to the sum of this part.

    ``dh_B2R`` carries the gradient of the state from step t + 1 to step t; 0 at the start.
    """
    for t in range(len(h_TB2R) - 1, -1, -1):
        for b in range(begin, end):
            for of_user in range(2):
                gates, vs, gs = into_TB32R[t, b, 0, of_user], into_TB32R[t, b, 1, of_user], into_TB32R[t, b, 2, of_user]
                dgates, dvs = dinto_TB32R[t, b, 0, of_user], dinto_TB32R[t, b, 1, of_user]
                dgs, dy = dinto_TB32R[t, b, 2, of_user], dy_TB2R[t, b, of_user]
                keep, time = keep_TB2[t, b, of_user], time_P2R[gap_TB[t, b], of_user]
                dtime = dtime_P2R[part, gap_TB[t, b], of_user]
                before = before_B2R[b, of_user] if t == 0 else h_TB2R[t - 1, b, of_user]
                h, dh = h_TB2R[t, b, of_user], dh_B2R[b, of_user]
                for r in range(len(h)):
                    a, v, g, d = (
                        sigmoid(read_float(gates[r]) + time[r]),
                        read_float(vs[r]),
                        read_float(gs[r]),
                        read_float(dy[r]),
                    )
                    s = sigmoid(g)
                    # dL/dh_t: by y_t = h_t g s, and by the next step.
                    d_h = d * g * s + dh[r]
                    dh[r] = keep * a * d_h
                    dv = d_h - a * d_h
                    # dh/da = keep * before - v, and da/dgate = a (1 - a).
                    dgate = (keep * before[r] - v) * a * dv
                    dtime[r] += dgate
                    dgates[r], dvs[r] = convert_to(dgates[r], dgate), convert_to(dvs[r], dv)
                    dgs[r] = convert_to(dgs[r], d * h[r] * s * (ONE + g - g * s))
