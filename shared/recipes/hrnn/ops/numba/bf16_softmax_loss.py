"""The softmax loss for CPUs with matrix units, in bfloat16, with its gradient: products by torch, the rest by kernels.

Shapes as in network.py: N queries, H hidden, C candidates, S pairs, R spans, K targets, T steps of each stream, B
streams. Without spans 32 queries stand for a stream.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shared.recipes.hrnn.ops.numba.compiled import ZERO, arrays, compiled, exp, in_parts, rounded, widened

PIECE = 4 * 2**20
"""Logits held at once for each thread, 8 MiB: most of the time goes into matrix products, and these like them large."""

REACH = 70.0
"""Logits that differ by no more leave what is made of their exponentials among bfloat16's numbers: e^-87 to e^88."""

OCTAVE, ONE_AS_BITS = np.int32(128), np.int32(127 * 128)
"""bfloat16's numbers as they lie in memory: 1.0 is ONE_AS_BITS, twice as much is OCTAVE more, and in between it is a
line."""

LEAST_E = np.float32(1e-37)

UNITS = np.float32(128 / math.log(2))
"""So many steps from a number of bfloat16 to the next are a factor e."""

AT_LEAST = 32
"""Columns that matrix units take at once."""


def within_reach(q_NH: Tensor, v_CH1: Tensor) -> bool:
    """Is it certain that no two logits of a query differ by more?"""
    with torch.no_grad():
        b_C = v_CH1[:, -1]
        squares = greatest_square(*arrays(q_NH, q_NH.shape[1])) * greatest_square(*arrays(v_CH1, q_NH.shape[1]))
        return bool(math.sqrt(squares) + b_C.amax() - b_C.amin() <= REACH)


class SwiftSoftmaxLoss(torch.autograd.Function):
    """SoftmaxLoss wholly in bfloat16 with sums in float32; for logits ``within_reach``.

    With e = exp(v q), 0 for what is in the history, and w = exp(b), softmax = e w / S, and both S and the sum over the
    items in dq are of one product, [v w, w] e. The logits are had in UNITS, as whole numbers: what is added to them is
    added exactly, and ONE_AS_BITS more is their exponential as bfloat16 has it in memory, but for a line where the
    mantissa's curve would be (Schraudolph, A Fast, Compact Approximation of the Exponential Function, 1999): up to 6 %
    too much, by the logit's last digits, for numerator and sum alike. The pieces are transposed: all the queries of a
    stream lie beside each other, and what its user had before is taken out of them at once.
    """

    @staticmethod
    def forward(
        ctx: Any,
        q_NH: Tensor,
        v_CH1: Tensor,
        pairs: tuple[Tensor, Tensor],
        spans: tuple[Tensor, Tensor, Tensor, Tensor, int] | None,
        rows_K: Tensor,
        targets_K: Tensor,
        weights_K: Tensor,
        shares_K: Tensor | None,
    ) -> Tensor:
        (N, H), low = q_NH.shape, torch.bfloat16
        none, nothing = torch.empty(0, dtype=torch.long), torch.empty(0)
        rows_S, places_S = pairs
        streams_R, items_R, begins_R, ends_R, T = spans or (none, none, none, none, AT_LEAST)
        # A sample is of another size in each step, and oneDNN writes code for each size anew: 4 ms a product. What
        # fills it up weighs nothing.
        filled = 0 if shares_K is None else -len(v_CH1) % 512
        C, B = len(v_CH1) + filled, -(-N // T)
        # Whole streams, and pieces of about one size.
        at_least = -(-AT_LEAST // T) * T
        size = -(-N // (-(-N * C // (PIECE * torch.get_num_threads())) * at_least)) * at_least
        first_pair_B, first_target_B = (torch.searchsorted(rows, torch.arange(0, (B + 1) * T, T))
                                        for rows in (rows_S, rows_K))  # fmt: skip
        first_span_B = torch.searchsorted(streams_R, torch.arange(B + 1))
        weights_N = weights_K.new_zeros(N).index_add_(0, rows_K, weights_K)
        q_NH, v_CH1, weights_K = (each.contiguous() for each in (q_NH, v_CH1, weights_K))
        low_CH, low_H1C, w_C = (
            torch.zeros(C, H, dtype=low),
            torch.zeros(H + 1, C, dtype=low),
            v_CH1.new_empty(len(v_CH1)),
        )
        in_parts(prepare, len(v_CH1), v_CH1, low_CH, low_H1C, w_C)
        low_NH, memory = (q_NH * float(UNITS)).to(low), torch.empty(C * min(N, size), dtype=low)
        dq_NH, dv_CH1, dv_of_piece_CH1 = (torch.empty_like(q_NH), torch.zeros_like(v_CH1),
                                          torch.empty(C, H + 1, dtype=low))  # fmt: skip
        losses_K, e_of_target_K = (torch.zeros_like(weights_K) for _ in range(2))
        shares = nothing if shares_K is None else shares_K.contiguous()
        weighted_NH1 = torch.empty(N, H + 1, dtype=low)
        targets = first_target_B, rows_K.contiguous(), targets_K.contiguous()
        for begin in range(0, N, size):
            n = slice(begin, min(begin + size, N))
            e = memory[: C * (n.stop - begin)].view(C, -1)
            torch.mm(low_CH, low_NH[n].T, out=e)
            streams, first = -(-e.shape[1] // T), begin // T
            in_parts(exponentials, e.numel(), e.view(-1))
            in_parts(leave_out, streams, first, T, e, first_span_B, items_R, begins_R, ends_R, first_pair_B, rows_S,
                     places_S, *targets, shares, e_of_target_K)  # fmt: skip
            sums_H1N = torch.mm(low_H1C, e)
            in_parts(weigh, streams, first, T, e, sums_H1N, q_NH, v_CH1, w_C, *targets, weights_K, weights_N,
                     e_of_target_K, weighted_NH1, dq_NH, losses_K)  # fmt: skip
            torch.mm(e, weighted_NH1[n], out=dv_of_piece_CH1)
            in_parts(add_up, len(v_CH1), dv_of_piece_CH1, w_C, dv_CH1)
        ctx.save_for_backward(dq_NH, dv_CH1)
        return losses_K.sum()

    @staticmethod
    def backward(ctx: Any, dloss: Tensor) -> tuple[Tensor | None, ...]:
        gradients = ctx.saved_tensors
        if dloss != 1:
            gradients = [dloss * gradient for gradient in gradients]
        return (*gradients, None, None, None, None, None, None)


@compiled
def greatest_square(x_NH: Any, H: int) -> Any:
    """The greatest square of a row's length, of its first H columns."""
    greatest = ZERO
    for n in range(len(x_NH)):
        x, square = x_NH[n], ZERO
        for h in range(H):
            square += x[h] * x[h]
        greatest = max(greatest, square)
    return greatest


@compiled
def prepare(_: int, begin: int, end: int, v_CH1: Any, low_CH: Any, low_H1C: Any, w_C: Any) -> None:
    """w = exp(b), v and [v w, w] in bfloat16, the latter transposed: a few rows at a time, which stay in the cache."""
    H = low_CH.shape[1]
    for first in range(begin, end, 64):
        v, low, w = v_CH1[first : min(first + 64, end)], low_CH[first:], w_C[first:]
        for c in range(len(v)):
            w[c] = exp(v[c, H])
            for h in range(H):
                low[c, h] = rounded(v[c, h])
        for h in range(H):
            row = low_H1C[h, first:]
            for c in range(len(v)):
                row[c] = rounded(v[c, h] * w[c])
        row = low_H1C[H, first:]
        for c in range(len(v)):
            row[c] = rounded(w[c])


@compiled
def exponentials(_: int, begin: int, end: int, e_N: Any) -> None:
    """Of logits in UNITS."""
    e = e_N[begin:end]
    for n in range(len(e)):
        e[n] = np.int16(np.int32(widened(e[n])) + ONE_AS_BITS)


@compiled
def leave_out(
    _: int,
    begin: int,
    end: int,
    first: int,
    T: int,
    e_CN: Any,
    first_span_B: Any,
    items_R: Any,
    begins_R: Any,
    ends_R: Any,
    first_pair_B: Any,
    rows_S: Any,
    places_S: Any,
    first_target_B: Any,
    rows_K: Any,
    targets_K: Any,
    shares_K: Any,
    e_of_target_K: Any,
) -> None:
    """Takes out what is in the histories, and the targets' shares back. ``first`` stream of this piece."""
    past = first * T
    for b in range(first + begin, first + end):
        for r in range(first_span_B[b], first_span_B[b + 1]):
            at = b * T + begins_R[r] - past
            e = e_CN[items_R[r], at : at + ends_R[r] - begins_R[r]]
            for t in range(len(e)):
                e[t] = 0
        for s in range(first_pair_B[b], first_pair_B[b + 1]):
            e_CN[places_S[s], rows_S[s] - past] = 0
        for k in range(first_target_B[b], first_target_B[b + 1]):
            item, n = targets_K[k], rows_K[k] - past
            if len(shares_K) > 0:
                e_CN[item, n] = np.int16(max(e_CN[item, n] + np.int32(shares_K[k] * UNITS), OCTAVE))
            e_of_target_K[k] = max(widened(e_CN[item, n]), LEAST_E)


@compiled
def weigh(
    _: int,
    begin: int,
    end: int,
    first: int,
    T: int,
    e_CN: Any,
    sums_H1N: Any,
    q_NH: Any,
    v_CH1: Any,
    w_C: Any,
    first_target_B: Any,
    rows_K: Any,
    targets_K: Any,
    weights_K: Any,
    weights_N: Any,
    e_of_target_K: Any,
    weighted_NH1: Any,
    dq_NH: Any,
    losses_K: Any,
) -> None:
    """The losses, e less the targets', and the queries' gradients."""
    past, H = first * T, q_NH.shape[1]
    inverse_T = np.empty(T, np.float32)
    for b in range(first + begin, first + end):
        at = b * T
        sums = sums_H1N[:, at - past : at - past + T]
        count = sums.shape[1]
        q, dq, weighted = q_NH[at:], dq_NH[at:], weighted_NH1[at:]
        for t in range(count):
            inverse_T[t] = inverse = weights_N[at + t] / max(widened(sums[H, t]), LEAST_E)
            of_query, query = weighted[t], q[t]
            for h in range(H):
                of_query[h] = rounded(query[h] * inverse)
            of_query[H] = rounded(inverse)
        for h in range(H):
            row = sums[h]
            for t in range(count):
                dq[t, h] = widened(row[t]) * inverse_T[t]
        for k in range(first_target_B[b], first_target_B[b + 1]):
            target, weight, n = targets_K[k], weights_K[k], rows_K[k]
            total = max(widened(sums[H, n - at]), LEAST_E)
            losses_K[k] = weight * (np.log(total) - np.log(e_of_target_K[k]) - v_CH1[target, H])
            if weight > 0:
                share = total * weight / weights_N[n]
                e_CN[target, n - past] = rounded(widened(e_CN[target, n - past]) - share / w_C[target])
            d, v = dq_NH[n], v_CH1[target]
            for h in range(H):
                d[h] -= v[h] * weight


@compiled
def add_up(_: int, begin: int, end: int, of_piece_CH1: Any, w_C: Any, dv_CH1: Any) -> None:
    for c in range(begin, end):
        dv, of_piece, w = dv_CH1[c], of_piece_CH1[c], w_C[c]
        for h in range(len(dv)):
            dv[h] += widened(of_piece[h]) * w
