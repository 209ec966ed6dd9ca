"""The softmax loss in bfloat16 for CPUs with matrix units, with its gradient: products by torch, the rest by kernels.

Shapes as in network.py: N queries, H hidden, C candidates, S pairs, R spans, K targets, T steps of each stream, B
streams. Without spans each group of 32 queries counts as a stream.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shared.recipes.hrnn.ops.numba.compiled import (
    ZERO,
    compile_kernel,
    exp,
    round_to_bfloat16,
    run_in_parts,
    view_arrays,
    widen_bfloat16,
)

LOGITS_A_THREAD = 4 * 2**20
"""Logits held at once for each thread, 8 MiB. Most of the time goes into matrix products, which are faster if large."""

MOST_SPREAD = 70.0
"""The most that ``is_within_reach`` accepts. Exponentials, and sums and quotients of these, then stay within the range
of bfloat16, e^-87 to e^88."""

OCTAVE, ONE_AS_BITS = np.int32(128), np.int32(127 * 128)
"""bfloat16 read as a whole number: ONE_AS_BITS is 1.0, OCTAVE more is twice as much, and in between it is linear."""

LEAST_EXPONENTIAL = np.float32(1e-37)
"""A floor for exponentials and their sums, whose logarithms and inverses are taken."""

STEPS_A_FACTOR_E = np.float32(128 / math.log(2))
"""Steps from a number of bfloat16 to the next that make a factor of e."""

LEAST_COLUMNS = 32
"""The columns that matrix units multiply at once."""


def is_within_reach(q_NH: Tensor, v_CH1: Tensor) -> bool:
    """Say if |q| |v| + max b - min b is at most MOST_SPREAD, whichever the query and the candidate (Cauchy-Schwarz)."""
    with torch.no_grad():
        b_C = v_CH1[:, -1]
        H = q_NH.shape[1]
        squares = greatest_square_kernel(*view_arrays(q_NH, H)) * greatest_square_kernel(*view_arrays(v_CH1, H))
        return bool(math.sqrt(squares) + b_C.amax() - b_C.amin() <= MOST_SPREAD)


class Bf16SoftmaxLoss(torch.autograd.Function):
    """``SoftmaxLoss`` in bfloat16 with sums in float32, for logits that are ``is_within_reach``.

    With e = exp(v q), 0 for items of the history, and w = exp(b), softmax = e w / S. The sum S and the sum over items
    in dq come from one product, [v w, w] e. The logits v q are computed as whole numbers of bfloat16's steps, of which
    STEPS_A_FACTOR_E are 1. Adding ONE_AS_BITS to one gives the bits of its exponential in bfloat16, with a straight
    line in place of the mantissa's curve (Schraudolph, A Fast, Compact Approximation of the Exponential Function,
    1999): up to 6 % too much, depending on the logit's last digits, in numerator and sum. A share is then added to a
    logit exactly, by adding whole steps to the bits. The pieces are transposed: the queries of a stream lie next to
    each other, so that an item of its user's history is zeroed for a run of steps at once.
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
        streams_R, items_R, begins_R, ends_R, T = spans or (none, none, none, none, LEAST_COLUMNS)
        # A sample has another size in each step, and oneDNN generates code for each size: 4 ms a product. The rows that
        # fill it up to a multiple of 512 have weight 0.
        filled = 0 if shares_K is None else -len(v_CH1) % 512
        C, B = len(v_CH1) + filled, -(-N // T)
        # Pieces of whole streams, all about the same size.
        at_least = -(-LEAST_COLUMNS // T) * T
        size = -(-N // (-(-N * C // (LOGITS_A_THREAD * torch.get_num_threads())) * at_least)) * at_least
        first_pair_B, first_target_B = (torch.searchsorted(rows, torch.arange(0, (B + 1) * T, T))
                                        for rows in (rows_S, rows_K))  # fmt: skip
        first_span_B = torch.searchsorted(streams_R, torch.arange(B + 1))
        weights_N = weights_K.new_zeros(N).index_add_(0, rows_K, weights_K)
        q_NH, v_CH1, weights_K = (each.contiguous() for each in (q_NH, v_CH1, weights_K))
        low_CH, low_H1C = torch.zeros(C, H, dtype=low), torch.zeros(H + 1, C, dtype=low)
        w_C = v_CH1.new_empty(len(v_CH1))
        run_in_parts(prepare_kernel, len(v_CH1), v_CH1, low_CH, low_H1C, w_C)
        low_NH, memory = (q_NH * float(STEPS_A_FACTOR_E)).to(low), torch.empty(C * min(N, size), dtype=low)
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
            run_in_parts(exponentiate_kernel, e.numel(), e.view(-1))
            run_in_parts(mask_history_kernel, streams, first, T, e, first_span_B, items_R, begins_R, ends_R,
                         first_pair_B, rows_S, places_S, *targets, shares, e_of_target_K)  # fmt: skip
            sums_H1N = torch.mm(low_H1C, e)
            run_in_parts(softmax_backward_kernel, streams, first, T, e, sums_H1N, q_NH, v_CH1, w_C, *targets,
                         weights_K, weights_N, e_of_target_K, weighted_NH1, dq_NH, losses_K)  # fmt: skip
            torch.mm(e, weighted_NH1[n], out=dv_of_piece_CH1)
            run_in_parts(accumulate_kernel, len(v_CH1), dv_of_piece_CH1, w_C, dv_CH1)
        ctx.save_for_backward(dq_NH, dv_CH1)
        return losses_K.sum()

    @staticmethod
    def backward(ctx: Any, dloss: Tensor) -> tuple[Tensor | None, ...]:
        gradients = ctx.saved_tensors
        if dloss != 1:
            gradients = [dloss * gradient for gradient in gradients]
        return (*gradients, None, None, None, None, None, None)


@compile_kernel
def greatest_square_kernel(x_NH: Any, H: int) -> Any:
    """Return the greatest squared length of a row, over its first H columns."""
    greatest = ZERO
    for n in range(len(x_NH)):
        x, square = x_NH[n], ZERO
        for h in range(H):
            square += x[h] * x[h]
        greatest = max(greatest, square)
    return greatest


@compile_kernel
def prepare_kernel(_: int, begin: int, end: int, v_CH1: Any, low_CH: Any, low_H1C: Any, w_C: Any) -> None:
    """Write w = exp(b), v in bfloat16, and [v w, w] in bfloat16 and transposed."""
    H = low_CH.shape[1]
    for first in range(begin, end, 64):  # 64 rows at a time stay in the cache for the transposed writes
        v, low, w = v_CH1[first : min(first + 64, end)], low_CH[first:], w_C[first:]
        for c in range(len(v)):
            w[c] = exp(v[c, H])
            for h in range(H):
                low[c, h] = round_to_bfloat16(v[c, h])
        for h in range(H):
            row = low_H1C[h, first:]
            for c in range(len(v)):
                row[c] = round_to_bfloat16(v[c, h] * w[c])
        row = low_H1C[H, first:]
        for c in range(len(v)):
            row[c] = round_to_bfloat16(w[c])


@compile_kernel
def exponentiate_kernel(_: int, begin: int, end: int, e_N: Any) -> None:
    """Replace logits, in steps of bfloat16, by their exponentials."""
    e = e_N[begin:end]
    for n in range(len(e)):
        # The logit is a whole number of steps: moved up to the bits of 1.0 it is the bits of its exponential.
        e[n] = np.int16(np.int32(widen_bfloat16(e[n])) + ONE_AS_BITS)


@compile_kernel
def mask_history_kernel(
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
    """Zero the exponentials of items in the histories, and add the targets' shares to their logits.

    ``first`` is the first stream of this piece.
    """
    past = first * T
    for b in range(first + begin, first + end):
        for r in range(first_span_B[b], first_span_B[b + 1]):
            at = b * T + begins_R[r] - past
            e = e_CN[items_R[r], at : at + ends_R[r] - begins_R[r]]
            # The steps of a span lie next to each other in the item's row.
            for t in range(len(e)):
                e[t] = 0
        for s in range(first_pair_B[b], first_pair_B[b + 1]):
            e_CN[places_S[s], rows_S[s] - past] = 0
        for k in range(first_target_B[b], first_target_B[b + 1]):
            item, n = targets_K[k], rows_K[k] - past
            if len(shares_K) > 0:
                # A share of log p is so many steps more; the result must stay a positive normal number.
                e_CN[item, n] = np.int16(max(e_CN[item, n] + np.int32(shares_K[k] * STEPS_A_FACTOR_E), OCTAVE))
            e_of_target_K[k] = max(widen_bfloat16(e_CN[item, n]), LEAST_EXPONENTIAL)


@compile_kernel
def softmax_backward_kernel(
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
    """Write the losses, subtract the targets from e, and write the queries' gradients and their weighted rows.

    With weights u of the queries and S of their softmax, ``weighted_NH1`` gets [q, 1] u / S: the product of e with it
    is, but for the factor w, the gradient of v and b.
    """
    past, H = first * T, q_NH.shape[1]
    inverse_T = np.empty(T, np.float32)
    for b in range(first + begin, first + end):
        at = b * T
        sums = sums_H1N[:, at - past : at - past + T]
        count = sums.shape[1]
        q, dq, weighted = q_NH[at:], dq_NH[at:], weighted_NH1[at:]
        # u / S of each step, and its weighted row [q, 1] u / S.
        for t in range(count):
            inverse_T[t] = inverse = weights_N[at + t] / max(widen_bfloat16(sums[H, t]), LEAST_EXPONENTIAL)
            of_query, query = weighted[t], q[t]
            for h in range(H):
                of_query[h] = round_to_bfloat16(query[h] * inverse)
            of_query[H] = round_to_bfloat16(inverse)
        # dq = u / S * sum of e w v, row by row of the transposed sums.
        for h in range(H):
            row = sums[h]
            for t in range(count):
                dq[t, h] = widen_bfloat16(row[t]) * inverse_T[t]
        for k in range(first_target_B[b], first_target_B[b + 1]):
            target, weight, n = targets_K[k], weights_K[k], rows_K[k]
            total = max(widen_bfloat16(sums[H, n - at]), LEAST_EXPONENTIAL)
            losses_K[k] = weight * (np.log(total) - np.log(e_of_target_K[k]) - v_CH1[target, H])
            # The target's gradient is p - 1: less S * weight / u in units of e w, so that u / S times it is the weight.
            if weight > 0:
                share = total * weight / weights_N[n]
                e_CN[target, n - past] = round_to_bfloat16(widen_bfloat16(e_CN[target, n - past]) - share / w_C[target])
            d, v = dq_NH[n], v_CH1[target]
            for h in range(H):
                d[h] -= v[h] * weight


@compile_kernel
def accumulate_kernel(_: int, begin: int, end: int, of_piece_CH1: Any, w_C: Any, dv_CH1: Any) -> None:
    """Add the gradient of a piece to that of the candidates, times the factor w that e is without."""
    for c in range(begin, end):
        dv, of_piece, w = dv_CH1[c], of_piece_CH1[c], w_C[c]
        for h in range(len(dv)):
            dv[h] += widen_bfloat16(of_piece[h]) * w
