"""A trained HRNN, serving: one user's history in, a score for every item out. No ids of campaigns, no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from shared.recipes import RECIPES
from shared.recipes.artifact import WEIGHTS, Artifact
from shared.recipes.contract import ArtifactError, Past, Query
from shared.recipes.hrnn.form import Form
from shared.recipes.hrnn.memory import Memories, Reader
from shared.recipes.hrnn.passes import Floats
from shared.recipes.hrnn.weights import Weights, shapes


class Scorer:
    """A model in memory. Threads may share it: what changes after ``load`` is what it remembers of histories."""

    def __init__(self, weights: Weights, artifact: Artifact) -> None:
        self._weights = weights
        self._artifact = artifact
        self.recipe = artifact.recipe
        self.item_ids = artifact.item_ids
        types = {name: number + 1 for number, name in enumerate(artifact.event_type_names)}
        self._memories = Memories(Reader(weights, self.item_ids.find, types))

    @classmethod
    def load(cls, artifact: Path) -> Self:
        """Verifies what it reads; raises ArtifactError."""
        served = [recipe.name for recipe in RECIPES.values() if f"{recipe.module}.scoring" == cls.__module__]
        opened = Artifact.open(artifact, tuple(served))
        try:
            form = Form(**opened.form)
            expected = shapes(form)
        except (TypeError, ValueError) as error:
            raise ArtifactError(f"{artifact / WEIGHTS} cannot be read: {error}") from error
        weights = opened.weights(*expected)
        for name, shape in expected.items():
            found = weights[name]
            if found.shape != shape or found.dtype != np.float32:
                raise ArtifactError(
                    f"{artifact / WEIGHTS} cannot be read: {name} is {found.dtype}{list(found.shape)}, "
                    f"not float32{list(shape)}"
                )
        return cls(Weights(form, weights), opened)

    def history(self, user_id: str) -> list[Past]:
        """The user's events as trained on, oldest first; [] for an unknown user."""
        return self._artifact.history(user_id)

    def scores(self, query: Query) -> npt.NDArray[np.float32]:
        """``shared.recipes.contract.Scorer.scores``: of whom nothing is known, the share of each item in all events."""
        relevance_I = self.relevance(query)
        return self._artifact.popularity.copy() if relevance_I is None else relevance_I

    def relevance(self, query: Query) -> Floats | None:
        """float32[I], the caller's: the softmax of the network's logits. Items the model does not know are passed over.

        None where none are left, and neither the user's metadata nor the context say anything.
        """
        memory = self._memories.of(query.user_id, query.history, lambda: self._user(query.user_id))
        context_H = self._context(query)
        if not memory.events and context_H is None and self._user(query.user_id) is None:
            return None
        after = query.now - memory.last if memory.events else 0.0
        q_H = self._weights.query(memory.read.x, after, context_H)
        return self._weights.scores(q_H, memory.taken, memory.codes, query.now)

    def _user(self, user_id: str) -> Floats | None:
        """What the features of the user say; None where nothing is known."""
        if not self._weights.form.user_features:
            return None
        values, weights = self._artifact.user_features(user_id)
        return self._weights.features("user", values, weights) if len(values) else None

    def _context(self, query: Query) -> Floats | None:
        if self._artifact.contexts is None or not self._weights.form.context_features:
            return None
        values, weights = self._artifact.contexts.encode(query.context)
        return self._weights.features("context", values, weights) if len(values) else None
