"""A history read as it comes, whatever way it comes, is scored as the whole of it read at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.recipes.hrnn.config import EVENTS_READ
from shared.recipes.hrnn.counters import NEWEST
from shared.recipes.hrnn.scoring import Scorer
from shared.recipes.hrnn.serving import numpy_network, state_cache
from shared.recipes.hrnn.time_buckets import bucket_gaps
from shared.recipes.scoring_api import Past, Query
from tests.recipes.test_hrnn_scoring import NOW, POPULARITY, make_data, write_model
from tests.recipes.whole import bag, history_log_shares, leaning_of, network_of

WINDOW = 5
"""Live events that are known of a user here, as 200 are in the store."""


class Pair:
    """A model: as it serves, and as the network in torch."""

    def __init__(self, folder: Path, cell: str, *, repeats: bool) -> None:
        self.repeats = repeats
        self.scorer = Scorer.load(write_model(folder / cell, make_data(repeats=repeats), cell))
        self.network = network_of(folder / cell)
        self.leaning = leaning_of(folder / cell)

    def whole(self, history: Sequence[Past], user_id: str, now: float) -> np.ndarray:
        known = [one for one in history if one.item_id in self.scorer.item_ids]
        if not self.repeats and len({one.item_id for one in known}) == 9:
            return POPULARITY  # there is nothing left
        types = [
            ["click", "buy"].index(one.event_type) + 1 if one.event_type in ("click", "buy") else 0 for one in known
        ]
        log_shares_I = history_log_shares(
            self.network,
            torch.tensor([self.scorer.item_ids.index(one.item_id) for one in known], dtype=torch.long),
            torch.tensor([one.timestamp for one in known], dtype=torch.double),
            torch.tensor(types, dtype=torch.long),
            now,
            bag(*self.scorer._artifact.get_user_features(user_id)),
            leaning=self.leaning,
        )
        return log_shares_I.exp().numpy()


@pytest.fixture(
    scope="module",
    params=[("linear", True), ("gru", True), ("linear", False)],
    ids=["linear", "gru", "linear, each item once"],
)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    cell, repeats = request.param
    return Pair(tmp_path_factory.mktemp("model"), cell, repeats=repeats)


def forget(scorer: Scorer) -> None:
    scorer._states = state_cache.StateCache(scorer._states._reader)


LIVE = st.tuples(
    st.sampled_from([*(f"i{item}" for item in range(9)), "unheard of"]),
    st.sampled_from([0.0, 1.0, 7.5, 1799.0, 1800.0, 1801.0, 90_000.0, 3e6]),
    st.sampled_from(["click", "buy", "wink", None]),
    st.integers(0, 3),
)
"""Item, seconds after the newest event, type, and by how many events it comes late."""


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(users=st.lists(st.sampled_from(["ann", "bob", "new"]), min_size=1, max_size=25), drawn=st.data())
def test_however_events_arrive_the_scores_are_those_of_the_whole_history(
    pair: Pair, users: list[str], drawn: st.DataObject
) -> None:
    live: dict[str, list[Past]] = {"ann": [], "bob": [], "new": []}
    forget(pair.scorer)
    for user_id in users:
        newest = max((one.timestamp for one in live[user_id]), default=1_650_000_000.0)
        for item, later, type_, late in drawn.draw(st.lists(LIVE, max_size=3)):
            newest += later
            place = max(0, len(live[user_id]) - late)
            at = live[user_id][place].timestamp if place < len(live[user_id]) else newest
            live[user_id].insert(place, Past(item, at, type_))
        del live[user_id][:-WINDOW]
        history = [*pair.scorer.history(user_id), *live[user_id]]
        now = newest + drawn.draw(st.sampled_from([0.0, 100.0, 1799.0, 1800.0, 90_000.0]))
        if not history or (user_id == "new" and all(one.item_id == "unheard of" for one in history)):
            continue  # popularity
        scores = pair.scorer.scores(Query(user_id=user_id, history=history, now=now))
        np.testing.assert_allclose(scores, pair.whole(history, user_id, now), atol=1e-5)
        assert scores.sum() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("longer", [0, 1])
def test_a_history_may_outgrow_what_is_read_of_it(pair: Pair, longer: int) -> None:
    rng = np.random.default_rng(5)
    at = NOW + rng.integers(0, 5000, 2 * EVENTS_READ + 40).cumsum()
    events = [Past(f"i{item}", float(when), "buy") for item, when in zip(rng.integers(0, 9, len(at)), at, strict=True)]
    for count in (2 * EVENTS_READ - 3, *(2 * EVENTS_READ + step for step in range(-2 + longer, 4, 1 + longer))):
        scores = pair.scorer.scores(Query(user_id="grown", history=events[:count], now=float(at[-1])))
        np.testing.assert_allclose(scores, pair.whole(events[:count], "grown", float(at[-1])), atol=1e-5)


def test_only_new_events_are_read(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    plain = numpy_network.NumpyNetwork.read_events

    def counting(
        self: numpy_network.NumpyNetwork, items_T: numpy_network.Numbers, *more: object
    ) -> numpy_network.ReadState:
        read.append(len(items_T))
        return plain(self, items_T, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(numpy_network.NumpyNetwork, "read_events", counting)
    trained, live = pair.scorer.history("ann"), [Past(f"i{n % 9}", NOW + n, "click") for n in range(30)]

    def events_read(history: Sequence[Past]) -> int:
        read.clear()
        pair.scorer.scores(Query(user_id="ann", history=history, now=NOW + 99))
        return sum(read)

    forget(pair.scorer)
    assert events_read([*trained, *live[:10]]) == 1 + len(trained) + 10
    assert events_read([*trained, *live[:10]]) == 0
    assert events_read([*trained, *live[:13]]) == 3
    # The window moves on: first all is read again, from then on what lies behind the place where histories part.
    assert events_read([*trained, *live[1:14]]) == 1 + len(trained) + 13
    assert events_read([*trained, *live[2:15]]) == 13
    assert events_read([*trained, *live[2:16]]) == 1


def test_what_is_remembered_has_bounds(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    forget(pair.scorer)
    monkeypatch.setattr(state_cache, "MOST_EVENTS", 10 * (state_cache.EVENTS_A_USER + 1))
    for number in range(50):
        pair.scorer.scores(Query(user_id=f"user {number}", history=[Past("i1", NOW)], now=NOW))
        assert pair.scorer._states._size <= state_cache.MOST_EVENTS
    kept = pair.scorer._states._kept
    assert list(kept) == [f"user {number}" for number in range(40, 50)]
    assert pair.scorer._states._size == sum(one.size for one in kept.values())


def test_an_answer_is_remembered_for_the_moment_and_the_history_that_it_was_given_to(pair: Pair) -> None:
    """But never for another context."""
    forget(pair.scorer)
    history = [Past(f"i{n}", NOW + 60 * n, "click") for n in (1, 4, 2)]
    for now in (NOW + 200, NOW + 900, NOW + 9000, NOW + 9000, NOW + 9001, NOW + 200):
        for events in (history, history[:2], history):
            for context in ({}, {"device": "tv"}, {"device": "phone"}):
                query = Query(user_id="ann", history=events, now=now, context=context)
                found = pair.scorer.scores(query)
                again = pair.scorer.scores(query)
                np.testing.assert_array_equal(found, again)
                remembered = pair.scorer._states
                forget(pair.scorer)
                np.testing.assert_allclose(found, pair.scorer.scores(query), atol=1e-5)
                pair.scorer._states = remembered


def test_what_was_counted_looks_at_the_newest_events_that_are_known(pair: Pair) -> None:
    """However many between them are of items that nobody has heard of, and in however many pieces they come."""
    forget(pair.scorer)
    events = [Past(f"i{n % 9}" if n % 9 < 7 and n % 4 else "?", NOW + 40 * n, "click") for n in range(5 * NEWEST)]
    for count in range(1, len(events), 3):
        scores = pair.scorer.scores(Query(user_id="bob", history=events[:count], now=NOW + 9e4))
        if any(one.item_id != "?" for one in events[:count]):
            np.testing.assert_allclose(scores, pair.whole(events[:count], "bob", NOW + 9e4), atol=1e-5)


def test_a_history_out_of_order_is_the_same_in_pieces(pair: Pair) -> None:
    rng = np.random.default_rng(3)
    at = NOW + rng.integers(0, 20_000, 30)
    events = [Past(f"i{item}", float(when), "buy") for item, when in zip(rng.integers(0, 8, 30), at, strict=True)]
    forget(pair.scorer)
    for count in range(1, 31):
        query = Query(user_id="late", history=events[:count], now=float(at.max()) + 4000)
        scores = pair.scorer.scores(query)
        remembered = pair.scorer._states
        forget(pair.scorer)
        np.testing.assert_allclose(scores, pair.scorer.scores(query), atol=1e-5)
        np.testing.assert_allclose(scores, pair.whole(events[:count], "late", query.now), atol=1e-5)
        assert scores.sum() == pytest.approx(1.0, abs=1e-5)
        pair.scorer._states = remembered


def test_gaps_are_told_apart_as_in_training() -> None:
    seconds = np.unique([step + 2.0**power for power in range(32) for step in (-2, -1, -0.5, 0, 0.5, 1)])
    np.testing.assert_array_equal(
        numpy_network.find_gap_buckets(seconds), bucket_gaps(torch.from_numpy(seconds)).numpy()
    )
    assert numpy_network.find_gap_buckets(np.array([-5.0, 0.0, 4e12])).tolist() == [0, 0, 31]
    odd_S = np.array([*seconds.tolist(), -5.0, 4e12])
    assert [numpy_network.find_gap_bucket(one) for one in odd_S.tolist()] == numpy_network.find_gap_buckets(
        odd_S
    ).tolist()
