"""The scorer of Semantic-Similarity: scores every item by the similarity of its text to the requested item's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from shared.recipes.artifact import Artifact
from shared.recipes.distribution import hide_items
from shared.recipes.scoring_api import ArtifactError, NewItem, Past, Query
from shared.recipes.semantic_similarity import RECIPES
from shared.recipes.semantic_similarity.catalogue import Catalogue, compute_digest, create_updates
from shared.recipes.semantic_similarity.documents import read_cells
from shared.recipes.semantic_similarity.ranking import rank_similar
from shared.recipes.semantic_similarity.vectorizers import Vectorizer, open_vectorizer

ROWS_AT_ONCE = 2048


class Scorer:
    """A model in memory. Threads may share it: nothing changes after ``load``, and updates make another scorer."""

    def __init__(self, artifact: Artifact, vectorizer: Vectorizer, catalogue: Catalogue) -> None:
        self._artifact = artifact
        self._vectorizer = vectorizer
        self._catalogue = catalogue
        self.item_ids = catalogue.item_ids

    @classmethod
    def load(cls, artifact: Path) -> Self:
        """Open the artifact. Raises ArtifactError."""
        opened = Artifact.open(artifact, tuple(recipe.name for recipe in RECIPES))
        try:
            vectorizer = open_vectorizer(artifact / "vectorizer")
            return cls(opened, vectorizer, Catalogue.open(artifact, opened.item_ids))
        except (OSError, ValueError, TypeError) as error:
            raise ArtifactError(f"{artifact} can't be used: {error}") from error

    def history(self, user_id: str) -> list[Past]:
        """Return the user's events as trained on, oldest first; [] for an unknown user."""
        return self._artifact.get_history(user_id)

    def scores(self, query: Query) -> npt.NDArray[np.float32]:
        """``shared.recipes.scoring_api.Scorer.scores``: only the query's item matters, not its user.

        An item that is unknown, or has no text, is answered with popularity.
        """
        item_id = query.item_id or ""
        place = self.item_ids.find(item_id)
        vector_D = self._catalogue.get_vector(item_id)
        if place is None or vector_D is None:
            return self._popularity.copy()
        if not vector_D.any():
            return hide_items(self._popularity.copy(), place)
        similarities_I = self._catalogue.compute_similarities(vector_D)
        return rank_similar(
            similarities_I, place, query.influence, self._catalogue.freshness, self._catalogue.popularity
        )

    @cached_property
    def _popularity(self) -> npt.NDArray[np.float32]:
        return self._catalogue.spread(self._artifact.popularity)

    def with_items(self, items: Sequence[NewItem], on_block: Callable[[], None] = lambda: None) -> Self:
        """``shared.recipes.scoring_api.UpdatableScorer.with_items``."""
        columns = self._vectorizer.columns
        cells = {item.item_id: read_cells(columns, item.columns) for item in items}
        digests = {item_id: compute_digest(each) for item_id, each in cells.items()}
        changed = {
            item.item_id: item
            for item in items
            if item.item_id and self._catalogue.find_digest(item.item_id) != digests[item.item_id]
        }
        if not changed:
            return self
        ids = list(changed)
        vectors = [
            self._vectorizer.embed([cells[item_id] for item_id in ids[begin : begin + ROWS_AT_ONCE]], on_block)
            for begin in range(0, len(ids), ROWS_AT_ONCE)
        ]
        updates = create_updates(
            ids,
            np.concatenate(vectors),
            [digests[item_id] for item_id in ids],
            [read_creation_time(item) for item in changed.values()],
        )
        return type(self)(self._artifact, self._vectorizer, self._catalogue.add_items(updates))


def read_creation_time(item: NewItem) -> float:
    """Return the CREATION_TIMESTAMP of an item, or when it arrived (seconds since the epoch)."""
    created = item.columns.get("CREATION_TIMESTAMP")
    return float(created) if isinstance(created, int | float) and created >= 0 else item.at
