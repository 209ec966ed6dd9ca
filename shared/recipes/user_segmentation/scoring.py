"""The scorer for batch segment jobs: how likely users are to take an item, or one of several items, next.

Shapes: B users, I items, L groups of items, K items of all groups.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from shared.recipes.hrnn import scoring
from shared.recipes.scoring_api import ItemGroups, Query, SoughtItems


class Scorer(scoring.Scorer):
    """A model in memory. Threads may share it."""

    @property
    def user_ids(self) -> Sequence[str]:
        """The users of the histories trained on, sorted by code point."""
        return self._artifact.user_ids

    def score_users(self, queries: Sequence[Query], groups: ItemGroups) -> npt.NDArray[np.float32]:
        """``shared.recipes.scoring_api.SegmentScorer.score_users``."""
        sums_BL = np.empty((len(queries), len(groups.starts)), np.float32)
        sought = SoughtItems(places=np.unique(groups.places))
        for row, (places, found) in enumerate(self.find_candidates(queries, [sought] * len(queries), 1)):
            places_K = groups.places if places is None else np.searchsorted(places, groups.places)
            # Items that are never shown have a negative score.
            shares_K = np.maximum(found.scores[places_K], 0.0, dtype=np.float64)
            sums_BL[row] = np.add.reduceat(shares_K, groups.starts)
        return sums_BL
