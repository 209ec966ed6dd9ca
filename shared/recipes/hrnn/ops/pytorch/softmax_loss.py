"""The softmax cross-entropy of the network, with its gradient, in pieces that stay in the cache. No weights.

Shapes as in network.py: N queries, H hidden, C candidates, S pairs, K targets.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from shared.recipes.hrnn.types import IMPOSSIBLE

CACHE = 2**20
"""Logits held at once for each thread of a CPU, 4 MiB: few enough for its caches, enough rows for its matrix units.
On other devices 256 times as many."""


class SoftmaxLoss(torch.autograd.Function):
    """Softmax cross-entropy over the candidates, with its gradient, in pieces that stay in the cache.

    The logits never exist as a whole: the gradient of each piece's softmax p, (p - onehot), goes into dq and dv at
    once (as in Wijmans et al., Cut Your Losses in Large-Vocabulary Language Models, 2024). That halves the time of
    torch's cross_entropy here. The last column of q is 1 and that of v the bias. ``fast`` multiplies the gradient, two
    thirds of the work, in bfloat16, on a GPU the logits too, and sums in float32: the rounding is far below the noise
    of a step.
    """

    @staticmethod
    def forward(
        ctx: Any,
        q_NH: Tensor,
        v_CH: Tensor,
        rows_S: Tensor,
        places_S: Tensor,
        rows_K: Tensor,
        targets_K: Tensor,
        weights_K: Tensor,
        shares_K: Tensor | None,
        fast: bool,
    ) -> Tensor:
        N, C = len(q_NH), len(v_CH)
        device, exact = q_NH.device.type, q_NH.dtype
        low = torch.bfloat16 if fast else exact
        at_once = CACHE * (torch.get_num_threads() if device == "cpu" else 256)
        size = max(1, min(N, at_once // C))
        edges = torch.arange(0, N + size, size, device=rows_S.device)
        ends_S, ends_K = (torch.searchsorted(rows, edges).tolist() for rows in (rows_S, rows_K))
        weights_N = weights_K.new_zeros(N).index_add_(0, rows_K, weights_K)
        weighted_NH, low_NH, low_CH = (q_NH * weights_N[:, None]).to(low), q_NH.to(low), v_CH.to(low)
        on_gpu = fast and device == "cuda"
        logits = q_NH.new_empty(0 if on_gpu else size, C)
        losses_K, dq_NH = torch.empty_like(weights_K), q_NH.new_empty(q_NH.shape, dtype=low)
        dv_CH, share_K = torch.zeros_like(v_CH), weights_K / weights_N[rows_K].clamp(min=1e-30)
        with torch.autocast(device, enabled=False):
            for begin, of_S, of_K in zip(range(0, N, size), pairwise(ends_S), pairwise(ends_K), strict=True):
                n, s, k = slice(begin, min(begin + size, N)), slice(*of_S), slice(*of_K)
                if on_gpu:
                    p = torch.mm(low_NH[n], low_CH.T, out_dtype=exact)
                else:
                    p = torch.mm(q_NH[n], v_CH.T, out=logits[: n.stop - begin])
                flat, target_K = p.view(-1), (rows_K[k] - begin).mul_(C).add_(targets_K[k])
                flat.index_fill_(0, (rows_S[s] - begin).mul_(C).add_(places_S[s]), IMPOSSIBLE)
                if shares_K is not None:
                    flat.index_add_(0, target_K, shares_K[k])
                torch.softmax(p, -1, out=p)
                losses_K[k] = flat.index_select(0, target_K)
                flat.index_add_(0, target_K, -share_K[k])
                low_p = p.to(low)
                torch.mm(low_p, low_CH, out=dq_NH[n])
                if low is exact:
                    dv_CH.addmm_(low_p.T, weighted_NH[n])
                else:
                    of_piece = low_p.T, weighted_NH[n]
                    dv_CH += torch.mm(*of_piece, out_dtype=exact) if on_gpu else torch.mm(*of_piece)
        ctx.save_for_backward(dq_NH.to(exact).mul_(weights_N[:, None]), dv_CH)
        return -torch.dot(losses_K.clamp_(min=1e-37).log_(), weights_K)

    @staticmethod
    def backward(ctx: Any, dloss: Tensor) -> tuple[Tensor | None, ...]:
        gradients = (dloss * gradient for gradient in ctx.saved_tensors)
        return (*gradients, None, None, None, None, None, None, None)
