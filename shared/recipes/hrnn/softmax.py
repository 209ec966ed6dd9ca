"""The loss of the network: softmax cross-entropy with its gradient, in pieces that stay in the cache. No weights.

Shapes as in network.py: N queries, H hidden, C candidates, S pairs, R spans, P pair codes, T steps of each stream.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

CACHE = 2**20
"""Logits held at once for each thread of a CPU, 4 MiB: few enough for its caches, enough rows for its matrix units.
Elsewhere 256 times as many."""


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
