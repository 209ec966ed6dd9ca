"""A layer with a linear recurrence, and a norm: matrix products by torch, all between them by kernels. No weights.

Shapes as in network.py: T steps, B streams, N rows, H hidden, W state width, R half of it, V = 3 W, P buckets of time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from shared.recipes.hrnn.config import GAP_BUCKETS
from shared.recipes.hrnn.ops.numba.compiled import ONE, ZERO, as_in, compiled, in_parts, number, sigmoid, sums_of

LEAST_MEAN = np.finfo(np.float32).eps
"""What torch's rms_norm adds to the mean square."""


class Layer(torch.autograd.Function):
    """The whole of a layer with a linear recurrence. ``fast`` multiplies matrices in bfloat16."""

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
        normed_NH, rms_N = _normed(x_NH, norm_H, low)
        with torch.autocast("cpu", enabled=False):
            into_NV = torch.mm(normed_NH, into_low.T)
            h_TBW, y_NW = x_NH.new_empty(T, B, W), into_NV.new_empty(T * B, W)
            in_parts(gated_scan, B, into_NV.view(T, B, 3, 2, -1), time_PW.view(-1, 2, W // 2), gap_TB, keep_TB2,
                     h_BW.view(B, 2, -1), h_TBW.view(T, B, 2, -1), y_NW.view(T, B, 2, -1))  # fmt: skip
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
        dinto_NV, dtime_PW = torch.empty_like(into_NV), sums_of(B, GAP_BUCKETS, W)
        in_parts(gated_scan_back, B, dy_NW.view(T, B, 2, -1), into_NV.view(T, B, 3, 2, -1),
                 time_PW.view(-1, 2, W // 2), gap_TB, keep_TB2, h_BW.view(B, 2, -1), h_TBW.view(T, B, 2, -1),
                 dinto_NV.view(T, B, 3, 2, -1), dtime_PW.view(-1, GAP_BUCKETS, 2, W // 2),
                 torch.zeros(B, 2, W // 2))  # fmt: skip
        dinto_VH = torch.mm(normed_NH.T, dinto_NV).to(x_NH.dtype).T
        dx_NH, dnorm_H = _normed_back(torch.mm(dinto_NV, into_low), x_NH, rms_N, norm_H, dz_NH)
        return dx_NH.view(T, B, H), dnorm_H, dinto_VH, dtime_PW.sum(0), dout_HW, None, None, None, None


class Norm(torch.autograd.Function):
    """torch's rms_norm."""

    @staticmethod
    def forward(ctx: Any, x_TBH: Tensor, weight_H: Tensor) -> Tensor:
        x_NH = x_TBH.reshape(-1, len(weight_H)).contiguous()
        y_NH, rms_N = _normed(x_NH, weight_H, x_NH.dtype)
        ctx.save_for_backward(x_NH, rms_N, weight_H)
        return y_NH.view_as(x_TBH)

    @staticmethod
    def backward(ctx: Any, dy_TBH: Tensor) -> tuple[Tensor, Tensor]:
        x_NH, rms_N, weight_H = ctx.saved_tensors
        dx_NH, dweight_H = _normed_back(dy_TBH.reshape(x_NH.shape).contiguous(), x_NH, rms_N, weight_H, None)
        return dx_NH.view_as(dy_TBH), dweight_H


def _normed(x_NH: Tensor, weight_H: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    y_NH, rms_N = torch.empty_like(x_NH, dtype=dtype), x_NH.new_empty(len(x_NH))
    in_parts(norm, len(x_NH), x_NH, weight_H, y_NH, rms_N)
    return y_NH, rms_N


def _normed_back(
    dy_NH: Tensor, x_NH: Tensor, rms_N: Tensor, weight_H: Tensor, past_NH: Tensor | None
) -> tuple[Tensor, Tensor]:
    dx_NH, dweight_H = torch.empty_like(x_NH), sums_of(len(x_NH), len(weight_H))
    in_parts(norm_back, len(x_NH), dy_NH, x_NH, rms_N, weight_H, past_NH, dx_NH, dweight_H)
    return dx_NH, dweight_H.sum(0)


@compiled
def norm(_: int, begin: int, end: int, x_NH: Any, weight_H: Any, y_NH: Any, rms_N: Any) -> None:
    """y = x / rms(x) * weight. ``rms_N`` gets the reciprocals."""
    H = x_NH.shape[1]
    for n in range(begin, end):
        x, y = x_NH[n], y_NH[n]
        total = ZERO
        for h in range(H):
            total += x[h] * x[h]
        rms_N[n] = rms = np.float32(ONE / np.sqrt(total / np.float32(H) + LEAST_MEAN))
        for h in range(H):
            y[h] = as_in(y[h], x[h] * rms * weight_H[h])


@compiled
def norm_back(
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
    """``past_NH`` is the gradient that came past the norm, by the residual; None where there is none."""
    H = x_NH.shape[1]
    for n in range(begin, end):
        dy, x, dx, rms = dy_NH[n], x_NH[n], dx_NH[n], rms_N[n]
        dweight = dweight_H[part]
        along = ZERO
        for h in range(H):
            d = number(dy[h])
            along += d * weight_H[h] * x[h]
            dweight[h] += d * x[h] * rms
        along = np.float32(along * rms * rms / np.float32(H))
        if past_NH is None:
            for h in range(H):
                dx[h] = (number(dy[h]) * weight_H[h] - x[h] * along) * rms
        else:
            past = past_NH[n]
            for h in range(H):
                dx[h] = (number(dy[h]) * weight_H[h] - x[h] * along) * rms + past[h]


@compiled
def gated_scan(
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
    """For some streams h_t = a h_(t-1) + (1 - a) v, with a = sigmoid(gate + time), and y = h silu(g)."""
    for t in range(len(h_TB2R)):
        for b in range(begin, end):
            for of_user in range(2):
                gates, vs, gs = into_TB32R[t, b, 0, of_user], into_TB32R[t, b, 1, of_user], into_TB32R[t, b, 2, of_user]
                keep, time = keep_TB2[t, b, of_user], time_P2R[gap_TB[t, b], of_user]
                before = before_B2R[b, of_user] if t == 0 else h_TB2R[t - 1, b, of_user]
                h, y = h_TB2R[t, b, of_user], y_TB2R[t, b, of_user]
                for r in range(len(h)):
                    a, v, g = sigmoid(number(gates[r]) + time[r]), number(vs[r]), number(gs[r])
                    h_r = v + a * (keep * before[r] - v)
                    h[r] = h_r
                    y[r] = as_in(y[r], h_r * g * sigmoid(g))


@compiled
def gated_scan_back(
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
    """The adjoint, last step first; ``dh_B2R`` is what later steps say of the state, 0 at first."""
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
                    a, v, g, d = sigmoid(number(gates[r]) + time[r]), number(vs[r]), number(gs[r]), number(dy[r])
                    s = sigmoid(g)
                    d_h = d * g * s + dh[r]
                    dh[r] = keep * a * d_h
                    dv = d_h - a * d_h
                    dgate = (keep * before[r] - v) * a * dv
                    dtime[r] += dgate
                    dgates[r], dvs[r] = as_in(dgates[r], dgate), as_in(dvs[r], dv)
                    dgs[r] = as_in(dgs[r], d * h[r] * s * (ONE + g - g * s))
