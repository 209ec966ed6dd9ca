"""The weights of a blend by what they gain: the place of what was taken in the list, and not how likely it was.

A softmax is made likely by all of its items, a list is good by its first few: where a counter alone puts more of what
was taken among the first 25, it is believed. The search sets out from what gains most of the likeliest weights, the
network's own and each counter's alone, goes on a weight at a time, and takes what gains more than chance would (SURE
standard errors of the difference). How far apart the logits lie, which no place tells, is then made the likeliest.

Shapes: F weights, K targets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

SIGNIFICANT = 1.6
ROUNDS = 2
SCALES = tuple(2.0 ** (step / 4) for step in range(-12, 9))
"""Of all weights together, that are tried."""


class DiscreteChoice(Protocol):
    """What users took, and out of what."""

    @property
    def network_weights(self) -> tuple[float, ...]:
        """The network's weights."""

    @property
    def single_counters(self) -> Sequence[tuple[float, ...]]:
        """The weights of each counter alone."""

    def compute_ndcg(self, theta_F: Tensor) -> tuple[Tensor, Tensor]:
        """(what each target gains by its place, and its weight), [K] both."""
        ...

    def compute_loss(self, theta_F: Tensor) -> tuple[Tensor, Tensor]:
        """(minus the log of the likelihood, anything)."""
        ...


def find_best_weights(
    choice: DiscreteChoice, likeliest: Sequence[float], on_block: Callable[[], None] = lambda: None
) -> list[float]:
    """The weights, of those that are tried, that gain the most."""

    def gains(theta: Sequence[float]) -> Tensor:
        on_block()
        found, weights = choice.compute_ndcg(torch.tensor(theta))
        return found * weights / weights.sum().clamp(min=1e-9)

    best, gained = list(likeliest), gains(likeliest)
    if len(gained) < 2:
        return best
    for start in (choice.network_weights, *choice.single_counters):
        if (found := gains(start)).sum() > gained.sum():
            best, gained = list(start), found
    for _ in range(ROUNDS):
        before = best
        for place in range(len(best)):
            for value in _iter_trial_values(best[place], likeliest[place]):
                theta = [*best[:place], value, *best[place + 1 :]]
                if is_significant((found := gains(theta)) - gained):
                    best, gained = theta, found
        if best == before:
            break
    return _fit_scale(choice, best, on_block)


def _iter_trial_values(now: float, likeliest: float) -> Iterator[float]:
    yield from sorted({0.0, now / 2, now * 2, likeliest, likeliest / 2} - {now})


def is_significant(more_K: Tensor) -> bool:
    """Is the sum of these above 0 by more than chance would have it?"""
    spread = float(more_K.std()) * len(more_K) ** 0.5
    return bool(float(more_K.sum()) > max(SIGNIFICANT * spread, 1e-9))


def _fit_scale(choice: DiscreteChoice, theta: Sequence[float], on_block: Callable[[], None]) -> list[float]:
    """The same, all as many times as makes what was taken the likeliest: the order of the items stays."""
    losses = {}
    for scale in SCALES:
        on_block()
        loss, _ = choice.compute_loss(torch.tensor(theta, dtype=torch.double) * scale)
        losses[scale] = float(loss)
    scale = min(losses, key=lambda each: losses[each])
    return [scale * weight for weight in theta]
