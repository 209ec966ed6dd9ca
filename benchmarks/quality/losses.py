"""Other losses for the same network, to be compared with ours once: ``python -m benchmarks.quality losses``.

What is learnt of items that are taken again is the same with all. Of new ones all but the full softmax draw
``NEGATIVES`` a step, shared by its queries, by popularity to the power 0.5. In plain autograd, not fast: what is
compared is what is learnt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MethodType
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from shared.recipes.hrnn.candidates import CandidateSampler
from shared.recipes.hrnn.network import HrnnNetwork
from shared.recipes.hrnn.types import HistorySpans, Pairs, Targets

NEGATIVES = 256


class Drawn(NamedTuple):
    """Logits of K targets and of C negatives of a step, and how likely each negative was to be drawn."""

    own_K1: Tensor
    other_KC: Tensor
    none_KC: Tensor
    """Is it no negative, but the target, or what the user has had?"""
    chance_C: Tensor
    items: int


def replace(network: HrnnNetwork, name: str) -> None:
    """Makes the network learn by the loss of this name; "softmax" is the network's own."""
    if name == "softmax":
        return
    of_name = LOSSES[name]

    def compute_new_loss(
        self: HrnnNetwork,
        q_NH: Tensor,
        pairs: Pairs,
        targets: Targets,
        choose: CandidateSampler,  # noqa: ARG001 -- these draw their own
        spans: HistorySpans | None = None,  # noqa: ARG001 -- none where it is not fast
    ) -> Tensor:
        logits_NI = self.compute_logits(q_NH)
        had_NI = torch.zeros_like(logits_NI, dtype=torch.bool)
        had_NI[pairs.rows, pairs.items] = True
        # The bias began as log popularity.
        chance_I = torch.softmax(self.bias[:-1].detach() * 0.5, 0)
        drawn_C = torch.multinomial(chance_I, NEGATIVES, replacement=True)
        own_K1 = logits_NI[targets.rows, targets.items, None]
        none_KC = had_NI[targets.rows][:, drawn_C] | (drawn_C == targets.items[:, None])
        drawn = Drawn(own_K1, logits_NI[targets.rows][:, drawn_C], none_KC, chance_I[drawn_C], logits_NI.shape[1])
        return (of_name(drawn) * targets.weights).sum()

    network.fast = False
    network.compute_new_loss = MethodType(compute_new_loss, network)  # type: ignore[method-assign]


def sampled(drawn: Drawn) -> Tensor:
    """Softmax over the target and the negatives, whose logits are made up for how often they are drawn."""
    corrected_KC = (drawn.other_KC - torch.log(NEGATIVES * drawn.chance_C)).masked_fill(drawn.none_KC, -torch.inf)
    return torch.logsumexp(torch.cat([drawn.own_K1, corrected_KC], 1), 1) - drawn.own_K1[:, 0]


def gbce(drawn: Drawn) -> Tensor:
    """Generalised binary cross-entropy with t = 0.75 (Petrov & Macdonald, gSASRec, RecSys 2023)."""
    rate, t = NEGATIVES / (drawn.items - 1), 0.75
    beta = rate * (t * (1 - 1 / rate) + 1 / rate)
    of_others_K = functional.softplus(drawn.other_KC.masked_fill(drawn.none_KC, -torch.inf)).sum(1)
    return beta * functional.softplus(-drawn.own_K1[:, 0]) + of_others_K


def bpr_max(drawn: Drawn) -> Tensor:
    """BPR-max with a penalty of 1 on the negatives' scores (Hidasi & Karatzoglou, CIKM 2018)."""
    other_KC = drawn.other_KC.masked_fill(drawn.none_KC, -1e4)
    share_KC = torch.softmax(other_KC, 1)
    better_K = (share_KC * torch.sigmoid(drawn.own_K1 - other_KC)).sum(1)
    penalty_K = (share_KC * other_KC.masked_fill(drawn.none_KC, 0.0).square()).sum(1)
    return -torch.log(better_K + 1e-24) + penalty_K


LOSSES: Mapping[str, Callable[[Drawn], Tensor]] = {
    "sampled": sampled,
    "gbce": gbce,
    "bpr-max": bpr_max,
}
NAMES = ("softmax", *LOSSES)
