"""The scorer of Next-Best-Action: the HRNN's distribution over the actions that may be shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from shared.recipes.distribution import hide_items
from shared.recipes.hrnn import scoring
from shared.recipes.next_best_action import TAKEN
from shared.recipes.next_best_action.rules import ActionRules
from shared.recipes.scoring_api import ArtifactError, CandidateItems, ExplainedScores, Query, SoughtItems


class Scorer(scoring.Scorer):
    """A model in memory. Threads may share it."""

    rules: ActionRules

    @classmethod
    def load(cls, artifact: Path) -> Self:
        """Open and check the artifact. Raises ArtifactError."""
        scorer = super().load(artifact)
        try:
            scorer.rules = ActionRules.open(artifact)
        except (OSError, ValueError) as error:
            raise ArtifactError(f"The rules of the actions in {artifact} cannot be read: {error}") from error
        return scorer

    def scores(self, query: Query) -> npt.NDArray[np.float32]:
        """``shared.recipes.scoring_api.Scorer.scores``: the probability of each action to be the next one taken."""
        return self._hide_actions(query, super().scores(query))

    def find_candidates(
        self,
        queries: Sequence[Query],
        sought: Sequence[SoughtItems],
        count: int,  # noqa: ARG002 - there are few actions
    ) -> Iterator[CandidateItems]:
        """``shared.recipes.scoring_api.BlockScorer.find_candidates``: all actions."""
        everything = SoughtItems(places=np.arange(len(self.item_ids)))
        found = super().find_candidates(queries, [everything] * len(sought), 0)
        for query, candidates in zip(queries, found, strict=True):
            scores = self._hide_actions(query, candidates.found.scores)
            yield CandidateItems(None, ExplainedScores(scores, scores, popular=False))

    def _hide_actions(self, query: Query, scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        taken = [
            (number, one.timestamp)
            for one in query.history
            if one.event_type == TAKEN and (number := self.item_ids.find(one.item_id)) is not None
        ]
        return hide_items(scores, self.rules.find_hidden(query.now, taken))
