"""Sums of embeddings, rows scaled and shifted, dropout, and dot products of pairs, with their gradients. No weights.

Shapes as in network.py: N rows, H hidden, I items, P buckets of time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from shared.recipes.hrnn.ops.numba.compiled import ZERO, compile_kernel, create_partial_sums, run_in_parts, view_arrays


class EmbeddingSum(torch.autograd.Function):
    """Row ``ones`` of the first table plus row ``others`` of the second."""

    @staticmethod
    def forward(ctx: Any, one_IH: Tensor, ones_TB: Tensor, other_PH: Tensor, others_TB: Tensor) -> Tensor:
        ones_N, others_N = ones_TB.reshape(-1).contiguous(), others_TB.reshape(-1).contiguous()
        x_NH = one_IH.new_empty(len(ones_N), one_IH.shape[1])
        run_in_parts(embedding_sum_kernel, len(x_NH), one_IH, ones_N, other_PH, others_N, x_NH)
        ctx.save_for_backward(ones_N, others_N)
        ctx.rows = len(one_IH), len(other_PH)
        return x_NH.view(*ones_TB.shape, -1)

    @staticmethod
    def backward(ctx: Any, dx_TBH: Tensor) -> tuple[Tensor, None, Tensor, None]:
        (ones_N, others_N), H = ctx.saved_tensors, dx_TBH.shape[-1]
        dx_NH = dx_TBH.reshape(-1, H).contiguous()
        done_IH, dother_PH = (dx_NH.new_zeros(rows, H) for rows in ctx.rows)
        embedding_sum_backward_kernel(*view_arrays(dx_NH, done_IH, ones_N, dother_PH, others_N))
        return done_IH, None, dother_PH, None


class ScaleAndShift(torch.autograd.Function):
    """x * scale[gap] + shift[gap]."""

    @staticmethod
    def forward(ctx: Any, x_NH: Tensor, scale_PH: Tensor, shift_PH: Tensor, gap_N: Tensor) -> Tensor:
        x_NH, gap_N = x_NH.contiguous(), gap_N.contiguous()
        y_NH = torch.empty_like(x_NH)
        run_in_parts(scale_and_shift_kernel, len(x_NH), x_NH, scale_PH, shift_PH, gap_N, y_NH)
        ctx.save_for_backward(x_NH, scale_PH, gap_N)
        return y_NH

    @staticmethod
    def backward(ctx: Any, dy_NH: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x_NH, scale_PH, gap_N = ctx.saved_tensors
        dx_NH = torch.empty_like(x_NH)
        dscale_PH, dshift_PH = (create_partial_sums(len(x_NH), *scale_PH.shape) for _ in range(2))
        run_in_parts(scale_and_shift_backward_kernel, len(x_NH), dy_NH.contiguous(), x_NH, scale_PH, gap_N,
                 dx_NH, dscale_PH, dshift_PH)  # fmt: skip
        return dx_NH, dscale_PH.sum(0), dshift_PH.sum(0), None


class Dropout(torch.autograd.Function):
    """0 where the byte is below ``dropped``; the rest is scaled by 256 / (256 - dropped)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bytes_: Tensor, dropped: int) -> Tensor:
        ctx.save_for_backward(bytes_)
        ctx.dropped = dropped
        return _apply_dropout(x, bytes_, dropped)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None]:
        (bytes_,) = ctx.saved_tensors
        return _apply_dropout(dy, bytes_, ctx.dropped), None, None


class PairDots(torch.autograd.Function):
    """The dot product of row ``rows`` of q and row ``places`` of v, for each pair."""

    @staticmethod
    def forward(ctx: Any, q_NH: Tensor, rows_S: Tensor, v_RH: Tensor, places_S: Tensor) -> Tensor:
        q_NH, v_RH = q_NH.contiguous(), v_RH.contiguous()
        dots_S = q_NH.new_empty(len(rows_S))
        run_in_parts(pair_dots_kernel, len(rows_S), q_NH, rows_S, v_RH, places_S, dots_S)
        ctx.save_for_backward(q_NH, rows_S, v_RH, places_S)
        return dots_S

    @staticmethod
    def backward(ctx: Any, ddots_S: Tensor) -> tuple[Tensor, None, Tensor, None]:
        q_NH, rows_S, v_RH, places_S = ctx.saved_tensors
        dq_NH, dv_RH = torch.zeros_like(q_NH), torch.zeros_like(v_RH)
        pair_dots_backward_kernel(*view_arrays(ddots_S.contiguous(), q_NH, rows_S, v_RH, places_S, dq_NH, dv_RH))
        return dq_NH, None, dv_RH, None


def _apply_dropout(x: Tensor, bytes_: Tensor, dropped: int) -> Tensor:
    x = x.contiguous()
    y = torch.empty_like(x)
    run_in_parts(dropout_kernel, x.numel(), x.view(-1), bytes_, dropped, y.view(-1))
    return y


@compile_kernel
def embedding_sum_kernel(
    _: int, begin: int, end: int, one_IH: Any, ones_N: Any, other_PH: Any, others_N: Any, x_NH: Any
) -> None:
    for n in range(begin, end):
        x, one, other = x_NH[n], one_IH[ones_N[n]], other_PH[others_N[n]]
        for h in range(len(x)):
            x[h] = one[h] + other[h]


@compile_kernel
def embedding_sum_backward_kernel(dx_NH: Any, done_IH: Any, ones_N: Any, dother_PH: Any, others_N: Any) -> None:
    """Add each row's gradient to its rows of both tables. On one thread: rows may repeat."""
    for n in range(len(dx_NH)):
        dx, done, dother = dx_NH[n], done_IH[ones_N[n]], dother_PH[others_N[n]]
        for h in range(len(dx)):
            done[h] += dx[h]
            dother[h] += dx[h]


@compile_kernel
def scale_and_shift_kernel(
    _: int, begin: int, end: int, x_NH: Any, scale_PH: Any, shift_PH: Any, gap_N: Any, y_NH: Any
) -> None:
    for n in range(begin, end):
        x, y, scale, shift = x_NH[n], y_NH[n], scale_PH[gap_N[n]], shift_PH[gap_N[n]]
        for h in range(len(x)):
            y[h] = x[h] * scale[h] + shift[h]


@compile_kernel
def scale_and_shift_backward_kernel(
    part: int,
    begin: int,
    end: int,
    dy_NH: Any,
    x_NH: Any,
    scale_PH: Any,
    gap_N: Any,
    dx_NH: Any,
    dscale_PH: Any,
    dshift_PH: Any,
) -> None:
    """Write dx, and add dscale and dshift to the sums of this part."""
    for n in range(begin, end):
        dy, x, dx, scale = dy_NH[n], x_NH[n], dx_NH[n], scale_PH[gap_N[n]]
        dscale, dshift = dscale_PH[part, gap_N[n]], dshift_PH[part, gap_N[n]]
        for h in range(len(x)):
            dx[h] = dy[h] * scale[h]
            dscale[h] += dy[h] * x[h]
            dshift[h] += dy[h]


@compile_kernel
def pair_dots_kernel(
    _: int, begin: int, end: int, q_NH: Any, rows_S: Any, v_RH: Any, places_S: Any, dots_S: Any
) -> None:
    for s in range(begin, end):
        q, v, total = q_NH[rows_S[s]], v_RH[places_S[s]], ZERO
        for h in range(len(q)):
            total += q[h] * v[h]
        dots_S[s] = total


@compile_kernel
def pair_dots_backward_kernel(
    ddots_S: Any, q_NH: Any, rows_S: Any, v_RH: Any, places_S: Any, dq_NH: Any, dv_RH: Any
) -> None:
    """Add each pair's gradient to its rows of q and v. On one thread: rows may repeat."""
    for s in range(len(ddots_S)):
        d, q, v, dq, dv = ddots_S[s], q_NH[rows_S[s]], v_RH[places_S[s]], dq_NH[rows_S[s]], dv_RH[places_S[s]]
        for h in range(len(q)):
            dq[h] += d * v[h]
            dv[h] += d * q[h]


@compile_kernel
def dropout_kernel(_: int, begin: int, end: int, x_N: Any, bytes_N: Any, dropped: int, y_N: Any) -> None:
    """Write x * 256 / (256 - dropped), and 0 where the byte is below ``dropped``."""
    kept = np.float32(256 / (256 - dropped))
    x, byte, y = x_N[begin:end], bytes_N[begin:end], y_N[begin:end]
    for n in range(len(x)):  # from 0: numba knows that the index is not negative, and LLVM gets no branch
        y[n] = x[n] * kept if byte[n] >= dropped else ZERO
