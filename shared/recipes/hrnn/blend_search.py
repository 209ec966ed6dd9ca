"""A search for the blend's weights that maximizes the NDCG of the items that users took, instead of their likelihood.

The likelihood of a softmax depends on all items, the quality of a list on its first few: a counter that puts more of
the taken items among the first 25 gets weight, even if the likelihood falls. The search starts from the most likely
weights, tries the network's own and each counter's alone, then changes one weight at a time, and accepts what gains
significantly (SIGNIFICANT standard errors of the difference). Users are the independent samples, not their targets: of
a few dozen users with a hundred targets each, the best of many weights is otherwise the luckiest. The scale of the
logits, which does not affect the order of the items, is then chosen by likelihood.

Shapes: F weights, K targets, U users.
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

    users_K: Tensor
    """int64[K]: the user of each target, numbered from 0."""

    def compute_ndcg(self, theta_F: Tensor) -> tuple[Tensor, Tensor]:
        """Return each target's NDCG with these weights, [K], and its weight, [K]."""
        ...

    def compute_loss(self, theta_F: Tensor) -> tuple[Tensor, Tensor]:
        """Return (minus the log-likelihood, the probabilities) with these weights."""
        ...


def find_best_weights(
    choice: DiscreteChoice, likeliest: Sequence[float], on_block: Callable[[], None] = lambda: None
) -> list[float]:
    """Return the tried weights with the highest mean NDCG, or the likeliest where none gains significantly.

    ``on_block`` is called before each trial.
    """
    users = int(choice.users_K.max()) + 1 if len(choice.users_K) else 0

    def score_weights(theta: Sequence[float]) -> Tensor:
        on_block()
        found_K, weights_K = choice.compute_ndcg(torch.tensor(theta))
        shares_K = found_K * weights_K / weights_K.sum().clamp(min=1e-9)
        return shares_K.new_zeros(users).index_add_(0, choice.users_K, shares_K)

    best, gained = list(likeliest), score_weights(likeliest)
    if len(gained) < 2:
        return best
    for start in (choice.network_weights, *choice.single_counters):
        if is_significant((found := score_weights(start)) - gained):
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


def is_significant(more_U: Tensor) -> bool:
    """Say if the sum of these differences is significantly above 0."""
    spread = float(more_U.std()) * len(more_U) ** 0.5
    return bool(float(more_U.sum()) > max(SIGNIFICANT * spread, 1e-9))


def _fit_scale(choice: DiscreteChoice, theta: Sequence[float], on_block: Callable[[], None]) -> list[float]:
    """Return the weights times the factor of SCALES with the highest likelihood. The order of the items stays."""
    losses = {}
    for scale in SCALES:
        on_block()
        loss, _ = choice.compute_loss(torch.tensor(theta, dtype=torch.double) * scale)
        losses[scale] = float(loss)
    scale = min(losses, key=lambda each: losses[each])
    return [scale * weight for weight in theta]
