"""Successive halving: decides which trials continue, and which recipes get further trials."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

REDUCTION = 2
"""At each rung one of REDUCTION trials continues."""

FIRST_RUNG = 2
"""Epochs before the first comparison."""

Curve = Sequence[tuple[int, float, float]]
"""(epoch, NDCG, seconds) after each epoch."""


def is_promising(curve: Curve, others: Sequence[Curve]) -> bool:
    """Return whether a trial continues: at its last rung it must be in the better half of the trials that reached it.

    Rungs are at 2, 4, 8, ... epochs. No trial waits for the rest: the first trial at a rung continues, as in
    asynchronous successive halving (Li et al., A System for Massively Parallel Hyperparameter Tuning, MLSys 2020).
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
    """Return the best NDCG up to this epoch; None for a trial that has not reached it."""
    if not curve or curve[-1][0] < rung:
        return None
    return max(ndcg for epoch, ndcg, _ in curve if epoch <= rung)


def select_survivors(best: Mapping[str, float], begun: Mapping[str, int], jobs: int) -> list[str]:
    """Return the recipes that get further trials, best first: each round of trials keeps half of them.

    ``best`` is the best value of each recipe so far, ``begun`` its number of trials. The rounds share the jobs equally.
    """
    rounds = max(math.ceil(math.log2(max(len(best), 1))), 1)
    beyond_first = sum(begun.values()) - len(begun)
    share = max((jobs - len(begun)) / rounds, 1.0)
    round_ = min(int(beyond_first / share), rounds - 1) + 1
    left = max(math.ceil(len(best) / 2**round_), 1)
    return sorted(best, key=lambda recipe: best[recipe], reverse=True)[:left]


def find_simplest(results: Sequence[tuple[Any, float, float]]) -> Any:
    """Return the simplest of these (result, value, standard error), simplest first, within one error of the best.

    This is the rule of one standard error (Breiman et al., 1984): among equally good results the simplest wins.
    """
    _, best, error = max(results, key=lambda result: result[1])
    return next(result for result, value, _ in results if value >= best - error)
