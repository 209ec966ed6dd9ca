"""What a scorer answers where it ranks some items only: see ``contract.Scorer.scores``. No torch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.recipes.scoring_api import ApproximateScores

COLUMNS = 2048
"""Into which a large catalogue is laid out to find its best items: one pass, and no copy."""

NEVER = -1.0
"""In place of a score: the item is not shown."""


def rank_weighted_first(
    weights_I: npt.NDArray[np.floating[Any]], popularity_I: npt.NDArray[np.floating[Any]]
) -> npt.NDArray[np.float32]:
    """float32[I], a distribution: the items with a weight by it, and behind all of them the others by popularity."""
    weighed_I = weights_I > 0
    if not weighed_I.any():
        return popularity_I.astype(np.float32)
    others_I = np.where(weighed_I, 0.0, popularity_I.astype(np.float64))
    most = others_I.max()
    if most > 0:
        others_I *= 0.5 * weights_I[weighed_I].min() / most
    scores_I = np.where(weighed_I, weights_I, others_I)
    distribution_I: npt.NDArray[np.float32] = (scores_I / scores_I.sum()).astype(np.float32)
    return distribution_I


def hide_items(scores_I: npt.NDArray[np.float32], hidden: int | npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """The same, changed in place, with one item, or those of a bool[I], never shown and the others' scores summing to 1
    again. Where the hidden had all of the score the others have it in equal parts.
    """
    scores_I[hidden] = 0.0
    left = float(scores_I.sum(dtype=np.float64))
    if left > 0:
        scores_I /= left
    else:
        among = len(scores_I) - (1 if isinstance(hidden, int) else np.count_nonzero(hidden))
        scores_I[:] = 1 / max(among, 1)
    scores_I[hidden] = NEVER
    return scores_I


def find_best_items(
    scores_I: npt.NDArray[np.float32],
    count: int,
    least: float = -math.inf,
    approximate: ApproximateScores | None = None,
) -> npt.NDArray[np.int64]:
    """int64[K]: the items with the highest scores, of equal ones the first, and none below ``least``; K is ``count``,
    or fewer items. By the exact scores where ``rough`` tells how far these are off.
    """
    count = min(count, len(scores_I))
    if count == 0:
        return np.zeros(0, np.int64)
    # Of those that share the last score some would be left out by chance.
    enough = max(find_score_threshold(scores_I, count), least)
    if approximate is None:
        (found,) = (scores_I >= enough).nonzero()
        scores_K = scores_I[found]
    else:
        if enough > 0:
            enough = max(enough * math.exp(-2 * approximate.most), least)
        (found,) = (scores_I >= enough).nonzero()
        found = found[_find_contenders_by_score(scores_I[found], approximate.get_bounds(found), count)]
        scores_K = compute_exact_scores(scores_I, found, approximate)
    return found[(-scores_K).argsort(kind="stable")[:count]]


def compute_exact_scores(
    scores_I: npt.NDArray[np.float32], places_K: npt.NDArray[np.int64], approximate: ApproximateScores | None
) -> npt.NDArray[np.float32]:
    """float32[K]: the scores of a few items."""
    scores_K = scores_I[places_K]
    if approximate is not None:
        # What is 0 stays 0, and may be most of a catalogue.
        (positive,) = (scores_K > 0).nonzero()
        scores_K[positive] *= np.exp(approximate.compute_corrections(places_K[positive]))
    return scores_K


def find_contenders(
    logits_K: npt.NDArray[np.float64], bounds_K: npt.NDArray[np.float64], count: int
) -> npt.NDArray[np.bool_]:
    """bool[K]: those that may be among the best ``count`` if each is off by its bound at most."""
    if len(logits_K) <= count:
        return np.ones(len(logits_K), np.bool_)
    least_K = logits_K - bounds_K
    least_K.partition(-count)
    may_be: npt.NDArray[np.bool_] = logits_K + bounds_K >= least_K[-count]
    return may_be


def find_score_threshold(scores_I: npt.NDArray[np.float32], count: int) -> float:
    """A score that ``count`` items reach, and few more."""
    count = min(count, len(scores_I))
    if count > COLUMNS // 8 or len(scores_I) < 2 * COLUMNS:
        several = scores_I.copy()
    else:
        # Each of the columns with the ``count`` greatest maxima holds such an item.
        several = scores_I[: len(scores_I) // COLUMNS * COLUMNS].reshape(-1, COLUMNS).max(0)
    several.partition(-count)
    return float(several[-count])


def _find_contenders_by_score(
    scores_K: npt.NDArray[np.float32], bounds_K: npt.NDArray[np.float64], count: int
) -> npt.NDArray[np.bool_]:
    """``contenders`` by scores."""
    with np.errstate(divide="ignore"):
        logits_K = np.log(np.maximum(scores_K, 0, dtype=np.float64))
    return find_contenders(logits_K, bounds_K, count)
