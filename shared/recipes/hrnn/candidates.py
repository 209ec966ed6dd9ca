"""The items over which a training step computes its softmax: all, all with interactions, or a sample of these."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from shared.recipes.hrnn.plan import FULL_SOFTMAX_ITEMS, NEGATIVES
from shared.recipes.hrnn.types import Candidates

CandidateSampler = Callable[[Tensor], Candidates | None]
"""(items of a step's targets) -> the candidates; None: all items."""

FLATTENING = 0.5
"""Negatives are drawn by popularity to this power, so that rare items are drawn too."""


def create_candidate_sampler(
    counts_I: Tensor, *, only_taken: bool, negatives: int = NEGATIVES, full: int = FULL_SOFTMAX_ITEMS
) -> CandidateSampler:
    """Return a sampler that draws ``negatives`` items a step, or takes all if there are at most ``full``.

    ``counts_I`` are the interactions trained on. ``only_taken`` leaves out items without any: these are scored by their
    features alone, and since no user was shown them, that no user chose them is not evidence against them.
    """
    taken = torch.nonzero(counts_I).view(-1)
    if len(taken) <= full:
        fixed = Candidates(taken, torch.zeros(len(taken), device=counts_I.device))
        return lambda _: fixed if only_taken and len(taken) < len(counts_I) else None
    target_I = counts_I / counts_I.sum()
    drawn_I = counts_I.double() ** FLATTENING
    drawn_I /= drawn_I.sum()
    up_to_I = drawn_I.cumsum(0)

    def draw_candidates(targets_N: Tensor) -> Candidates:
        chance_K = torch.rand(negatives, dtype=torch.double, device=counts_I.device)
        drawn_K = torch.searchsorted(up_to_I, chance_K).clamp_(max=len(counts_I) - 1)
        ids_C = torch.unique(torch.cat([targets_N, drawn_K]))
        # The chance that an item is no target and is not drawn is about exp(-expected count).
        expected_C = len(targets_N) * target_I[ids_C] + negatives * drawn_I[ids_C].float()
        return Candidates(ids_C, torch.log(-torch.expm1(-expected_C.clamp(min=1e-12))))

    return draw_candidates
