"""The scorer for batch segment jobs: how likely users are to take an item, or one of several items, next.

Shapes: B users, I items, L groups of items, K items of all groups.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from shared.recipes.distribution import compute_exact_scores
from shared.recipes.hrnn import scoring
from shared.recipes.scoring_api import CandidateItems, ItemGroups, Query, SoughtItems

MOST_EXACT = 2**10
"""With more items than this in all groups, the estimated scores of a large catalogue are not made exact: each takes a
while, and the errors of a group's many items cancel out."""


class Scorer(scoring.Scorer):
    """A model in memory. Threads may share it."""

    @property
    def user_ids(self) -> Sequence[str]:
        """The users of the histories trained on, sorted by code point."""
        return self._artifact.user_ids

    def score_users(self, queries: Sequence[Query], groups: ItemGroups) -> npt.NDArray[np.float32]:
        """``shared.recipes.scoring_api.SegmentScorer.score_users``."""
        sought = SoughtItems(places=np.unique(groups.places))
        sums_BL = np.empty((len(queries), len(groups.starts)), np.float32)
        for row, found in enumerate(self.find_candidates(queries, [sought] * len(queries), 1)):
            # Items that are never shown have a negative score.
            shares_K = np.maximum(_select_scores(found, groups.places), 0.0, dtype=np.float64)
            sums_BL[row] = np.add.reduceat(shares_K, groups.starts)
        return sums_BL


def _select_scores(candidates: CandidateItems, places_K: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """float32[K]: return the scores of these items, which are among the candidates."""
    among_K = places_K if candidates.places is None else np.searchsorted(candidates.places, places_K)
    rough = candidates.found.approximate if len(places_K) <= MOST_EXACT else None
    return compute_exact_scores(candidates.found.scores, among_K, rough)
