"""Packing: every event is read once, in its user's order, and asked about at its time."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from shared.data.arrays.histories import Histories
from shared.recipes.hrnn.config import GAP_BUCKETS, HrnnConfig
from shared.recipes.hrnn.sequence_packing import REMEMBERED
from shared.recipes.hrnn.time_buckets import LEAST_MET
from shared.recipes.hrnn.types import FeatureBags, Queries
from shared.recipes.request_time import SESSION_SECONDS
from tests.recipes.networks import fresh
from tests.recipes.packing import HOUR, find_moments, iter_epoch, make_shoppers, pack_streams, read_in_order
from tests.recipes.synthetic import bags, histories_of, training_data, walks


@pytest.mark.parametrize(("streams_", "steps"), [(1, 7), (4, 5), (16, 32), (500, 3)])
def test_every_event_is_a_target_once(streams_: int, steps: int) -> None:
    histories = make_shoppers()
    users = list(range(3, 12))
    windows = list(iter_epoch(histories, users, streams_, steps))
    found = Counter(event for window in windows for event in window.events[window.counts].tolist())
    first, last = histories.offsets[3], histories.offsets[12]
    assert found == Counter(range(first, last))
    assert len(windows) == pack_streams(histories).count_windows(np.array(users), streams=streams_, steps=steps)
    assert {window.events.shape for window in windows[:-1]} <= {(steps, streams_)}
    assert all(window.events.shape == window.counts.shape for window in windows)


@pytest.mark.parametrize("steps", [1, 5, 400])
def test_in_a_stream_each_users_events_follow_one_another_also_from_window_to_window(steps: int) -> None:
    histories = make_shoppers()
    events = torch.cat([window.places for window in iter_epoch(histories, list(range(12)), 4, steps)]).numpy()
    begins = np.isin(events, histories.offsets[:-1])
    going_on = ~begins[1:]
    np.testing.assert_array_equal(events[1:][going_on], events[:-1][going_on] + 1)
    ends = np.isin(events, histories.offsets[1:] - 1)
    np.testing.assert_array_equal(ends[:-1], begins[1:])


@pytest.mark.parametrize("steps", [1, 5, 400])
def test_events_of_one_moment_are_read_in_an_order_drawn_anew(steps: int) -> None:
    histories = make_shoppers()
    order = []
    for seed in range(40):
        windows = list(iter_epoch(histories, list(range(12)), 1, steps, seed))
        events, places, before = (
            torch.cat([getattr(window, name) for window in windows])[:, 0].numpy()
            for name in ("events", "places", "before")
        )
        np.testing.assert_array_equal(histories.timestamps[events], histories.timestamps[places])
        users = np.searchsorted(histories.offsets, np.stack([events, places]), side="right")
        np.testing.assert_array_equal(users[0], users[1])
        inside = ~np.isin(places, histories.offsets[:-1])
        np.testing.assert_array_equal(before[1:][inside[1:]], events[:-1][inside[1:]])
        order.append(events[np.argsort(places)])
    start, end = (np.array(each) for each in find_moments(histories))
    drawn = np.array(order)
    np.testing.assert_array_equal(drawn.min(0), start)
    np.testing.assert_array_equal(drawn.max(0), end - 1)
    assert (end - start).max() > 2


def test_each_epoch_has_an_order_of_its_own_and_the_same_seed_the_same() -> None:
    one, again, other = (
        torch.cat([window.events for window in iter_epoch(walks(users=20), list(range(20)), 3, 7, seed)])
        for seed in (0, 0, 1)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_what_is_read_before_an_event_is_the_users_event_before() -> None:
    histories = histories_of({"a": [("x", 100), ("y", 160), ("z", 150)], "b": [("z", 7), ("x", 7 + 2 * HOUR)]})
    histories = replace(histories, event_types=np.array([1, -1, 0, 0, 1], np.int16), event_type_names=["click", "buy"])
    found = read_in_order(pack_streams(histories), torch.tensor([[0, 3], [1, 4], [2, 0]]))
    start = 3
    assert found.items.tolist() == [[start, start], [0, 2], [1, start]]
    assert found.begins.tolist() == [[True, True], [False, False], [False, True]]
    # seconds before the event that is read, not before the one to be predicted
    assert found.before.tolist() == [[0, 0], [0, 0], [60, 0]]
    assert found.types is not None
    assert found.types.tolist() == [[0, 0], [2, 1], [0, 0]]
    assert found.users is None


def test_what_is_read_in_another_order_is_read_after_the_same_time() -> None:
    """Of y and z, at one moment, z comes first."""
    histories = histories_of({"a": [("x", 100), ("y", 160), ("z", 160), ("w", 900)]})
    histories = replace(histories, event_types=np.array([0, 1, 0, 0], np.int16), event_type_names=["click", "buy"])
    found = pack_streams(histories).read_events(torch.tensor([[0], [1], [2], [3]]), torch.tensor([[3], [0], [2], [1]]))
    assert found.items.flatten().tolist() == [4, 1, 3, 2]
    assert found.before.flatten().tolist() == [0, 0, 60, 0]
    assert found.types is not None
    assert found.types.flatten().tolist() == [0, 1, 1, 2]


def test_within_a_visit_it_is_asked_at_the_event_before_and_at_a_new_one_when_that_begins() -> None:
    pauses = [60, SESSION_SECONDS - 1, SESSION_SECONDS, -10, 2 * HOUR]
    times = [100, *(100 + np.cumsum(pauses)).tolist()]
    histories = histories_of({"a": [(f"i{n}", at) for n, at in enumerate(times)], "b": [("i0", 7)]})
    asked = pack_streams(histories).build_queries(torch.arange(7))
    assert asked.after.tolist() == [0, 0, 0, SESSION_SECONDS, 0, 2 * HOUR, 0]
    assert asked.contexts is None


def test_a_request_later_than_any_that_was_learnt_is_asked_after_the_time_that_stands_for_it() -> None:
    histories = histories_of({"a": [("x", 0), ("y", 2 * HOUR), ("z", 1000 * HOUR), ("w", 1000 * HOUR + 60)]})
    form = HrnnConfig(items=4, hidden=8, longest=999.0 * HOUR, instead=50.0 * HOUR)
    asked = pack_streams(histories).build_queries(torch.arange(4), config=form)
    # 998 hours lie within
    assert asked.after.tolist() == [0, 2 * HOUR, 998 * HOUR, 0]
    asked = pack_streams(histories).build_queries(torch.arange(4), config=replace(form, longest=998.0 * HOUR))
    assert asked.after.tolist() == [0, 2 * HOUR, 50 * HOUR, 0]


def same_queries(one: Queries, other: Queries) -> bool:
    assert one.pairs.features is not None
    return (
        torch.equal(one.after, other.after)
        and torch.equal(one.known, other.known)
        and all(torch.equal(a, b) for a, b in zip(one.pairs, other.pairs, strict=True))
    )


def test_when_within_its_visit_an_event_comes_changes_no_query_about_it() -> None:
    """The moment that a query knows of is never that of the event to be predicted, but where a visit begins with it."""
    histories = make_shoppers(types=2, seed=3)
    streams_, moved = pack_streams(histories), 0
    before = np.diff(histories.timestamps, prepend=0)
    inside = np.ones(len(before), bool)
    inside[histories.offsets[:-1]] = False
    for event in np.flatnonzero(inside & (before > 0) & (before < SESSION_SECONDS)).tolist():
        for gap in (1, 700, SESSION_SECONDS - 1):
            times = histories.timestamps.copy()
            user = np.searchsorted(histories.offsets, event, side="right")
            times[event : histories.offsets[user]] += gap - before[event]
            changed = pack_streams(replace(histories, timestamps=times))
            place = streams_.find_moment_starts(torch.tensor([event]))
            assert torch.equal(changed.find_moment_starts(torch.tensor([event])), place)
            assert same_queries(changed.build_queries(place), streams_.build_queries(place))
            moved += times[event] != histories.timestamps[event]
    assert moved > 50


def test_when_a_visit_begins_is_known() -> None:
    histories = histories_of({"a": [("x", 0), ("x", 10), ("y", 2 * HOUR)]})
    later = replace(histories, timestamps=histories.timestamps + np.array([0, 0, HOUR]))
    one, other = (pack_streams(each).build_queries(torch.tensor([2])) for each in (histories, later))
    assert one.after.tolist() == [2 * HOUR - 10]
    assert other.after.tolist() == [3 * HOUR - 10]
    assert not same_queries(one, other)


def test_one_type_or_none_says_nothing() -> None:
    histories = make_shoppers(types=1)
    assert pack_streams(histories).event_types == 0
    assert read_in_order(pack_streams(histories), torch.tensor([[4]])).types is None
    assert pack_streams(replace(histories, event_type_names=[])).event_types == 0


def rows_of(found: FeatureBags | None) -> list[dict[int, float]]:
    assert found is not None
    ends = found.offsets.tolist()
    pairs = list(zip(found.values.tolist(), found.weights.tolist(), strict=True))
    return [dict(pairs[begin:end]) for begin, end in pairwise(ends)]


def test_users_and_contexts_come_with_their_events() -> None:
    histories = histories_of({"a": [("x", 1), ("y", 2)], "b": [("x", 3)], "c": [("y", 4), ("x", 5)]})
    users = [{"club": "red"}, {}, {"club": "red|blue"}]
    contexts = [{"device": name} for name in ("tv", "phone", "tv", "tv")] + [{}]
    data = training_data(histories, users=users, contexts=contexts)
    streams_ = pack_streams(data)
    assert data.users is not None
    assert data.contexts is not None
    red, both = (
        dict(zip(*data.users.encode(users[0]), strict=True)),
        dict(zip(*data.users.encode(users[2]), strict=True)),
    )
    found = read_in_order(streams_, torch.tensor([[0, 4], [1, 2]]))
    assert rows_of(found.users) == [red, both, red, {}]
    tv, phone = ({data.contexts.encode({"device": name})[0][0]: 1.0} for name in ("tv", "phone"))
    assert rows_of(streams_.build_queries(torch.tensor([1, 4, 0, 3])).contexts) == [phone, {}, tv, tv]


def test_features_without_any_value_are_none() -> None:
    histories = histories_of({"a": [("x", 1), ("y", 2)]})
    nothing = bags([{}])
    assert nothing.size == 0
    streams_ = pack_streams(replace(training_data(histories), users=nothing))
    assert read_in_order(streams_, torch.tensor([[1]])).users is None


def test_positions_count_the_users_events_before() -> None:
    histories = histories_of({"a": [("x", 1), ("y", 2)], "b": [("x", 3)], "c": [("y", 4), ("x", 5), ("x", 6)]})
    assert pack_streams(histories).get_positions(np.array([5, 2, 1, 0])).tolist() == [2, 0, 1, 0]


def test_mapped_files_are_read_as_they_lie(tmp_path: Path) -> None:
    histories = make_shoppers()
    histories.save(tmp_path / "histories")
    events = torch.arange(len(histories.items))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mapped = pack_streams(Histories.open(tmp_path / "histories")).build_queries(events)
    for one, other in zip(mapped.pairs, pack_streams(histories).build_queries(events).pairs, strict=True):
        assert torch.equal(one, other)


def test_a_network_sets_out_from_what_can_be_counted() -> None:
    histories = make_shoppers(users=60)
    data, users = training_data(histories), np.arange(5, 60)
    streams_ = pack_streams(histories)
    network = fresh(data, streams_)
    streams_.prepare_network(network, users, 0)
    start, _ = find_moments(histories)
    begin = int(histories.offsets[5])
    first = np.zeros(9)
    for event in range(begin, len(start)):
        user = int(np.searchsorted(histories.offsets, event, side="right")) - 1
        first[histories.items[event]] += (
            histories.items[event] not in histories.items[histories.offsets[user] : start[event]]
        )
    expected = np.log((first + 1) / (first + 1).sum())
    np.testing.assert_allclose(network.bias[:-1].detach(), expected, rtol=1e-5)
    assert network.again is not None
    x = streams_.build_queries(torch.tensor(start[begin:]), REMEMBERED).pairs.features
    assert x is not None
    torch.testing.assert_close(network.again.mean, x.mean(0))
    assert (network.again.least >= x.amin(0)).all()
    assert (network.again.most <= x.amax(0)).all()
    assert network.request_gaps_G is not None
    assert network.event_gaps_G is not None
    after = streams_.build_queries(torch.tensor(start[begin:])).after.numpy()
    buckets = np.bincount(np.floor(np.log2(after + 1)).astype(int), minlength=GAP_BUCKETS)
    assert network.request_gaps_G.tolist() == buckets.tolist()
    assert int(network.event_gaps_G.sum()) == len(start) - begin
    told = np.flatnonzero(buckets >= min(LEAST_MET, buckets.max()))[-1]
    assert network.config.longest == 2.0 ** (told + 1) - 1
    assert network.config.instead == sorted(after)[(len(after) - 1) // 2]


def test_who_asks_later_than_anybody_did_is_taken_to_ask_after_the_median() -> None:
    histories = walks(users=60, events=16)
    streams_ = pack_streams(histories)
    network = fresh(training_data(histories), streams_)
    streams_.prepare_network(network, np.arange(5, 60), 0)
    gaps = np.diff(histories.timestamps.reshape(60, 16), axis=1, prepend=0)[5:]
    gaps[:, 0] = 0
    after = np.where(gaps < SESSION_SECONDS, 0, gaps).ravel()
    assert network.config.instead == sorted(after)[(len(after) - 1) // 2] > 0
    assert network.config.compute_request_gap(network.config.longest) == network.config.instead


def test_what_is_late_counts_more() -> None:
    histories = histories_of({"a": [("x", 0), ("y", 80)], "b": [("x", 60), ("y", 100)]})
    late = pack_streams(histories).compute_recency(torch.arange(4), 1 / 4)
    np.testing.assert_allclose(late, 0.5 ** (np.array([100, 20, 40, 0]) / 25), rtol=1e-5)


def test_the_newest_events_come_with_their_moments_and_when_it_is_asked() -> None:
    times = [0, 10, 10, 40, 40 + 2 * HOUR]
    histories = histories_of({"a": [(f"i{n}", at) for n, at in enumerate(times)], "b": [("i0", 7)]})
    found = list(pack_streams(histories).iter_newest(torch.tensor([0, 3, 4, 5]), 3))
    assert [items.tolist() for items, _, _ in found] == [[], [0, 1, 2], [1, 2, 3], []]
    back = [(moment[-1] - moment).tolist() if len(moment) else [] for _, moment, _ in found]
    assert back == [[], [1, 0, 0], [1, 1, 0], []]
    assert [at for _, _, at in found] == [0.0, 10.0, 40.0 + 2 * HOUR, 7.0]
