"""Scores as ``scoring_api.Scorer.scores`` returns them: ranking them, hiding items, ordering items without a score.

Needs no torch. Shapes: I items, K of them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.recipes.scoring_api import ApproximateScores

COLUMNS = 2048
"""Columns into which a large catalogue is reshaped to find its best items in one pass without a copy."""

NEVER = -1.0
"""The score of an item that is never shown."""


def rank_weighted_first(
    weights_I: npt.NDArray[np.floating[Any]], popularity_I: npt.NDArray[np.floating[Any]]
) -> npt.NDArray[np.float32]:
    """float32[I], a distribution: the items with a weight in its order, then all other items by popularity."""
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
    """Hide one item, or the items of a bool[I], in place, and scale the remaining scores to a sum of 1.

    If the hidden items had all of the score, the remaining items get equal parts of it.
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
    """int64[K]: up to ``count`` items with the highest scores, none below ``least``; of equal scores the first items.

    With ``approximate``, which says how far the scores may be off, the items are ranked by their exact scores.
    """
    count = min(count, len(scores_I))
    if count == 0:
        return np.zeros(0, np.int64)
    # A partition would drop some of the items that share the last score, in no defined order.
    enough = max(find_score_threshold(scores_I, count), least)
    if approximate is None:
        (found,) = (scores_I >= enough).nonzero()
        scores_K = scores_I[found]
    else:
        if enough > 0:
            enough = max(enough * math.exp(-2 * approximate.greatest_bound), least)
        (found,) = (scores_I >= enough).nonzero()
        found = found[_find_contenders_by_score(scores_I[found], approximate.get_bounds(found), count)]
        scores_K = compute_exact_scores(scores_I, found, approximate)
    return found[(-scores_K).argsort(kind="stable")[:count]]


def compute_exact_scores(
    scores_I: npt.NDArray[np.float32], places_K: npt.NDArray[np.int64], approximate: ApproximateScores | None
) -> npt.NDArray[np.float32]:
    """float32[K]: the exact scores of a few items."""
    scores_K = scores_I[places_K]
    if approximate is not None:
        # A score of 0 stays 0, and most items of a catalogue may have it.
        (positive,) = (scores_K > 0).nonzero()
        scores_K[positive] *= np.exp(approximate.compute_corrections(places_K[positive]))
    return scores_K


def find_contenders(
    logits_K: npt.NDArray[np.float64], bounds_K: npt.NDArray[np.float64], count: int
) -> npt.NDArray[np.bool_]:
    """bool[K]: the items that may be among the best ``count`` if each logit is off by its bound at most."""
    if len(logits_K) <= count:
        return np.ones(len(logits_K), np.bool_)
    least_K = logits_K - bounds_K
    least_K.partition(-count)
    may_be: npt.NDArray[np.bool_] = logits_K + bounds_K >= least_K[-count]
    return may_be


def find_score_threshold(scores_I: npt.NDArray[np.floating[Any]], count: int) -> float:
    """Return a score that at least ``count`` items reach, and few more."""
    count = min(count, len(scores_I))
    if count > COLUMNS // 8 or len(scores_I) < 2 * COLUMNS:
        several = scores_I.copy()
    else:
        # Each of the ``count`` columns with the greatest maxima holds an item that reaches it.
        several = scores_I[: len(scores_I) // COLUMNS * COLUMNS].reshape(-1, COLUMNS).max(0)
    several.partition(-count)
    return float(several[-count])


def _find_contenders_by_score(
    scores_K: npt.NDArray[np.float32], bounds_K: npt.NDArray[np.float64], count: int
) -> npt.NDArray[np.bool_]:
    """``find_contenders`` by scores instead of logits."""
    with np.errstate(divide="ignore"):
        logits_K = np.log(np.maximum(scores_K, 0, dtype=np.float64))
    return find_contenders(logits_K, bounds_K, count)
