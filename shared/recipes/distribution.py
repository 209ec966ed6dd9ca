"""What a scorer answers where it ranks some items only: see ``contract.Scorer.scores``. No torch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

COLUMNS = 2048
"""Into which a large catalogue is laid out to find its best items: one pass, and no copy."""

NEVER = -1.0
"""In place of a score: the item is not shown."""


def ahead(
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


def without(scores_I: npt.NDArray[np.float32], hidden: int | npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
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


def best(scores_I: npt.NDArray[np.float32], count: int, least: float = -math.inf) -> npt.NDArray[np.int64]:
    """int64[K]: the items with the highest scores, of equal ones the first, and none below ``least``; K is ``count``,
    or fewer items.
    """
    count = min(count, len(scores_I))
    # Of those that share the last score some would be left out by chance.
    (found,) = (scores_I >= max(_reached(scores_I, count), least)).nonzero()
    return found[(-scores_I[found]).argsort(kind="stable")[:count]]


def _reached(scores_I: npt.NDArray[np.float32], count: int) -> float:
    """A score that ``count`` items reach, and few more."""
    if count > COLUMNS // 8 or len(scores_I) < 2 * COLUMNS:
        several = scores_I.copy()
    else:
        # Each of the columns with the ``count`` greatest maxima holds such an item.
        several = scores_I[: len(scores_I) // COLUMNS * COLUMNS].reshape(-1, COLUMNS).max(0)
    several.partition(-count)
    return float(several[-count])
