"""The network's parts on a CPU, with their gradients: matrix products by torch, all between them by numba's kernels.

What they compute is what network.py writes out; here it takes few passes over memory, for which a small network waits.
No weights. Not for a GPU, where numba need not be installed. Shapes as in network.py: T steps, B streams, N rows, H
hidden, W state width, V = 3 W, P buckets of time.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from shared.recipes.hrnn import kernels
from shared.recipes.hrnn.form import GAP_BUCKETS


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
            in_parts(kernels.gated_scan, B, into_NV.view(T, B, 3, 2, -1), time_PW.view(-1, 2, W // 2), gap_TB, keep_TB2,
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
        dinto_NV, dtime_PW = torch.empty_like(into_NV), _sums(B, GAP_BUCKETS, W)
        in_parts(kernels.gated_scan_back, B, dy_NW.view(T, B, 2, -1), into_NV.view(T, B, 3, 2, -1),
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


class LookUp(torch.autograd.Function):
    """The sum of a row of either table."""

    @staticmethod
    def forward(ctx: Any, one_IH: Tensor, ones_TB: Tensor, other_PH: Tensor, others_TB: Tensor) -> Tensor:
        ones_N, others_N = ones_TB.reshape(-1).contiguous(), others_TB.reshape(-1).contiguous()
        x_NH = one_IH.new_empty(len(ones_N), one_IH.shape[1])
        in_parts(kernels.look_up, len(x_NH), one_IH, ones_N, other_PH, others_N, x_NH)
        ctx.save_for_backward(ones_N, others_N)
        ctx.rows = len(one_IH), len(other_PH)
        return x_NH.view(*ones_TB.shape, -1)

    @staticmethod
    def backward(ctx: Any, dx_TBH: Tensor) -> tuple[Tensor, None, Tensor, None]:
        (ones_N, others_N), H = ctx.saved_tensors, dx_TBH.shape[-1]
        dx_NH = dx_TBH.reshape(-1, H).contiguous()
        done_IH, dother_PH = (dx_NH.new_zeros(rows, H) for rows in ctx.rows)
        kernels.look_up_back(*_arrays(dx_NH, done_IH, ones_N, dother_PH, others_N))
        return done_IH, None, dother_PH, None


class ScaleAndShift(torch.autograd.Function):
    """x * scale[gap] + shift[gap]."""

    @staticmethod
    def forward(ctx: Any, x_NH: Tensor, scale_PH: Tensor, shift_PH: Tensor, gap_N: Tensor) -> Tensor:
        x_NH, gap_N = x_NH.contiguous(), gap_N.contiguous()
        y_NH = torch.empty_like(x_NH)
        in_parts(kernels.scale_and_shift, len(x_NH), x_NH, scale_PH, shift_PH, gap_N, y_NH)
        ctx.save_for_backward(x_NH, scale_PH, gap_N)
        return y_NH

    @staticmethod
    def backward(ctx: Any, dy_NH: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x_NH, scale_PH, gap_N = ctx.saved_tensors
        dx_NH = torch.empty_like(x_NH)
        dscale_PH, dshift_PH = (_sums(len(x_NH), *scale_PH.shape) for _ in range(2))
        in_parts(kernels.scale_and_shift_back, len(x_NH), dy_NH.contiguous(), x_NH, scale_PH, gap_N,
                 dx_NH, dscale_PH, dshift_PH)  # fmt: skip
        return dx_NH, dscale_PH.sum(0), dshift_PH.sum(0), None


class Drop(torch.autograd.Function):
    """0 where the byte is below ``dropped``; what stays stands for that, too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bytes_: Tensor, dropped: int) -> Tensor:
        ctx.save_for_backward(bytes_)
        ctx.dropped = dropped
        return _dropped(x, bytes_, dropped)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None]:
        return _dropped(dy, *ctx.saved_tensors, ctx.dropped), None, None


def _normed(x_NH: Tensor, weight_H: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    y_NH, rms_N = torch.empty_like(x_NH, dtype=dtype), x_NH.new_empty(len(x_NH))
    in_parts(kernels.norm, len(x_NH), x_NH, weight_H, y_NH, rms_N)
    return y_NH, rms_N


def _normed_back(
    dy_NH: Tensor, x_NH: Tensor, rms_N: Tensor, weight_H: Tensor, past_NH: Tensor | None
) -> tuple[Tensor, Tensor]:
    dx_NH, dweight_H = torch.empty_like(x_NH), _sums(len(x_NH), len(weight_H))
    in_parts(kernels.norm_back, len(x_NH), dy_NH, x_NH, rms_N, weight_H, past_NH, dx_NH, dweight_H)
    return dx_NH, dweight_H.sum(0)


def _dropped(x: Tensor, bytes_: Tensor, dropped: int) -> Tensor:
    x = x.contiguous()
    y = torch.empty_like(x)
    in_parts(kernels.drop, x.numel(), x.view(-1), bytes_, dropped, y.view(-1))
    return y


def in_parts(kernel: Callable[..., None], count: int, *arguments: Tensor | int | None) -> None:
    """kernel(part, begin, end, *arguments) for all of ``count``, at once on as many threads as torch has."""
    arrays, parts = _arrays(*arguments), _parts(count)
    if parts == 1:
        kernel(0, 0, count, *arrays)
        return
    edges = [count * part // parts for part in range(parts + 1)]
    running = [_threads(parts).submit(kernel, part, edges[part], edges[part + 1], *arrays) for part in range(1, parts)]
    kernel(0, 0, edges[1], *arrays)
    for each in running:
        each.result()


def _parts(count: int) -> int:
    return max(1, min(torch.get_num_threads(), count))


def _sums(count: int, *shape: int) -> Tensor:
    """Zeros for each part to sum up what it has."""
    return torch.zeros(_parts(count), *shape)


@lru_cache(maxsize=1)
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count - 1)


def _arrays(*arguments: Tensor | int | None) -> list[Any]:
    """The same memory as numba sees it: bfloat16 as its bits."""
    return [_array(each) if isinstance(each, Tensor) else each for each in arguments]


def _array(tensor: Tensor) -> Any:
    tensor = tensor.detach()
    return (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
