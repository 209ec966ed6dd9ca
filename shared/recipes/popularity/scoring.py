"""The scorer of recipes with one list: every query is answered with the popularity in the artifact."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from shared.recipes import popularity
from shared.recipes.artifact import Artifact
from shared.recipes.declaration import Recipe
from shared.recipes.scoring_api import Past, Query


class Scorer:
    """A model in memory. Threads may share it: nothing changes after ``load``."""

    recipes: ClassVar[Sequence[Recipe]] = popularity.RECIPES

    def __init__(self, artifact: Artifact) -> None:
        self._artifact = artifact
        self.item_ids = artifact.item_ids

    @classmethod
    def load(cls, artifact: Path) -> Self:
        """Open the artifact. Raises ArtifactError."""
        return cls(Artifact.open(artifact, tuple(recipe.name for recipe in cls.recipes)))

    def history(self, user_id: str) -> list[Past]:
        """Return the user's events as trained on, oldest first; [] for an unknown user."""
        return self._artifact.get_history(user_id)

    def scores(self, query: Query) -> npt.NDArray[np.float32]:  # noqa: ARG002 - the answer is the same for all queries
        """``shared.recipes.scoring_api.Scorer.scores``."""
        return self._artifact.popularity.copy()
