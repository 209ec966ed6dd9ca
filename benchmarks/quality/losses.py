"""Other losses for the same network, to be compared with ours once: ``python -m benchmarks.quality losses``.

All but the full softmax draw ``NEGATIVES`` items a step, shared by its queries, by popularity to the power 0.5. In
plain autograd, not fast: what is compared is what is learnt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MethodType
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from shared.recipes.hrnn.network import Candidates, Network, Pairs, Spans

NEGATIVES = 256


class Drawn(NamedTuple):
    """Logits of the targets and of the negatives of a step, and how likely each negative was to be drawn."""

    own_N1: Tensor
    other_NK: Tensor
    hit_NK: Tensor
    """Is the negative the target?"""
    chance_K: Tensor
    items: int


def replace(network: Network, name: str) -> None:
    """Makes the network learn by the loss of this name; "softmax" is the network's own."""
    if name == "softmax":
        return
    of_name = LOSSES[name]

    def loss(
        self: Network,
        q_NH: Tensor,
        pairs: Pairs,
        targets_N: Tensor,
        weights_N: Tensor,
        candidates: Candidates | None = None,  # noqa: ARG001 -- these draw their own
        spans: Spans | None = None,  # noqa: ARG001 -- none where it is not fast
    ) -> Tensor:
        logits_NI = self.logits(q_NH, pairs)
        # The bias began as log popularity.
        drawn_K = torch.multinomial(torch.softmax(self.bias[:-1].detach() * 0.5, 0), NEGATIVES, replacement=True)
        own_N1 = logits_NI.gather(1, targets_N[:, None])
        chance_K = torch.softmax(self.bias[:-1].detach() * 0.5, 0)[drawn_K]
        hit_NK = drawn_K == targets_N[:, None]
        losses_N = of_name(Drawn(own_N1, logits_NI[:, drawn_K], hit_NK, chance_K, logits_NI.shape[1]))
        return (losses_N * weights_N).sum() / weights_N.sum().clamp(min=1e-9)

    network.fast = False
    network.loss = MethodType(loss, network)  # type: ignore[method-assign]


def sampled(drawn: Drawn) -> Tensor:
    """Softmax over the target and the negatives, whose logits are made up for how often they are drawn."""
    corrected_NK = (drawn.other_NK - torch.log(NEGATIVES * drawn.chance_K)).masked_fill(drawn.hit_NK, -torch.inf)
    return torch.logsumexp(torch.cat([drawn.own_N1, corrected_NK], 1), 1) - drawn.own_N1[:, 0]


def gbce(drawn: Drawn) -> Tensor:
    """Generalised binary cross-entropy with t = 0.75 (Petrov & Macdonald, gSASRec, RecSys 2023)."""
    rate, t = NEGATIVES / (drawn.items - 1), 0.75
    beta = rate * (t * (1 - 1 / rate) + 1 / rate)
    of_others_N = functional.softplus(drawn.other_NK.masked_fill(drawn.hit_NK, -torch.inf)).sum(1)
    return beta * functional.softplus(-drawn.own_N1[:, 0]) + of_others_N


def bpr_max(drawn: Drawn) -> Tensor:
    """BPR-max with a penalty of 1 on the negatives' scores (Hidasi & Karatzoglou, CIKM 2018)."""
    other_NK = drawn.other_NK.masked_fill(drawn.hit_NK, -1e4)
    share_NK = torch.softmax(other_NK, 1)
    better_N = (share_NK * torch.sigmoid(drawn.own_N1 - other_NK)).sum(1)
    penalty_N = (share_NK * other_NK.masked_fill(drawn.hit_NK, 0.0).square()).sum(1)
    return -torch.log(better_N + 1e-24) + penalty_N


LOSSES: Mapping[str, Callable[[Drawn], Tensor]] = {
    "sampled": sampled,
    "gbce": gbce,
    "bpr-max": bpr_max,
}
NAMES = ("softmax", *LOSSES)
