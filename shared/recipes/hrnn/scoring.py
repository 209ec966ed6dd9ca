"""The scorer of a trained HRNN: a user's history in, a score for every item out. No ids of campaigns, no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from shared.recipes import RECIPES
from shared.recipes.artifact import WEIGHTS, Artifact
from shared.recipes.hrnn.config import HrnnConfig
from shared.recipes.hrnn.counters import (
    ALIKE,
    COUNTERS,
    NAMES,
    NEIGHBOURS,
    NEWEST,
    BlendWeights,
    Counters,
    ItemValues,
    compute_recency_weights,
    sum_by_item,
)
from shared.recipes.hrnn.serving.block_scores import BlockScores
from shared.recipes.hrnn.serving.block_search import SearchedQuery, search_items
from shared.recipes.hrnn.serving.numpy_network import (
    CounterLogits,
    Numbers,
    NumpyNetwork,
    Relevance,
    RepeatScores,
    RequestMoment,
    SparseValues,
    get_weight_shapes,
)
from shared.recipes.hrnn.serving.shared_pass import SETTLED, Floats
from shared.recipes.hrnn.serving.state_cache import HistoryReader, StateCache, UserState
from shared.recipes.scoring_api import ArtifactError, CandidateItems, ExplainedScores, Past, Query, SoughtItems

BYTES_A_QUERY, BYTES_AN_EVENT = 40_000, 400
"""Memory of a query in a block, beside its counters' terms: mostly candidates and the logits of a chunk, and what the
reading of an event leaves and takes."""

_NONE = np.zeros(0, np.int64)


class _Request(NamedTuple):
    """The arguments of ``NumpyNetwork.score_items``."""

    q_H: Floats
    had: Numbers
    new: SparseValues
    again: RepeatScores | None


class Scorer:
    """A loaded model. Threads may share it: after ``load`` only its cache of histories changes."""

    def __init__(
        self, weights: NumpyNetwork, artifact: Artifact, counted: tuple[Counters, BlendWeights] | None = None
    ) -> None:
        self._network = weights
        self._blend = counted
        self._artifact = artifact
        self.recipe = artifact.recipe
        self.item_ids = artifact.item_ids
        types = {name: number + 1 for number, name in enumerate(artifact.event_type_names)}
        self._reader = HistoryReader(weights, self.item_ids.find, types, self._compute_counter_logits)
        self._states = StateCache(self._reader)

    @classmethod
    def load(cls, artifact: Path) -> Self:
        """Open and check an artifact. Raises ArtifactError."""
        served = [recipe.name for recipe in RECIPES.values() if f"{recipe.module}.scoring" == cls.__module__]
        opened = Artifact.open(artifact, tuple(served))
        try:
            config = HrnnConfig(**opened.form)
            expected = get_weight_shapes(config)
        except (TypeError, ValueError) as error:
            raise ArtifactError(f"{artifact / WEIGHTS} cannot be read: {error}") from error
        weights = opened.load_weights(*expected)
        for name, shape in expected.items():
            found = weights[name]
            if found.shape != shape or found.dtype != np.float32:
                raise ArtifactError(
                    f"{artifact / WEIGHTS} cannot be read: {name} is {found.dtype}{list(found.shape)}, "
                    f"not float32{list(shape)}"
                )
        return cls(
            NumpyNetwork(config, weights),
            opened,
            open_counters(artifact / COUNTERS, config) if config.leaning else None,
        )

    def history(self, user_id: str) -> list[Past]:
        """Return the user's events as trained on, oldest first; [] for an unknown user."""
        return self._artifact.get_history(user_id)

    def stored_history(self, user_id: str) -> Sequence[Past]:
        """Return ``shared.recipes.scoring_api.BlockScorer.stored_history``."""
        return self._artifact.get_stored_history(user_id)

    def scores(self, query: Query) -> npt.NDArray[np.float32]:
        """Return ``shared.recipes.scoring_api.Scorer.scores``; for an unknown user, the items' shares of all events."""
        return self.explained(query).scores

    def explained(self, query: Query) -> ExplainedScores:
        """Return ``shared.recipes.scoring_api.ExplainingScorer.explained``."""
        return self._explain_relevance(query, self.compute_relevance(query))

    def find_candidates(
        self, queries: Sequence[Query], sought: Sequence[SoughtItems], count: int
    ) -> Iterator[CandidateItems]:
        """Yield ``shared.recipes.scoring_api.BlockScorer.find_candidates``."""
        for query, known in zip(queries, self._search_items(queries, sought, count, _NONE), strict=True):
            own = None if known is None else known.score_candidates()
            if known is None:
                yield CandidateItems(None, self._explain_relevance(query, Relevance(None)))
            elif own is None:
                yield CandidateItems(None, self.explained(query))
            else:
                rough = known.select_bounds(own.places)
                yield CandidateItems(
                    own.places, ExplainedScores(own.scores, own.scores, popular=False, approximate=rough)
                )

    def _search_items(
        self, queries: Sequence[Query], sought: Sequence[SoughtItems], count: int, apart: Numbers
    ) -> list[BlockScores | None]:
        """Return what is found of each query; None where nothing is known of its user. ``apart``: ``SearchedQuery``."""
        requests = self._build_block_requests(queries)
        rough = [None if each is None else self._network.create_error_bounds(each.q_H, each.had) for each in requests]
        searched = [
            SearchedQuery(
                request.q_H,
                request.had,
                request.new,
                # The best of all items have to be made exact, of whatever the list is made.
                wanted.masks if bounds is None else (*(mask for mask in wanted.masks if mask is not None), None),
                _NONE if wanted.places is None else wanted.places,
                apart,
            )
            for request, wanted, bounds in zip(requests, sought, rough, strict=True)
            if request is not None
        ]
        least = count if all(bounds is None for bounds in rough) else max(count, SETTLED)
        found = iter(search_items(self._network.source, searched, least) if searched else ())
        asked = iter(searched)
        return [
            None if request is None else BlockScores(next(asked), next(found), request.again, bounds)
            for request, bounds in zip(requests, rough, strict=True)
        ]

    def count_block_bytes(self, query: Query) -> int:
        """Return ``shared.recipes.scoring_api.BlockScorer.count_block_bytes``."""
        of_counters = 12 * (len(query.history) * ALIKE + 3 * NEWEST * NEIGHBOURS) if self._blend else 0
        return BYTES_A_QUERY + BYTES_AN_EVENT * len(query.history) + min(of_counters, 4 * len(self.item_ids))

    def _explain_relevance(self, query: Query, relevance: Relevance) -> ExplainedScores:  # noqa: ARG002 - for subclasses
        shares_I, rough = relevance
        scores_I = self._artifact.popularity.copy() if shares_I is None else shares_I
        return ExplainedScores(scores_I, scores_I, popular=shares_I is None, approximate=rough)

    def _build_block_requests(self, queries: Sequence[Query]) -> list[_Request | None]:
        if not queries:
            return []
        vectors = [self._get_user_vector(query.user_id) for query in queries]
        states = self._reader.build_states([query.history for query in queries], vectors)
        return [
            self._build_request(query, state, has_features=vector is not None)
            for query, state, vector in zip(queries, states, vectors, strict=True)
        ]

    def compute_relevance(self, query: Query) -> Relevance:
        """Score the items by the network, ignoring events with items that the model does not know.

        None if no events are left and there are neither features of the user nor a context, and if no item can be
        recommended.
        """
        state = self._states.get_state(query.user_id, query.history, lambda: self._get_user_vector(query.user_id))
        has_features = not state.events and self._get_user_vector(query.user_id) is not None
        request = self._build_request(query, state, has_features=has_features)
        return Relevance(None) if request is None else self._network.score_items(*request)

    def _build_request(self, query: Query, state: UserState, *, has_features: bool) -> _Request | None:
        """Return what the items are scored by; None where nothing is known of the user."""
        context_H = self._get_context_vector(query)
        if not state.events and context_H is None and not has_features:
            return None
        after = self._network.config.compute_request_gap(query.now - state.last) if state.events else 0.0
        q_H = self._network.compute_query(state.read.x, after, context_H)
        if query.unseen_only:
            again = None
        else:
            again = (
                self._get_repeat_scores(state, q_H, after)
                if context_H is None
                else self._score_repeats(state, q_H, after)
            )
        return _Request(q_H, state.taken.items, state.more.new, again)

    def _get_repeat_scores(self, state: UserState, q_H: Floats, after: float) -> RepeatScores | None:
        """Return ``_score_repeats`` of a request without a context, from the cache if the user's gap is the same."""
        kept = state.latest.scores
        if kept is None or kept[0] != after:
            state.latest.scores = kept = after, self._score_repeats(state, q_H, after)
        return kept[1]

    def _score_repeats(self, state: UserState, q_H: Floats, after: float) -> RepeatScores | None:
        moment = RequestMoment(state.last + after, state.visit + (after > 0), state.events, state.known_3)
        return self._network.score_repeats(q_H, state.taken, moment, state.more.again)

    def _compute_counter_logits(self, newest: Numbers, moments: Numbers, had: Numbers) -> CounterLogits:
        """Return the counters' weighted terms of the logits after a history."""
        if self._blend is None:
            return CounterLogits.create_empty(len(had))
        (counters, blend), many = self._blend, len(self.item_ids)
        parts = list(counters.iter_parts(newest, *compute_recency_weights(moments), had))
        new = sum_weighted_parts(parts, (blend.last, blend.near, blend.lately, blend.like), many)
        again, values = sum_weighted_parts(parts, (blend.again_last, blend.again_near, blend.again_lately, 0.0), many)
        return CounterLogits(SparseValues.from_items(*new, many), select_values(again, values, had))

    def _get_user_vector(self, user_id: str) -> Floats | None:
        """Return the vector of the user's features; None if there are none."""
        if not self._network.config.user_features:
            return None
        values, weights = self._artifact.get_user_features(user_id)
        return self._network.sum_feature_vectors("user", values, weights) if len(values) else None

    def _get_context_vector(self, query: Query) -> Floats | None:
        if self._artifact.contexts is None or not self._network.config.context_features:
            return None
        values, weights = self._artifact.contexts.encode(query.context)
        return self._network.sum_feature_vectors("context", values, weights) if len(values) else None


def open_counters(folder: Path, config: HrnnConfig) -> tuple[Counters, BlendWeights]:
    """Open the counters and the weights of the blend. Raises ArtifactError."""
    try:
        counters, blend = Counters.open(folder), BlendWeights.from_values(config.leaning)
        fit = len(config.leaning) == len(BlendWeights().values) and all(
            len(neighbours.offsets) - 1 == len(counters.prior_I) == config.items
            and len(neighbours.items) == len(neighbours.weights) == neighbours.offsets[-1]
            for neighbours in (getattr(counters, name) for name in NAMES)
        )
    except (OSError, ValueError, TypeError) as error:
        raise ArtifactError(f"{folder} cannot be read: {error}") from error
    if not fit:
        raise ArtifactError(f"{folder} cannot be read: it does not belong to {config}")
    return counters, blend


def sum_weighted_parts(parts: Sequence[ItemValues], weights: Sequence[float], items: int) -> ItemValues:
    """Return the weighted sum of parts over ``items`` items: those with a value, ascending."""
    weighted = [(ids, weight * values) for (ids, values), weight in zip(parts, weights, strict=True) if weight]
    if not weighted:
        return np.zeros(0, np.int64), np.zeros(0)
    ids, values = (np.concatenate(each) for each in zip(*weighted, strict=True))
    return sum_by_item(ids, values, items)


def select_values(items: Numbers, values: npt.NDArray[np.float64], some: Numbers) -> Floats:
    """float32[S]: return the values of some of the items, which ascend; 0 for items without one."""
    if not len(items):
        return np.zeros(len(some), np.float32)
    places = np.minimum(items.searchsorted(some), len(items) - 1)
    return np.where(items[places] == some, values[places], 0).astype(np.float32)
