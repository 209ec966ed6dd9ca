"""The scorer of User-Personalization: the HRNN's distribution, with exploration."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from shared.recipes.hrnn import scoring
from shared.recipes.hrnn.serving.numpy_network import Relevance
from shared.recipes.scoring_api import ArtifactError, ExplainedScores, Exploration, Query
from shared.recipes.user_personalization import SECOND
from shared.recipes.user_personalization.exploration import ItemNovelty

AUTOMATIC = Exploration(weight=0.1, age_cut_off_days=30.0)
"""The exploration of the second version. AWS says that about 0.1 % of the items it shows are at most 30 days old."""


class Scorer(scoring.Scorer):
    """A model in memory. Threads may share it."""

    novelty: ItemNovelty
    rng: np.random.Generator
    """Tests replace it."""

    @classmethod
    def load(cls, artifact: Path) -> Self:
        """Open and check the artifact. Raises ArtifactError."""
        scorer = super().load(artifact)
        try:
            scorer.novelty = ItemNovelty.open(artifact)
        except (OSError, ValueError) as error:
            raise ArtifactError(f"The ages of the items in {artifact} cannot be read: {error}") from error
        scorer.rng = np.random.default_rng()
        return scorer

    def scores(self, query: Query) -> npt.NDArray[np.float32]:
        """``shared.recipes.scoring_api.Scorer.scores``. Exploration makes two answers to one query differ a little,
        unless it has a seed.
        """
        return self.explained(query).scores

    def _explain_relevance(self, query: Query, relevance: Relevance) -> ExplainedScores:
        exploration = AUTOMATIC if self.recipe == SECOND.name else query.exploration
        relevance_I, rough = relevance
        own_I = self._artifact.popularity.copy() if relevance_I is None else relevance_I
        rng = self.rng if query.seed is None else np.random.default_rng(query.seed)
        scores_I = own_I if exploration is None else self.novelty.explore_scores(own_I, exploration, rng)
        return ExplainedScores(scores_I, own_I, popular=relevance_I is None, approximate=rough)
