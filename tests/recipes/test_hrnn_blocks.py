"""Many users scored at once have the scores that each of them has alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.recipes.hrnn import config
from shared.recipes.hrnn.scoring import Scorer
from shared.recipes.hrnn.serving import block_reading, state_cache
from shared.recipes.scoring_api import ExplainedScores, Past, Query, SoughtItems
from tests.recipes.scorers import NOW, make_data, write_model

FORMS = [("linear", True), ("gru", True), ("linear", False)]


@pytest.fixture(scope="module", params=FORMS, ids=["linear", "gru", "linear, each item once"])
def scorer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    cell, repeats = request.param
    return Scorer.load(write_model(tmp_path_factory.mktemp("model"), make_data(repeats=repeats), cell))


def score_together(scorer: Scorer, queries: list[Query]) -> list[ExplainedScores]:
    """The scores of all items, in one block."""
    everything = SoughtItems(places=np.arange(len(scorer.item_ids)))
    block = list(scorer.find_candidates(queries, [everything] * len(queries), 0))
    assert all(places is None or places.tolist() == list(range(len(scorer.item_ids))) for places, _ in block)
    return [found for _, found in block]


EVENTS = st.lists(
    st.tuples(
        st.sampled_from([*(f"i{item}" for item in range(9)), "unheard of"]),
        st.integers(0, 5000),
        st.sampled_from(["click", "BUY", "look", None]),
    ),
    max_size=40,
)

QUERIES = st.builds(
    lambda user, events, after, context, unseen: Query(
        now=NOW + after,
        user_id=user,
        history=[
            Past(item, NOW - sum(gap for _, gap, _ in events[place:]), type_)
            for place, (item, _, type_) in enumerate(events)
        ],
        context={"device": context} if context else {},
        unseen_only=unseen,
    ),
    st.sampled_from(["ann", "bob", "cleo", "a stranger"]),
    EVENTS,
    st.sampled_from([0, 60, 4000, 10**6]),
    st.sampled_from([None, "tv", "unknown"]),
    st.booleans(),
)


@given(queries=st.lists(QUERIES, min_size=1, max_size=12), at_once=st.sampled_from([1, 7, 1024]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_users_scored_at_once_have_the_scores_of_each_alone(scorer: Scorer, queries: list[Query], at_once: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(block_reading, "AT_ONCE", at_once)
        block = score_together(scorer, queries)
    for query, together in zip(queries, block, strict=True):
        scorer._states = state_cache.StateCache(scorer._reader)
        alone = scorer.explained(query)
        assert together.popular == alone.popular
        np.testing.assert_allclose(together.scores, alone.scores, atol=1e-6)


@pytest.mark.parametrize("events", [3, 15, 16, 17, 31, 32, 33, 64])
def test_of_a_long_history_the_newest_events_are_read_at_once_too(
    scorer: Scorer, monkeypatch: pytest.MonkeyPatch, events: int
) -> None:
    monkeypatch.setattr(config, "EVENTS_READ", 16)
    rng = np.random.default_rng(events)
    history = [
        Past(f"i{item}", NOW - 700.0 * (events - place)) for place, item in enumerate(rng.integers(0, 9, events))
    ]
    query = Query(now=NOW, user_id="ann", history=history)
    shorter = replace(query, history=history[:5])
    scorer._states = state_cache.StateCache(scorer._reader)
    together, _ = score_together(scorer, [query, shorter])
    np.testing.assert_allclose(together.scores, scorer.explained(query).scores, atol=1e-6)


def test_an_empty_block_has_no_answers(scorer: Scorer) -> None:
    assert list(scorer.find_candidates([], [], 3)) == []


def test_reading_at_once_is_the_same_in_windows_of_any_length(scorer: Scorer, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    inputs = [
        block_reading.EventInputs(
            rng.integers(0, 10, length), rng.integers(0, 5000, length).astype(float), rng.integers(0, 3, length), None
        )
        for length in (1, 9, 4, 4, 1, 30)
    ]
    found = []
    for at_once in (1, 5, 10_000):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(block_reading, "AT_ONCE", at_once)
            found.append(block_reading.read_histories(scorer._network, inputs))
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)
    np.testing.assert_allclose(found[0], found[2], atol=1e-5)
    alone = [scorer._network.read_events(each.items, each.before, each.types, None, None).x for each in inputs]
    np.testing.assert_allclose(found[0], alone, atol=1e-5)
