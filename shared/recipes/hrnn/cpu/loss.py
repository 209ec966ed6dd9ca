"""The softmax loss for CPUs with matrix units, in bfloat16, with its gradient: products by torch, the rest by kernels.

Shapes as in network.py: N queries, H hidden, C candidates, S pairs, R spans, P pair codes, T steps of each stream, B
streams. Without spans 32 queries stand for a stream.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shared.recipes.hrnn.cpu.compiled import (
    ZERO,
    arrays,
    compiled,
    exp,
    in_parts,
    rounded,
    sums_of,
    widened,
)

PIECE = 4 * 2**20
"""Logits held at once for each thread, 8 MiB: most of the time goes into matrix products, and these like them large."""

REACH = 70.0
"""Logits that differ by no more leave what is made of their exponentials among bfloat16's numbers: e^-87 to e^88."""

OCTAVE, ONE_AS_BITS = np.int32(128), np.int32(127 * 128)
"""bfloat16's numbers as they lie in memory: 1.0 is ONE_AS_BITS, twice as much is OCTAVE more, and in between it is a
line."""

UNITS = np.float32(128 / math.log(2))
"""So many steps from a number of bfloat16 to the next are a factor e."""

AT_LEAST = 32
"""Columns that matrix units take at once."""


def within_reach(q_NH: Tensor, v_CH1: Tensor, repeat_N: Tensor, table_P: Tensor | None) -> bool:
    """Is it certain that no two logits of a query differ by more?"""
    with torch.no_grad():
        b_C = v_CH1[:, -1]
        squares = greatest_square(*arrays(q_NH, q_NH.shape[1])) * greatest_square(*arrays(v_CH1, q_NH.shape[1]))
        reach = math.sqrt(squares) + repeat_N.abs().amax() + b_C.amax() - b_C.amin()
        if table_P is not None:
            reach += table_P.abs().amax()
        return bool(reach <= REACH)


class SwiftSoftmaxLoss(torch.autograd.Function):
    """SoftmaxLoss wholly in bfloat16 with sums in float32; for logits ``within_reach``.

    With e = exp(v q + [in the history] repeat) and w = exp(b), softmax = e w / S, and both S and the sum over the
    items in dq are of one product, [v w, w] e. The logits are had in UNITS, as whole numbers: what is added to them is
    added exactly, and ONE_AS_BITS more is their exponential as bfloat16 has it in memory, but for a line where the
    mantissa's curve would be (Schraudolph, A Fast, Compact Approximation of the Exponential Function, 1999): up to 6 %
    too much, by the logit's last digits, for numerator and sum alike. The pieces are transposed: all the queries of a
    stream lie beside each other, and what its user had before is added to them at once.
    """

    @staticmethod
    def forward(
        ctx: Any,
        q_NH: Tensor,
        v_CH1: Tensor,
        repeat_N: Tensor,
        table_P: Tensor | None,
        pairs: tuple[Tensor, Tensor, Tensor | None],
        spans: tuple[Tensor, Tensor, Tensor, Tensor, int] | None,
        targets_N: Tensor,
        weights_N: Tensor,
        shares_N: Tensor | None,
    ) -> Tensor:
        (N, H), low = q_NH.shape, torch.bfloat16
        none, nothing = torch.empty(0, dtype=torch.long), torch.empty(0)
        rows_S, places_S, codes_S = pairs
        streams_R, items_R, begins_R, ends_R, T = spans or (none, none, none, none, AT_LEAST)
        # A sample is of another size in each step, and oneDNN writes code for each size anew: 4 ms a product. What
        # fills it up weighs nothing.
        filled = 0 if shares_N is None else -len(v_CH1) % 512
        C, B = len(v_CH1) + filled, -(-N // T)
        # Whole streams, and pieces of about one size.
        at_least = -(-AT_LEAST // T) * T
        size = -(-N // (-(-N * C // (PIECE * torch.get_num_threads())) * at_least)) * at_least
        first_pair_B = torch.searchsorted(rows_S, torch.arange(0, (B + 1) * T, T))
        first_span_B = torch.searchsorted(streams_R, torch.arange(B + 1))
        q_NH, v_CH1, repeat_N, targets_N = (each.contiguous() for each in (q_NH, v_CH1, repeat_N, targets_N))
        low_CH, low_H1C, w_C = (
            torch.zeros(C, H, dtype=low),
            torch.zeros(H + 1, C, dtype=low),
            v_CH1.new_empty(len(v_CH1)),
        )
        in_parts(prepare, len(v_CH1), v_CH1, low_CH, low_H1C, w_C)
        low_NH, memory = (q_NH * float(UNITS)).to(low), torch.empty(C * min(N, size), dtype=low)
        dq_NH, dv_CH1, dv_of_piece_CH1 = (torch.empty_like(q_NH), torch.zeros_like(v_CH1),
                                          torch.empty(C, H + 1, dtype=low))  # fmt: skip
        drepeat_N, losses_N, e_of_target_N = (torch.zeros_like(repeat_N) for _ in range(3))
        table = nothing if table_P is None else table_P.contiguous()
        dtable_P = sums_of(B, len(table))
        codes_S, shares = none if codes_S is None else codes_S, nothing if shares_N is None else shares_N
        weighted_NH1 = torch.empty(N, H + 1, dtype=low)
        known = (first_span_B, items_R, begins_R, ends_R, first_pair_B, rows_S, places_S, codes_S, table)
        for begin in range(0, N, size):
            n = slice(begin, min(begin + size, N))
            e = memory[: C * (n.stop - begin)].view(C, -1)
            torch.mm(low_CH, low_NH[n].T, out=e)
            streams, first = -(-e.shape[1] // T), begin // T
            in_parts(exponentials, e.numel(), e.view(-1))
            in_parts(remember, streams, first, T, e, *known, repeat_N, targets_N, shares, e_of_target_N)
            sums_H1N = torch.mm(low_H1C, e)
            in_parts(weigh, streams, first, T, e, *known, sums_H1N, q_NH, v_CH1, w_C, targets_N, weights_N,
                     e_of_target_N, weighted_NH1, dq_NH, drepeat_N, dtable_P, losses_N)  # fmt: skip
            torch.mm(e, weighted_NH1[n], out=dv_of_piece_CH1)
            in_parts(add_up, len(v_CH1), dv_of_piece_CH1, w_C, dv_CH1)
        ctx.save_for_backward(dq_NH, dv_CH1, drepeat_N, None if table_P is None else dtable_P.sum(0))
        return losses_N.sum()

    @staticmethod
    def backward(ctx: Any, dloss: Tensor) -> tuple[Tensor | None, ...]:
        gradients = ctx.saved_tensors
        if dloss != 1:
            gradients = [None if gradient is None else dloss * gradient for gradient in gradients]
        return (*gradients, None, None, None, None, None)


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
def remember(
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
    codes_S: Any,
    table_P: Any,
    repeat_N: Any,
    targets_N: Any,
    shares_N: Any,
    e_of_target_N: Any,
) -> None:
    """Adds what being in the history is worth, and takes the targets' shares back. ``first`` stream of this piece."""
    past = first * T
    for b in range(first + begin, first + end):
        for r in range(first_span_B[b], first_span_B[b + 1]):
            at = b * T + begins_R[r]
            repeat = repeat_N[at : b * T + ends_R[r]]
            e = e_CN[items_R[r], at - past :]
            for t in range(len(repeat)):
                e[t] += np.int16(repeat[t] * UNITS)
        for s in range(first_pair_B[b], first_pair_B[b + 1]):
            worth = np.int16(repeat_N[rows_S[s]] * UNITS)
            if len(table_P) > 0:
                worth += np.int16(table_P[codes_S[s]] * UNITS)
            e_CN[places_S[s], rows_S[s] - past] += worth
        for n in range(b * T, min(b * T + T, past + e_CN.shape[1])):
            if len(shares_N) > 0:
                more = e_CN[targets_N[n], n - past] + np.int32(shares_N[n] * UNITS)
                e_CN[targets_N[n], n - past] = np.int16(max(more, OCTAVE))
            e_of_target_N[n] = widened(e_CN[targets_N[n], n - past])


@compiled
def weigh(
    part: int,
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
    codes_S: Any,
    table_P: Any,
    sums_H1N: Any,
    q_NH: Any,
    v_CH1: Any,
    w_C: Any,
    targets_N: Any,
    weights_N: Any,
    e_of_target_N: Any,
    weighted_NH1: Any,
    dq_NH: Any,
    drepeat_N: Any,
    dtable_P: Any,
    losses_N: Any,
) -> None:
    """The losses, e less the targets', and all gradients but the items'."""
    past, H = first * T, q_NH.shape[1]
    inverse_T = np.empty(T, np.float32)
    for b in range(first + begin, first + end):
        at = b * T
        sums = sums_H1N[:, at - past : at - past + T]
        count = sums.shape[1]
        q, dq, weighted, targets, drepeat = q_NH[at:], dq_NH[at:], weighted_NH1[at:], targets_N[at:], drepeat_N[at:]
        for t in range(count):
            target, weight, total, e = targets[t], weights_N[at + t], widened(sums[H, t]), e_of_target_N[at + t]
            inverse_T[t] = inverse = weight / total
            losses_N[at + t] = weight * (np.log(total) - np.log(e) - v_CH1[target, H])
            e_CN[target, at - past + t] = rounded(e - total / w_C[target])
            of_query, query = weighted[t], q[t]
            for h in range(H):
                of_query[h] = rounded(query[h] * inverse)
            of_query[H] = rounded(inverse)
        for h in range(H):
            row = sums[h]
            for t in range(count):
                dq[t, h] = widened(row[t]) * inverse_T[t]
        for t in range(count):
            d, v, weight = dq[t], v_CH1[targets[t]], weights_N[at + t]
            for h in range(H):
                d[h] -= v[h] * weight
        for r in range(first_span_B[b], first_span_B[b + 1]):
            d, w = drepeat[begins_R[r] : ends_R[r]], w_C[items_R[r]]
            of_item = e_CN[items_R[r], at - past + begins_R[r] :]
            for t in range(len(d)):
                d[t] += widened(of_item[t]) * w
        for t in range(count):
            drepeat[t] *= inverse_T[t]
        for s in range(first_pair_B[b], first_pair_B[b + 1]):
            n = rows_S[s]
            worth = widened(e_CN[places_S[s], n - past]) * w_C[places_S[s]] * inverse_T[n - at]
            drepeat_N[n] += worth
            if len(table_P) > 0:
                dtable_P[part, codes_S[s]] += worth


@compiled
def add_up(_: int, begin: int, end: int, of_piece_CH1: Any, w_C: Any, dv_CH1: Any) -> None:
    for c in range(begin, end):
        dv, of_piece, w = dv_CH1[c], of_piece_CH1[c], w_C[c]
        for h in range(len(dv)):
            dv[h] += widened(of_piece[h]) * w
