"""Which trials go on, and which recipes get more of them: successive halving, of epochs and of trials."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

REDUCTION = 2
"""At each rung one of so many goes on."""

FIRST_RUNG = 2
"""Epochs before the first comparison."""

Curve = Sequence[tuple[int, float, float]]
"""(epoch, gain, seconds), by epoch."""


def is_promising(curve: Curve, others: Sequence[Curve]) -> bool:
    """Does a trial go on? At its last rung it must be among the best half of those that have come as far.

    Rungs are at 2, 4, 8, ... epochs. Nobody waits for the others: who comes first goes on, as in asynchronous
    successive halving (Li et al., A System for Massively Parallel Hyperparameter Tuning, MLSys 2020).
    """
    reached = curve[-1][0] if curve else 0
    if reached < FIRST_RUNG:
        return True
    rung = FIRST_RUNG * REDUCTION ** int(math.log(reached / FIRST_RUNG, REDUCTION) + 1e-9)
    mine = _get_value_at(curve, rung)
    rivals = [value for other in others if (value := _get_value_at(other, rung)) is not None]
    if mine is None:
        return True
    better = sum(value > mine for value in rivals)
    return better < math.ceil((len(rivals) + 1) / REDUCTION)


def _get_value_at(curve: Curve, rung: int) -> float | None:
    """The best gain up to this epoch; None of one that has not come so far."""
    if not curve or curve[-1][0] < rung:
        return None
    return max(gain for epoch, gain, _ in curve if epoch <= rung)


def select_survivors(best: Mapping[str, float], begun: Mapping[str, int], jobs: int) -> list[str]:
    """The recipes of which more trials are worth it, best first: half of them in each round of trials.

    ``best`` is what each recipe has come to so far, ``begun`` its trials. The rounds share the jobs alike.
    """
    rounds = max(math.ceil(math.log2(max(len(best), 1))), 1)
    beyond_first = sum(begun.values()) - len(begun)
    share = max((jobs - len(begun)) / rounds, 1.0)
    round_ = min(int(beyond_first / share), rounds - 1) + 1
    left = max(math.ceil(len(best) / 2**round_), 1)
    return sorted(best, key=lambda recipe: best[recipe], reverse=True)[:left]


def find_simplest(results: Sequence[tuple[Any, float, float]]) -> Any:
    """Of (what, value, its standard error), simplest first: the first that is within an error of the best.

    The rule of one standard error (Breiman et al., 1984): what is no better for certain must not be less simple.
    """
    _, best, error = max(results, key=lambda result: result[1])
    return next(what for what, value, _ in results if value >= best - error)
