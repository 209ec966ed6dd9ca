"""The scorer of Similar-Items: scores every item by its vector's similarity to the requested item."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from shared.recipes.artifact import Artifact
from shared.recipes.scoring_api import Past, Query
from shared.recipes.similar_items import RECIPES
from shared.recipes.similar_items.vector_search import ItemVectors


class Scorer:
    """A model in memory. Threads may share it: nothing changes after ``load``."""

    def __init__(self, vectors: ItemVectors, artifact: Artifact) -> None:
        self._vectors = vectors
        self._artifact = artifact
        self.item_ids = artifact.item_ids

    @classmethod
    def load(cls, artifact: Path) -> Self:
        """Open the artifact. Raises ArtifactError."""
        opened = Artifact.open(artifact, tuple(recipe.name for recipe in RECIPES))
        vectors = opened.load_weights("vectors")["vectors"]
        return cls(ItemVectors(vectors, float(opened.parameters["popularity_discount_factor"])), opened)

    def history(self, user_id: str) -> list[Past]:
        """Return the user's events as trained on, oldest first; [] for an unknown user."""
        return self._artifact.get_history(user_id)

    def scores(self, query: Query) -> npt.NDArray[np.float32]:
        """``shared.recipes.scoring_api.Scorer.scores``: only the query's item matters, not its user."""
        item = self.item_ids.find(query.item_id or "")
        return self._artifact.popularity.copy() if item is None else self._vectors.compute_scores(item)
