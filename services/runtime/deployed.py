"""The models held in memory, by solution version; a campaign's record says which of them answers for it."""

from __future__ import annotations

import importlib
import threading
from typing import Any

from shared import recipes
from shared.artifacts import ArtifactDamaged, Artifacts
from shared.recipes.contract import ArtifactError, Scorer


class NotDeployable(Exception):
    """The model of a version can't be loaded; the message says why and what to do."""


class Deployed:
    """Loads a model when it is first asked for, once, and keeps it until no campaign needs it."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts
        self._scorers: dict[str, Scorer] = {}
        self._loading = threading.Lock()

    def scorer(self, version_arn: str, recipe_arn: str) -> Scorer:
        """The scorer of a version. Raises NotDeployable."""
        held = self._scorers.get(version_arn)
        if held is not None:
            return held
        with self._loading:
            if version_arn not in self._scorers:
                self._scorers[version_arn] = self._load(version_arn, recipe_arn)
            return self._scorers[version_arn]

    def _load(self, version_arn: str, recipe_arn: str) -> Scorer:
        recipe = recipes.by_arn(recipe_arn)
        if recipe is None:
            raise NotDeployable(f"The recipe {recipe_arn} is not offered by this release.")
        scoring: Any = importlib.import_module(f"{recipe.module}.scoring")
        try:
            scorer: Scorer = scoring.Scorer.load(self._artifacts.opened(version_arn))
        except (ArtifactDamaged, ArtifactError) as error:
            raise NotDeployable(f"{error} Train the solution again.") from error
        return scorer

    def keep(self, needed: set[str]) -> None:
        """Let go of the models that no campaign needs any more."""
        for version_arn in self._scorers.keys() - needed:
            self._scorers.pop(version_arn, None)
