"""The scorer of User-Personalization: the HRNN's distribution, with exploration."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from shared.recipes.distribution import find_score_threshold
from shared.recipes.hrnn import scoring
from shared.recipes.hrnn.serving.block_scores import BlockScores, PlaceScores
from shared.recipes.hrnn.serving.numpy_network import Relevance
from shared.recipes.scoring_api import ArtifactError, CandidateItems, ExplainedScores, Exploration, Query, SoughtItems
from shared.recipes.user_personalization import SECOND
from shared.recipes.user_personalization.exploration import ItemNovelty

_NONE = np.zeros(0, np.int64)

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
        exploration = self._get_exploration(query)
        relevance_I, rough = relevance
        own_I = self._artifact.popularity.copy() if relevance_I is None else relevance_I
        rng = self._get_rng(query)
        scores_I = own_I if exploration is None else self.novelty.explore_scores(own_I, exploration, rng)
        return ExplainedScores(scores_I, own_I, popular=relevance_I is None, approximate=rough)

    def _get_rng(self, query: Query) -> np.random.Generator:
        return self.rng if query.seed is None else np.random.default_rng(query.seed)

    def _get_exploration(self, query: Query) -> Exploration | None:
        return AUTOMATIC if self.recipe == SECOND.name else query.exploration

    def find_candidates(
        self, queries: Sequence[Query], sought: Sequence[SoughtItems], count: int
    ) -> Iterator[CandidateItems]:
        """``shared.recipes.scoring_api.BlockScorer.find_candidates``."""
        pairs = zip(queries, sought, strict=True)
        for exploration, group in groupby(pairs, lambda pair: self._get_exploration(pair[0])):
            asked, wanted = zip(*group, strict=True)
            new = _NONE if exploration is None else self.novelty.find_new(exploration)
            if exploration is None or not len(new):
                yield from super().find_candidates(asked, wanted, count)
            else:
                yield from self._explore_candidates(asked, wanted, count, exploration, new)

    def _explore_candidates(
        self,
        queries: Sequence[Query],
        sought: Sequence[SoughtItems],
        count: int,
        exploration: Exploration,
        new: npt.NDArray[np.int64],
    ) -> Iterator[CandidateItems]:
        for query, known in zip(queries, self._search_items(queries, sought, count, new), strict=True):
            if known is None:
                yield CandidateItems(None, self._explain_relevance(query, Relevance(None)))
                continue
            own, least = known.score_candidates(), known.find_least()
            if own is None or not least:
                yield CandidateItems(None, self.explained(query))
                continue
            raised = self._raise_new_items(known, new, least, exploration, self._get_rng(query))
            margin = 0.0 if known.rough is None else 2 * known.rough.greatest_bound
            places, explained = raised.join_candidates(own, known.query.masks, count, margin)
            yield CandidateItems(places, explained._replace(approximate=known.select_bounds(places)))

    def _raise_new_items(
        self,
        known: BlockScores,
        new: npt.NDArray[np.int64],
        least: float,
        exploration: Exploration,
        rng: np.random.Generator,
    ) -> RaisedItems:
        p_N = known.compute_probabilities(known.found.apart)
        had, places = known.query.had, new.searchsorted(known.query.had)
        again = places < len(new)
        again[again] = new[places[again]] == had[again]
        p_N[places[again]] = known.had[again]
        return RaisedItems(new, p_N, self.novelty.raise_new(new, p_N, least, exploration, rng))

    def count_block_bytes(self, query: Query) -> int:
        """``shared.recipes.scoring_api.BlockScorer.count_block_bytes``."""
        exploration = self._get_exploration(query)
        new = 0 if exploration is None else len(self.novelty.find_new(exploration))
        return super().count_block_bytes(query) + 4 * new


class RaisedItems(NamedTuple):
    """The new items of one query of a block."""

    places: npt.NDArray[np.int64]
    """[N] Ascending."""
    own: npt.NDArray[np.float32]
    """[N] Their probabilities without exploration."""
    raised: npt.NDArray[np.float64]
    """[N] The same with exploration, before all items are divided by their sum."""

    def join_candidates(
        self, others: PlaceScores, masks: Sequence[npt.NDArray[np.bool_] | None], count: int, margin: float
    ) -> tuple[npt.NDArray[np.int64], ExplainedScores]:
        """Return the candidates of all items. ``others`` has those that are not new, and may have new ones.

        Items are in a certain order if their logits differ by ``margin``.
        """
        total = 1 - float(self.own.sum(dtype=np.float64)) + float(self.raised.sum())
        likely = self._find_likely(masks, count, margin)
        of_others = np.isin(others.places, self.places, assume_unique=True)
        likely = np.union1d(likely, self.places.searchsorted(others.places[of_others]))
        places = np.concatenate([others.places[~of_others], self.places[likely]])
        own = np.concatenate([others.scores[~of_others], self.own[likely]])
        explored = np.concatenate([others.scores[~of_others] / total, self.raised[likely] / total]).astype(np.float32)
        order = places.argsort()
        return places[order], ExplainedScores(explored[order], own[order], popular=False)

    def _find_likely(
        self, masks: Sequence[npt.NDArray[np.bool_] | None], count: int, margin: float
    ) -> npt.NDArray[np.int64]:
        """Return the numbers of the items that may be among the best ``count``, with exploration or without."""
        if len(self.places) <= count:
            return np.arange(len(self.places))
        found = [_NONE]
        for mask in masks:
            allowed = np.arange(len(self.places)) if mask is None else np.flatnonzero(mask[self.places])
            for scores in (self.raised[allowed].astype(np.float32), self.own[allowed]):
                # Scores that float32 cannot tell apart are in the order of the items.
                least = find_score_threshold(scores, count) * math.exp(-margin - 1e-6) if count and len(scores) else 0.0
                found.append(allowed[scores >= least])
        return np.unique(np.concatenate(found))
