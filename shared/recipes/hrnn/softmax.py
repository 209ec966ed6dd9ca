"""The loss of the network: softmax cross-entropy with its gradient, in pieces that stay in the cache. No weights.

Shapes as in network.py: N queries, H hidden, C candidates, S pairs, R spans, P pair codes, T steps of each stream.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

CACHE = 2**20
"""Logits held at once for each thread of a CPU, 4 MiB: few enough for its caches, enough rows for its matrix units.
Elsewhere 256 times as many."""

PIECE = 4 * CACHE
"""The same for the swift loss, in bfloat16, most of whose time goes into matrix products: these like them large."""


class SoftmaxLoss(torch.autograd.Function):
    """Softmax cross-entropy over the candidates, with its gradient, in pieces that stay in the cache.

    The logits never exist as a whole: of each piece's softmax p the gradient (p - onehot) goes into dq and dv at
    once (as in Wijmans et al., Cut Your Losses in Large-Vocabulary Language Models, 2024). That halves the
    time of torch's cross_entropy here. The last column of q is 1 and that of v the bias. ``fast`` multiplies the
    gradient, two thirds of the work, in bfloat16, on a GPU the logits too, and sums in float32: what is rounded off is
    far below the noise of a step.
    """

    @staticmethod
    def forward(
        ctx: Any,
        q_NH: Tensor,
        v_CH: Tensor,
        repeat_N: Tensor,
        table_P: Tensor | None,
        rows_S: Tensor,
        places_S: Tensor,
        codes_S: Tensor | None,
        targets_N: Tensor,
        weights_N: Tensor,
        shares_N: Tensor | None,
        fast: bool,
    ) -> Tensor:
        N, C = len(q_NH), len(v_CH)
        device, exact = q_NH.device.type, q_NH.dtype
        low = torch.bfloat16 if fast else exact
        at_once = CACHE * (torch.get_num_threads() if device == "cpu" else 256)
        size = max(1, min(N, at_once // C))
        edges = torch.arange(0, N + size, size, device=rows_S.device)
        ends = torch.searchsorted(rows_S, edges).tolist()
        weighted_NH, low_NH, low_CH = (q_NH * weights_N[:, None]).to(low), q_NH.to(low), v_CH.to(low)
        on_gpu = fast and device == "cuda"
        logits = q_NH.new_empty(0 if on_gpu else size, C)
        losses_N, dq_NH = torch.empty_like(repeat_N), q_NH.new_empty(q_NH.shape, dtype=low)
        dv_CH, drepeat_N = torch.zeros_like(v_CH), torch.zeros_like(repeat_N)
        dtable_P = None if table_P is None else torch.zeros_like(table_P)
        with torch.autocast(device, enabled=False):
            for begin, (first, last) in zip(range(0, N, size), pairwise(ends), strict=True):
                n, s = slice(begin, begin + size), slice(first, last)
                targets, rows = targets_N[n, None], rows_S[s]
                if on_gpu:
                    p = torch.mm(low_NH[n], low_CH.T, out_dtype=exact)
                else:
                    p = torch.mm(q_NH[n], v_CH.T, out=logits[: len(targets)])
                pair_S = (rows - begin).mul_(C).add_(places_S[s])
                repeat_S = repeat_N.index_select(0, rows)
                if table_P is not None and codes_S is not None:
                    repeat_S += table_P.index_select(0, codes_S[s])
                p.view(-1).scatter_add_(0, pair_S, repeat_S)
                if shares_N is not None:
                    p.scatter_add_(1, targets, shares_N[n, None])
                torch.softmax(p, -1, out=p)
                losses_N[n] = p.gather(1, targets).view(-1)
                p.scatter_add_(1, targets, p.new_full(targets.shape, -1.0))
                drepeat_S = p.view(-1).index_select(0, pair_S).mul_(weights_N.index_select(0, rows))
                drepeat_N.scatter_add_(0, rows, drepeat_S)
                if dtable_P is not None and codes_S is not None:
                    dtable_P.scatter_add_(0, codes_S[s], drepeat_S)
                low_p = p.to(low)
                torch.mm(low_p, low_CH, out=dq_NH[n])
                if low is exact:
                    dv_CH.addmm_(low_p.T, weighted_NH[n])
                else:
                    of_piece = low_p.T, weighted_NH[n]
                    dv_CH += torch.mm(*of_piece, out_dtype=exact) if on_gpu else torch.mm(*of_piece)
        ctx.save_for_backward(dq_NH.to(exact).mul_(weights_N[:, None]), dv_CH, drepeat_N, dtable_P)
        return -torch.dot(losses_N.clamp_(min=1e-37).log_(), weights_N)

    @staticmethod
    def backward(ctx: Any, dloss: Tensor) -> tuple[Tensor | None, ...]:
        gradients = (None if gradient is None else dloss * gradient for gradient in ctx.saved_tensors)
        return (*gradients, None, None, None, None, None, None, None)


REACH = 70.0
"""Logits that differ by no more leave what is made of their exponentials among bfloat16's numbers: e^-87 to e^88."""

OCTAVE, ONE = 128, 127 * 128
"""bfloat16's numbers as they lie in memory: 1.0 is ONE, twice as much is OCTAVE more, and in between it is a line."""

UNITS = OCTAVE / math.log(2)
"""So many steps from a number of bfloat16 to the next are a factor e."""


def within_reach(q_NH: Tensor, v_CH1: Tensor, repeat_N: Tensor, table_P: Tensor | None) -> bool:
    """Is it certain that no two logits of a query differ by more?"""
    with torch.no_grad():
        v_CH, b_C = v_CH1[:, :-1], v_CH1[:, -1]
        reach = q_NH.norm(dim=1).amax() * v_CH.norm(dim=1).amax() + repeat_N.abs().amax() + b_C.amax() - b_C.amin()
        if table_P is not None:
            reach += table_P.abs().amax()
        return bool(reach <= REACH)


class SwiftSoftmaxLoss(torch.autograd.Function):
    """The same for CPUs with matrix units, wholly in bfloat16 with sums in float32; for logits ``within_reach``.

    With e = exp(v q + [in the history] repeat) and w = exp(b), softmax = e w / S, and both S and the sum over the
    items in dq are of one product, [v w, w] e. The logits are had in UNITS, as whole numbers: what is added to them is
    added exactly, and ONE more is their exponential as bfloat16 has it in memory, but for a line where the mantissa's
    curve would be (Schraudolph, A Fast, Compact Approximation of the Exponential Function, 1999): up to 6 % too much,
    by the logit's last digits, for numerator and sum alike. The pieces are transposed: all the queries of a stream lie
    beside each other, and what its user had before is added to them at once.
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
        N, low, whole = len(q_NH), torch.bfloat16, torch.int16
        rows_S, places_S, codes_S = pairs
        # A sample is of another size in each step, and oneDNN writes code for each size anew: 4 ms a product. What
        # fills it up weighs nothing.
        filled = 0 if shares_N is None else -len(v_CH1) % 512
        C = len(v_CH1) + filled
        T = 1 if spans is None else spans[-1]
        # Whole streams, at least the 32 columns that matrix units take at once, and pieces of about one size.
        at_least = -(-32 // T) * T
        pieces = -(-N * C // (PIECE * torch.get_num_threads()))
        size = -(-N // (pieces * at_least)) * at_least
        edges = torch.arange(0, N + size, size)
        ends = torch.searchsorted(rows_S, edges).tolist()
        v_CH, b_C = v_CH1[:, :-1], v_CH1[:, -1]
        w_C = b_C.exp()
        low_CH = functional.pad(v_CH.to(low), (0, 0, 0, filled))
        low_H1C = functional.pad(torch.cat([v_CH.T, torch.ones_like(b_C)[None]]).mul_(w_C).to(low), (0, filled))
        low_NH, repeat_of_N = (q_NH * UNITS).to(low), (repeat_N * UNITS).to(whole)
        memory = torch.empty(C * min(N, size), dtype=low)
        columns_N, columns_S = torch.arange(N) % size, rows_S % size
        inverse_N, e_of_target_N, drepeat_N = (torch.zeros_like(repeat_N) for _ in range(3))
        dv_CH1, dv_of_piece_CH1 = torch.zeros_like(v_CH1), torch.empty(C, v_CH1.shape[1], dtype=low)
        dtable_P = None if table_P is None else torch.zeros_like(table_P)
        v_of_target_NH, w_of_target_N = v_CH.index_select(0, targets_N), w_C.index_select(0, targets_N)
        pieces_H1N = []
        if spans is not None:
            streams_R, items_R, begins_R, ends_R, _ = spans
            columns_R, during = streams_R % (size // T), _during(T)
            while_R = begins_R * (T + 1) + ends_R
            repeat_of_BT, drepeat_BT = repeat_of_N.view(-1, T), drepeat_N.view(-1, T)
            first_B = torch.searchsorted(streams_R, torch.arange(N // T))
            span_edges = [*first_B[:: size // T].tolist(), len(streams_R)]
            w_R = w_C.index_select(0, items_R).to(low)
        for piece, (begin, (first, last)) in enumerate(zip(range(0, N, size), pairwise(ends), strict=True)):
            n, s = slice(begin, min(begin + size, N)), slice(first, last)
            q, rows, count = q_NH[n], rows_S[s], n.stop - begin
            e = memory[: C * count].view(C, count)
            logits, flat = e.view(whole), e.view(-1)
            torch.mm(low_CH, low_NH[n].T, out=e)
            logits.copy_(e).add_(ONE)
            if len(rows):
                at_S = torch.add(columns_S[s], places_S[s], alpha=count)
                repeat_S = repeat_of_N.index_select(0, rows)
                if table_P is not None and codes_S is not None:
                    repeat_S += (table_P.index_select(0, codes_S[s]) * UNITS).to(whole)
                flat.index_copy_(0, at_S, repeat_S.add_(logits.view(-1).index_select(0, at_S)).view(low))
            if spans is not None:
                r, of_stream = slice(span_edges[piece], span_edges[piece + 1]), e.view(-1, T)
                at_R = torch.add(columns_R[r], items_R[r], alpha=count // T)
                during_RT = during.index_select(0, while_R[r])
                logits_RT = of_stream.index_select(0, at_R).view(whole)
                logits_RT += repeat_of_BT.index_select(0, streams_R[r]).bitwise_and_(during_RT)
                of_stream.index_copy_(0, at_R, logits_RT.view(low))
            at_N = torch.add(columns_N[n], targets_N[n], alpha=count)
            e_N = flat.index_select(0, at_N)
            if shares_N is not None:
                e_N = e_N.view(whole).add_((shares_N[n] * UNITS).to(whole)).clamp_(min=OCTAVE).view(low)
                flat.index_copy_(0, at_N, e_N)
            pieces_H1N.append(torch.mm(low_H1C, e))
            sum_N = pieces_H1N[-1][-1].float()
            inverse = torch.div(weights_N[n], sum_N, out=inverse_N[n])
            e_of_target_N[n] = e_N
            flat.index_copy_(0, at_N, (e_N - sum_N / w_of_target_N[n]).to(low))
            weighted = torch.cat([q * inverse[:, None], inverse[:, None]], 1).to(low)
            dv_CH1 += torch.mm(e, weighted, out=dv_of_piece_CH1)[: len(v_CH1)]
            if spans is not None:
                e_RT = of_stream.index_select(0, at_R).view(whole).bitwise_and_(during_RT).view(low)
                places, firsts = torch.arange(len(e_RT)), first_B[begin // T : n.stop // T] - r.start
                drepeat_BT[begin // T : n.stop // T] = functional.embedding_bag(
                    places, e_RT, firsts, mode="sum", per_sample_weights=w_R[r]
                )
                drepeat_N[n] *= inverse
            if len(rows):
                drepeat_S = (
                    flat.index_select(0, at_S) * w_C.index_select(0, places_S[s]) * inverse_N.index_select(0, rows)
                )
                drepeat_N.scatter_add_(0, rows, drepeat_S)
                if dtable_P is not None and codes_S is not None:
                    dtable_P.scatter_add_(0, codes_S[s], drepeat_S)
        sums_H1N = torch.cat(pieces_H1N, 1).float()
        dq_NH = sums_H1N[:-1].T * inverse_N[:, None] - v_of_target_NH.mul_(weights_N[:, None])
        dv_CH1 *= w_C[:, None]
        ctx.save_for_backward(dq_NH, dv_CH1, drepeat_N, dtable_P)
        log_p_N = e_of_target_N.log_().add_(b_C.index_select(0, targets_N)).sub_(sums_H1N[-1].log())
        return -torch.dot(log_p_N, weights_N)

    @staticmethod
    def backward(ctx: Any, dloss: Tensor) -> tuple[Tensor | None, ...]:
        gradients = ctx.saved_tensors
        if dloss != 1:
            gradients = [None if gradient is None else dloss * gradient for gradient in gradients]
        return (*gradients, None, None, None, None, None)


@lru_cache(maxsize=2)
def _during(steps: int) -> Tensor:
    """Row begin * (steps + 1) + end is all bits at steps begin to end - 1, and none elsewhere: int16[(T + 1)^2, T]."""
    edges, at = torch.arange(steps + 1), torch.arange(steps)
    return -((edges[:, None, None] <= at) & (at < edges[:, None])).view(-1, steps).to(torch.int16)
