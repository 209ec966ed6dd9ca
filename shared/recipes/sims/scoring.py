"""The scorer of SIMS: scores every item by the neighbors of the requested item."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from shared.recipes.artifact import Artifact
from shared.recipes.scoring_api import ArtifactError, Past, Query
from shared.recipes.sims import RECIPES
from shared.recipes.sims.cointeractions import ItemNeighbors, compute_related_scores


class Scorer:
    """A model in memory. Threads may share it: nothing changes after ``load``."""

    def __init__(self, near: ItemNeighbors, artifact: Artifact) -> None:
        self._near = near
        self._artifact = artifact
        self.item_ids = artifact.item_ids

    @classmethod
    def load(cls, artifact: Path) -> Self:
        """Open the artifact. Raises ArtifactError."""
        opened = Artifact.open(artifact, tuple(recipe.name for recipe in RECIPES))
        try:
            weights = opened.load_weights(*(field.name for field in dataclasses.fields(ItemNeighbors)))
        except ArtifactError:
            weights = opened.load_weights("offsets", "items", "weights")
        return cls(ItemNeighbors(**weights), opened)

    def history(self, user_id: str) -> list[Past]:
        """Return the user's events as trained on, oldest first; [] for an unknown user."""
        return self._artifact.get_history(user_id)

    def scores(self, query: Query) -> npt.NDArray[np.float32]:
        """``shared.recipes.scoring_api.Scorer.scores``: only the query's item matters, not its user."""
        return compute_related_scores(self._near, self._artifact.popularity, self.item_ids.find(query.item_id or ""))
