"""A search for the blend's weights that maximizes the NDCG of the items that users took, instead of their likelihood.

The likelihood of a softmax depends on all items, the quality of a list on its first few: a counter that puts more of
the taken items among the first 25 gets weight, even if the likelihood falls. The search starts from the best of the
most likely weights, the network's own and each counter's alone, changes one weight at a time, and accepts a change
whose gain is significant (SIGNIFICANT standard errors of the difference). The scale of the logits, which does not
affect the order of the items, is then chosen by likelihood.

Shapes: F weights, K targets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

SIGNIFICANT = 1.6
"""Standard errors."""

ROUNDS = 2
SCALES = tuple(2.0 ** (step / 4) for step in range(-12, 9))
"""The factors of all weights that are tried."""


class DiscreteChoice(Protocol):
    """Items that users took, and the alternatives: a discrete choice with weighted features."""

    @property
    def network_weights(self) -> tuple[float, ...]:
        """The network's weights."""

    @property
    def single_counters(self) -> Sequence[tuple[float, ...]]:
        """The weights of each counter alone."""

    def compute_ndcg(self, theta_F: Tensor) -> tuple[Tensor, Tensor]:
        """Return each target's NDCG with these weights, [K], and its weight, [K]."""
        ...

    def compute_loss(self, theta_F: Tensor) -> tuple[Tensor, Tensor]:
        """Return (minus the log-likelihood, the probabilities) with these weights."""
        ...


def find_best_weights(
    choice: DiscreteChoice, likeliest: Sequence[float], on_block: Callable[[], None] = lambda: None
) -> list[float]:
    """Return the tried weights with the highest mean NDCG. ``on_block`` is called before each trial."""

    def score_weights(theta: Sequence[float]) -> Tensor:
        on_block()
        found, weights = choice.compute_ndcg(torch.tensor(theta))
        return found * weights / weights.sum().clamp(min=1e-9)

    best, gained = list(likeliest), score_weights(likeliest)
    if len(gained) < 2:
        return best
    for start in (choice.network_weights, *choice.single_counters):
        if (found := score_weights(start)).sum() > gained.sum():
            best, gained = list(start), found
    for _ in range(ROUNDS):
        before = best
        for place in range(len(best)):
            for value in _iter_trial_values(best[place], likeliest[place]):
                theta = [*best[:place], value, *best[place + 1 :]]
                if is_significant((found := score_weights(theta)) - gained):
                    best, gained = theta, found
        if best == before:
            break
    return _fit_scale(choice, best, on_block)


def _iter_trial_values(now: float, likeliest: float) -> Iterator[float]:
    """Yield the other values to try for a weight: 0, half and twice its value, the likeliest and half of that."""
    yield from sorted({0.0, now / 2, now * 2, likeliest, likeliest / 2} - {now})


def is_significant(more_K: Tensor) -> bool:
    """Say if the sum of these differences is significantly above 0."""
    spread = float(more_K.std()) * len(more_K) ** 0.5
    return bool(float(more_K.sum()) > max(SIGNIFICANT * spread, 1e-9))


def _fit_scale(choice: DiscreteChoice, theta: Sequence[float], on_block: Callable[[], None]) -> list[float]:
    """Return the weights times the factor of SCALES with the highest likelihood. The order of the items stays."""
    losses = {}
    for scale in SCALES:
        on_block()
        loss, _ = choice.compute_loss(torch.tensor(theta, dtype=torch.double) * scale)
        losses[scale] = float(loss)
    scale = min(losses, key=lambda each: losses[each])
    return [scale * weight for weight in theta]
