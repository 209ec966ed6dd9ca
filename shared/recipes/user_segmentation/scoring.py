"""The scorer for batch segment jobs: how likely users are to take an item, or one of several items, next.

Shapes: B users, I items, L groups of items, K items of all groups.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from shared.recipes.distribution import compute_exact_scores
from shared.recipes.hrnn import scoring
from shared.recipes.scoring_api import ItemGroups, Query

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
        sums_BL = np.empty((len(queries), len(groups.starts)), np.float32)
        for row, query in enumerate(queries):
            found = self.explained(query)
            rough = found.approximate if len(groups.places) <= MOST_EXACT else None
            shares_K = compute_exact_scores(found.scores, groups.places, rough)
            sums_BL[row] = np.add.reduceat(np.maximum(shares_K, 0.0, dtype=np.float64), groups.starts)
        return sums_BL
