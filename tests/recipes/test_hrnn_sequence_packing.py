"""Packing: every event once, with the right company, in whatever cut."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from shared.data.arrays.histories import Histories
from shared.data.training.training_data import TrainingData
from shared.recipes.hrnn import sequence_packing
from shared.recipes.hrnn.config import GAP_BUCKETS, HrnnConfig
from shared.recipes.hrnn.lightning_module import compute_window_loss
from shared.recipes.hrnn.prediction_targets import gather_batch, gather_moments, merge_targets
from shared.recipes.hrnn.repeat_features import HALF_LIVES, LastInteractions, compute_repeat_features
from shared.recipes.hrnn.sequence_packing import REMEMBERED, Streams
from shared.recipes.hrnn.time_buckets import LEAST_MET
from shared.recipes.hrnn.types import Events, FeatureBags, Pairs, Queries, Targets, Window
from shared.recipes.request_time import SESSION_SECONDS
from tests.recipes.networks import fresh
from tests.recipes.synthetic import bags, histories_of, training_data, walks

MINUTE, HOUR = 60, 3600


def streams_of(histories: Histories | TrainingData) -> Streams:
    data = histories if isinstance(histories, TrainingData) else training_data(histories)
    return Streams(data, np.ones(len(data.histories.items), np.float32))


def shoppers(users: int = 12, items: int = 9, types: int = 3, seed: int = 0) -> Histories:
    """Everyone takes few items again and again; histories of 1 to 30 events; times that stand still at times."""
    rng = np.random.default_rng(seed)
    sequences = {}
    for user in range(users):
        length = int(rng.integers(1, 31))
        times = 1_000_000 + np.cumsum(rng.choice([0, 5, 50, HOUR, 50 * HOUR], length))
        drawn = rng.integers(0, items, length)
        sequences[f"u{user:02}"] = [(f"i{item}", int(at)) for item, at in zip(drawn, times, strict=True)]
    histories = histories_of(sequences)
    return replace(
        histories,
        event_types=rng.integers(-1, types, len(histories.items)).astype(np.int16),
        event_type_names=[f"type{number}" for number in range(types)],
    )


def moments(histories: Histories) -> tuple[list[int], list[int]]:
    """For each event the first of its user's at the same moment, and the first after these."""
    users = np.repeat(np.arange(len(histories.user_ids)), histories.lengths).tolist()
    at = list(zip(users, histories.timestamps.tolist(), strict=True))
    return [at.index(each) for each in at], [len(at) - at[::-1].index(each) for each in at]


# Windows


def epoch(histories: Histories, users: list[int], streams_: int, steps: int, seed: int = 0) -> Iterator[Window]:
    rng = np.random.default_rng(seed)
    return streams_of(histories).iter_windows(np.array(users), streams=streams_, steps=steps, rng=rng)


@pytest.mark.parametrize(("streams_", "steps"), [(1, 7), (4, 5), (16, 32), (500, 3)])
def test_every_event_is_a_target_once(streams_: int, steps: int) -> None:
    histories = shoppers()
    users = list(range(3, 12))
    windows = list(epoch(histories, users, streams_, steps))
    found = Counter(event for window in windows for event in window.events[window.counts].tolist())
    first, last = histories.offsets[3], histories.offsets[12]
    assert found == Counter(range(first, last))
    assert len(windows) == streams_of(histories).count_windows(np.array(users), streams=streams_, steps=steps)
    assert {window.events.shape for window in windows[:-1]} <= {(steps, streams_)}
    assert all(window.events.shape == window.counts.shape for window in windows)


@pytest.mark.parametrize("steps", [1, 5, 400])
def test_in_a_stream_each_users_events_follow_one_another_also_from_window_to_window(steps: int) -> None:
    histories = shoppers()
    events = torch.cat([window.places for window in epoch(histories, list(range(12)), 4, steps)]).numpy()
    begins = np.isin(events, histories.offsets[:-1])
    going_on = ~begins[1:]
    np.testing.assert_array_equal(events[1:][going_on], events[:-1][going_on] + 1)
    ends = np.isin(events, histories.offsets[1:] - 1)
    np.testing.assert_array_equal(ends[:-1], begins[1:])


@pytest.mark.parametrize("steps", [1, 5, 400])
def test_events_of_one_moment_are_read_in_an_order_drawn_anew(steps: int) -> None:
    histories = shoppers()
    order = []
    for seed in range(40):
        windows = list(epoch(histories, list(range(12)), 1, steps, seed))
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
    start, end = (np.array(each) for each in moments(histories))
    drawn = np.array(order)
    np.testing.assert_array_equal(drawn.min(0), start)
    np.testing.assert_array_equal(drawn.max(0), end - 1)
    assert (end - start).max() > 2


def test_each_epoch_has_an_order_of_its_own_and_the_same_seed_the_same() -> None:
    one, again, other = (
        torch.cat([window.events for window in epoch(walks(users=20), list(range(20)), 3, 7, seed)])
        for seed in (0, 0, 1)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


# What is read


def read(of: Streams, events: Tensor) -> Events:
    """In the order of the file."""
    return of.read_events(events, events - 1)


def test_what_is_read_before_an_event_is_the_users_event_before() -> None:
    histories = histories_of({"a": [("x", 100), ("y", 160), ("z", 150)], "b": [("z", 7), ("x", 7 + 2 * HOUR)]})
    histories = replace(histories, event_types=np.array([1, -1, 0, 0, 1], np.int16), event_type_names=["click", "buy"])
    found = read(streams_of(histories), torch.tensor([[0, 3], [1, 4], [2, 0]]))
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
    found = streams_of(histories).read_events(torch.tensor([[0], [1], [2], [3]]), torch.tensor([[3], [0], [2], [1]]))
    assert found.items.flatten().tolist() == [4, 1, 3, 2]
    assert found.before.flatten().tolist() == [0, 0, 60, 0]
    assert found.types is not None
    assert found.types.flatten().tolist() == [0, 1, 1, 2]


def test_within_a_visit_it_is_asked_at_the_event_before_and_at_a_new_one_when_that_begins() -> None:
    pauses = [60, SESSION_SECONDS - 1, SESSION_SECONDS, -10, 2 * HOUR]
    times = [100, *(100 + np.cumsum(pauses)).tolist()]
    histories = histories_of({"a": [(f"i{n}", at) for n, at in enumerate(times)], "b": [("i0", 7)]})
    asked = streams_of(histories).build_queries(torch.arange(7))
    assert asked.after.tolist() == [0, 0, 0, SESSION_SECONDS, 0, 2 * HOUR, 0]
    assert asked.contexts is None


def test_a_request_later_than_any_that_was_learnt_is_asked_after_the_time_that_stands_for_it() -> None:
    histories = histories_of({"a": [("x", 0), ("y", 2 * HOUR), ("z", 1000 * HOUR), ("w", 1000 * HOUR + 60)]})
    form = HrnnConfig(items=4, hidden=8, longest=999.0 * HOUR, instead=50.0 * HOUR)
    asked = streams_of(histories).build_queries(torch.arange(4), config=form)
    # 998 hours lie within
    assert asked.after.tolist() == [0, 2 * HOUR, 998 * HOUR, 0]
    asked = streams_of(histories).build_queries(torch.arange(4), config=replace(form, longest=998.0 * HOUR))
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
    histories = shoppers(types=2, seed=3)
    streams_, moved = streams_of(histories), 0
    before = np.diff(histories.timestamps, prepend=0)
    inside = np.ones(len(before), bool)
    inside[histories.offsets[:-1]] = False
    for event in np.flatnonzero(inside & (before > 0) & (before < SESSION_SECONDS)).tolist():
        for gap in (1, 700, SESSION_SECONDS - 1):
            times = histories.timestamps.copy()
            user = np.searchsorted(histories.offsets, event, side="right")
            times[event : histories.offsets[user]] += gap - before[event]
            changed = streams_of(replace(histories, timestamps=times))
            place = streams_.find_moment_starts(torch.tensor([event]))
            assert torch.equal(changed.find_moment_starts(torch.tensor([event])), place)
            assert same_queries(changed.build_queries(place), streams_.build_queries(place))
            moved += times[event] != histories.timestamps[event]
    assert moved > 50


def test_when_a_visit_begins_is_known() -> None:
    histories = histories_of({"a": [("x", 0), ("x", 10), ("y", 2 * HOUR)]})
    later = replace(histories, timestamps=histories.timestamps + np.array([0, 0, HOUR]))
    one, other = (streams_of(each).build_queries(torch.tensor([2])) for each in (histories, later))
    assert one.after.tolist() == [2 * HOUR - 10]
    assert other.after.tolist() == [3 * HOUR - 10]
    assert not same_queries(one, other)


def test_one_type_or_none_says_nothing() -> None:
    histories = shoppers(types=1)
    assert streams_of(histories).event_types == 0
    assert read(streams_of(histories), torch.tensor([[4]])).types is None
    assert streams_of(replace(histories, event_type_names=[])).event_types == 0


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
    streams_ = streams_of(data)
    assert data.users is not None
    assert data.contexts is not None
    red, both = (
        dict(zip(*data.users.encode(users[0]), strict=True)),
        dict(zip(*data.users.encode(users[2]), strict=True)),
    )
    found = read(streams_, torch.tensor([[0, 4], [1, 2]]))
    assert rows_of(found.users) == [red, both, red, {}]
    tv, phone = ({data.contexts.encode({"device": name})[0][0]: 1.0} for name in ("tv", "phone"))
    assert rows_of(streams_.build_queries(torch.tensor([1, 4, 0, 3])).contexts) == [phone, {}, tv, tv]


def test_features_without_any_value_are_none() -> None:
    histories = histories_of({"a": [("x", 1), ("y", 2)]})
    nothing = bags([{}])
    assert nothing.size == 0
    streams_ = streams_of(replace(training_data(histories), users=nothing))
    assert read(streams_, torch.tensor([[1]])).users is None


# The items seen before


class Seen(NamedTuple):
    """An item of a history, as it is known before an event."""

    takings: LastInteractions
    type: int
    """0: none."""


def by_hand(histories: Histories, event: int, remembered: int | None = None) -> dict[int, Seen]:
    """For each item of the history what is known of it."""
    begin = int(histories.offsets[np.searchsorted(histories.offsets, event, side="right") - 1])
    items, times = histories.items[begin : event + 1].tolist(), histories.timestamps[begin : event + 1].tolist()
    past = event - begin
    visits = np.cumsum([0, *(gap >= SESSION_SECONDS for gap in np.diff(times))]).tolist()
    at = times[past] if past and visits[past] > visits[past - 1] else times[past - 1]
    found = {}
    for item in set(items[0 if remembered is None else max(0, past - remembered) : past]):
        taken = [place for place in range(past) if items[place] == item]
        last = taken[-1]
        faded = [sum(0.5 ** ((visits[last] - visits[t]) / half_life) for t in taken) for half_life in HALF_LIVES]
        takings = LastInteractions(
            distance=past - last,
            visits=visits[past] - visits[last],
            seconds=at - times[last],
            counts=len(taken),
            interval=(times[last] - times[taken[0]]) / max(len(taken) - 1, 1),
            faded=np.log(faded),
            events=past,
        )
        found[item] = Seen(takings, int(histories.event_types[begin + last]) + 1)
    return found


def of_rows(rows: Tensor, items: Tensor, queries: int) -> list[list[int]]:
    return [sorted(items[rows == row].tolist()) for row in range(queries)]


@pytest.mark.parametrize("remembered", [None, 1, 3, REMEMBERED])
@pytest.mark.parametrize("types", [0, 3])
def test_what_was_seen_is_the_users_own_past_each_item_once_as_it_stands_last(
    remembered: int | None, types: int
) -> None:
    histories = shoppers(types=types or 1)
    streams_ = streams_of(histories)
    assert streams_.repeats
    assert streams_.event_types == types
    events = streams_.find_moment_starts(torch.from_numpy(np.random.default_rng(0).permutation(len(histories.items))))
    asked = streams_.build_queries(events, remembered)
    pairs = asked.pairs
    assert pairs.rows.tolist() == sorted(pairs.rows.tolist())
    expected = [by_hand(histories, event, remembered) for event in events.tolist()]
    assert of_rows(pairs.rows, pairs.items, len(events)) == [sorted(found) for found in expected]
    seen = [expected[row][item] for row, item in zip(pairs.rows.tolist(), pairs.items.tolist(), strict=True)]
    takings = LastInteractions(
        *(np.array(each, np.float64) for each in zip(*(one.takings for one in seen), strict=True))
    )
    assert pairs.features is not None
    np.testing.assert_allclose(pairs.features, compute_repeat_features(takings), rtol=1e-4, atol=1e-4)
    if types:
        assert pairs.types is not None
        assert pairs.types.tolist() == [one.type for one in seen]
    else:
        assert pairs.types is None


def test_how_much_is_known_of_a_user_are_events_items_and_repeats() -> None:
    histories = shoppers()
    streams_ = streams_of(histories)
    events = streams_.find_moment_starts(torch.arange(len(histories.items)))
    expected = []
    for event in events.tolist():
        begin = histories.offsets[np.searchsorted(histories.offsets, event, side="right") - 1]
        past = histories.items[begin:event].tolist()
        expected.append([np.log1p(len(past)) / 4, np.log1p(len(set(past))) / 4, 1 - len(set(past)) / max(len(past), 1)])
    np.testing.assert_allclose(streams_.build_queries(events).known, expected, rtol=1e-5)


def test_where_nobody_takes_a_thing_twice_its_age_is_not_looked_at() -> None:
    histories = histories_of({f"u{n}": [(f"i{(n + step) % 9}", step) for step in range(9)] for n in range(30)})
    streams_ = streams_of(histories)
    assert not streams_.repeats
    asked = streams_.build_queries(torch.arange(len(histories.items)))
    pairs = asked.pairs
    assert pairs.features is None
    assert not asked.known.any()
    expected = [sorted(by_hand(histories, event)) for event in range(len(histories.items))]
    assert of_rows(pairs.rows, pairs.items, len(histories.items)) == expected


def test_a_rare_repeat_is_still_one_item_of_the_history() -> None:
    sequences = {f"u{n:02}": [(f"i{(n + step) % 9}", step) for step in range(9)] for n in range(30)}
    sequences["u00"][5] = sequences["u00"][1]
    histories = histories_of(sequences)
    streams_ = streams_of(histories)
    assert not streams_.repeats
    pairs = streams_.build_queries(torch.tensor([8])).pairs
    assert sorted(pairs.items.tolist()) == sorted(by_hand(histories, 8))
    assert len(pairs.items) == 7


@pytest.mark.parametrize("remembered", [1, 3, REMEMBERED])
@pytest.mark.parametrize(("streams_", "steps"), [(1, 7), (6, 32), (40, 3)])
def test_spans_and_pairs_together_say_what_pairs_alone_do(streams_: int, steps: int, remembered: int) -> None:
    """With users who take things again, who share a stream, whose events fill up the last one, and several events of
    a moment: those are asked about from before it."""
    histories = shoppers()
    read = streams_of(histories)
    said = 0
    for window in epoch(histories, list(range(12)), streams_, steps):
        events_BT = window.places.T.contiguous()
        events_BT[:, 0] = read.find_moment_starts(events_BT[:, 0])
        begins = torch.stack([read.find_moment_starts(of_stream) == of_stream for of_stream in events_BT]).flatten()
        asked, whole = (
            read.build_stream_queries(events_BT, remembered),
            read.build_queries(events_BT.flatten(), remembered),
        )
        plain = whole._replace(pairs=whole.pairs.select_queries(begins))
        assert asked.spans is not None
        rows, items = asked.spans.expand()
        all_ = Pairs(torch.cat([rows, asked.pairs.rows]), torch.cat([items, asked.pairs.items])).select_queries(begins)
        found = all_.rows * 9 + all_.items
        assert found.sort().values.tolist() == (plain.pairs.rows * 9 + plain.pairs.items).sort().values.tolist()
        assert asked.pairs.rows.tolist() == sorted(asked.pairs.rows.tolist())
        keys = asked.spans.streams * 9 + asked.spans.items
        assert len(keys.unique()) == len(keys)
        assert torch.equal(asked.after, plain.after)
        said += len(keys)
    assert said


def test_users_of_one_event_have_no_spans() -> None:
    histories = histories_of({f"u{n}": [("i0", n)] for n in range(6)})
    asked = streams_of(histories).build_stream_queries(torch.arange(6).view(2, 3), REMEMBERED)
    assert asked.spans is not None
    assert len(asked.spans.items) == len(asked.pairs.items) == 0


def test_training_remembers_so_many_events_and_no_more() -> None:
    length = REMEMBERED + 6
    histories = histories_of({"a": [(f"i{step:05}", step) for step in range(length)]})
    last = torch.tensor([length - 1])
    assert streams_of(histories).build_queries(last, REMEMBERED).pairs.items.tolist() == list(range(5, length - 1))
    assert len(streams_of(histories).build_queries(last).pairs.items) == length - 1


def test_repeats_are_the_same_in_any_block(monkeypatch: pytest.MonkeyPatch) -> None:
    histories = shoppers(users=40)
    events = torch.arange(len(histories.items))
    whole = streams_of(histories).build_queries(events).pairs
    monkeypatch.setattr(sequence_packing, "EVENTS_AT_ONCE", 35)
    blocks: list[None] = []
    parts = Streams(training_data(histories), np.ones(len(events), np.float32), on_block=lambda: blocks.append(None))
    assert len(blocks) > 10
    for one, other in zip(parts.build_queries(events).pairs, whole, strict=True):
        assert one is other is None or torch.equal(one, other)
    assert torch.equal(parts.new_E, streams_of(histories).new_E)


def test_positions_count_the_users_events_before() -> None:
    histories = histories_of({"a": [("x", 1), ("y", 2)], "b": [("x", 3)], "c": [("y", 4), ("x", 5), ("x", 6)]})
    assert streams_of(histories).get_positions(np.array([5, 2, 1, 0])).tolist() == [2, 0, 1, 0]


def test_mapped_files_are_read_as_they_lie(tmp_path: Path) -> None:
    histories = shoppers()
    histories.save(tmp_path / "histories")
    events = torch.arange(len(histories.items))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mapped = streams_of(Histories.open(tmp_path / "histories")).build_queries(events)
    for one, other in zip(mapped.pairs, streams_of(histories).build_queries(events).pairs, strict=True):
        assert torch.equal(one, other)


# What is learnt of a window


def of_moments(targets: Targets, places: Tensor) -> dict[int, dict[int, float]]:
    """What is wanted before each place."""
    found: dict[int, dict[int, float]] = {}
    for row, item, weight in zip(*(each.tolist() for each in targets), strict=True):
        assert item not in found.setdefault(int(places[row]), {})
        found[int(places[row])][item] = weight
    return found


def wanted(histories: Histories, weights: npt.NDArray[np.float32]) -> dict[int, dict[int, float]]:
    """The items of each moment of all users, before the place at which it begins."""
    start, _ = moments(histories)
    found: dict[int, dict[int, float]] = {}
    for event, place in enumerate(start):
        of_place = found.setdefault(place, {})
        of_place[int(histories.items[event])] = of_place.get(int(histories.items[event]), 0.0) + float(weights[event])
    return found


def test_all_events_of_a_moment_are_predicted_from_before_it() -> None:
    """Where a window holds all of it."""
    histories = shoppers()
    weights = np.random.default_rng(0).random(len(histories.items)).astype(np.float32) + 0.1
    streams_ = Streams(training_data(histories), weights)
    rng = np.random.default_rng(0)
    (window,) = streams_.iter_windows(np.arange(12), streams=1, steps=1000, rng=rng)
    batch = gather_moments(streams_, window)
    found, expected = of_moments(batch.targets, batch.places), wanted(histories, weights)
    assert found.keys() == expected.keys()
    for place, of_place in expected.items():
        assert found[place] == pytest.approx(of_place)
    assert len(batch.places.unique()) == len(batch.places)
    # After the step that reads the event before the moment.
    np.testing.assert_array_equal(window.places.flatten()[batch.rows], batch.places)
    before = window_before(histories, batch.places)
    assert ((batch.read.items.flatten()[batch.rows] == before) | (before == -1)).all()


def window_before(histories: Histories, places: Tensor) -> Tensor:
    """The item that was read last before each; -1 where that is one of several of a moment."""
    start, end = moments(histories)
    begins = set(histories.offsets[:-1].tolist())
    alone = [place in begins or end[place - 1] - start[place - 1] == 1 for place in places.tolist()]
    items = [9 if place in begins else int(histories.items[place - 1]) for place in places.tolist()]
    return torch.where(torch.tensor(alone), torch.tensor(items), -1)


@pytest.mark.parametrize("repeats", [True, False])
def test_in_any_order_in_the_file_a_moments_events_are_the_same_queries_and_targets(repeats: bool) -> None:
    histories = shoppers(types=2)
    start, _ = moments(histories)
    order = np.lexsort((np.random.default_rng(5).random(len(start)), start))
    assert (order != np.arange(len(order))).any()
    other = replace(histories, items=histories.items[order], event_types=histories.event_types[order])
    found = []
    for each in (histories, other):
        streams_ = Streams(training_data(each), np.ones(len(start), np.float32), repeats=repeats)
        network = fresh(training_data(each), streams_, hidden=8)
        (window,) = streams_.iter_windows(np.arange(12), streams=1, steps=1000, rng=np.random.default_rng(0))
        batch, asked = gather_batch(network, streams_, window)
        found.append((batch, asked))
    (one, asked_one), (two, asked_two) = found
    assert torch.equal(one.places, two.places)
    assert torch.equal(one.rows, two.rows)
    assert all(torch.equal(a, b) for a, b in zip(one.targets, two.targets, strict=True))
    assert torch.equal(asked_one.after, asked_two.after)
    assert torch.equal(asked_one.known, asked_two.known)
    for row in range(len(one.places)):
        items = [set(asked.pairs.items[asked.pairs.rows == row].tolist()) for asked in (asked_one, asked_two)]
        assert items[0] == items[1]


@pytest.mark.parametrize("steps", [1, 4, 7])
def test_a_moment_that_a_window_cuts_is_predicted_from_as_far_back_as_that_reaches(steps: int) -> None:
    histories = shoppers()
    streams_ = streams_of(histories)
    items: Counter[tuple[int, int]] = Counter()
    for window in streams_.iter_windows(np.arange(12), streams=3, steps=steps, rng=np.random.default_rng(0)):
        batch = gather_moments(streams_, window)
        start = streams_.find_moment_starts(batch.places)
        assert torch.equal(batch.places, start)
        step, stream = batch.rows // 3, batch.rows % 3
        assert ((window.places[step, stream] == batch.places) | (step == 0)).all()
        items.update(zip(batch.places[batch.targets.rows].tolist(), batch.targets.items.tolist(), strict=True))
    expected = {(place, item) for place, of_place in wanted(histories, np.ones(999)).items() for item in of_place}
    assert set(items) == expected


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("steps", [5, 40])
def test_where_nobody_takes_items_again_only_what_is_new_is_wanted(fast: bool, steps: int) -> None:
    """In either way of asking, which want the same of the same moments."""
    data = training_data(shoppers())
    streams_ = Streams(data, np.ones(len(data.histories.items), np.float32), repeats=False)
    network = fresh(data, streams_, hidden=8)
    network.fast = fast
    asked_of, new = Counter[tuple[int, int]](), set()
    for window in streams_.iter_windows(np.arange(12), streams=4, steps=steps, rng=np.random.default_rng(0)):
        batch, asked = gather_batch(network, streams_, window)
        assert (asked.spans is not None) == fast
        assert len(asked.after) == len(batch.rows) == len(batch.places)
        rows, items = batch.targets.rows, batch.targets.items
        assert (rows.diff() >= 0).all()
        asked_of.update(zip(batch.places[rows].tolist(), items.tolist(), strict=True))
        had = set(zip(asked.pairs.rows.tolist(), asked.pairs.items.tolist(), strict=True))
        if asked.spans is not None:
            had |= set(zip(*(each.tolist() for each in asked.spans.expand()), strict=True))
        assert not had & set(zip(rows.tolist(), items.tolist(), strict=True))
    start, _ = moments(data.histories)
    for event, place in enumerate(start):
        item = int(data.histories.items[event])
        user = int(np.searchsorted(data.histories.offsets, event, side="right")) - 1
        if item not in data.histories.items[data.histories.offsets[user] : place]:
            new.add((place, item))
    assert set(asked_of) == new


def test_a_window_of_which_nothing_counts_is_learnt_nothing_from() -> None:
    for repeats in (False, True):
        data = training_data(shoppers())
        streams_ = Streams(data, np.zeros(len(data.histories.items), np.float32), repeats=repeats)
        network = fresh(data, streams_, hidden=8)
        for network.fast in (False, True):
            window, *_ = streams_.iter_windows(np.arange(12), streams=4, steps=8, rng=np.random.default_rng(0))
            loss, _ = compute_window_loss(network, streams_, lambda _: None, window, network.create_state(4))
            assert loss.item() == 0.0
            loss.backward()


def test_what_is_wanted_is_told_once_in_order() -> None:
    rows, items = torch.tensor([2, 0, 2, 0, 1]), torch.tensor([5, 3, 5, 1, 4])
    found = merge_targets(rows, items, torch.tensor([1.0, 2.0, 4.0, 8.0, 0.0]), 9)
    assert found.rows.tolist() == [0, 0, 2]
    assert found.items.tolist() == [1, 3, 5]
    assert found.weights.tolist() == [8.0, 2.0, 5.0]


# What is counted before training


def test_a_network_sets_out_from_what_can_be_counted() -> None:
    histories = shoppers(users=60)
    data, users = training_data(histories), np.arange(5, 60)
    streams_ = streams_of(histories)
    network = fresh(data, streams_)
    streams_.prepare_network(network, users, 0)
    start, _ = moments(histories)
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
    streams_ = streams_of(histories)
    network = fresh(training_data(histories), streams_)
    streams_.prepare_network(network, np.arange(5, 60), 0)
    gaps = np.diff(histories.timestamps.reshape(60, 16), axis=1, prepend=0)[5:]
    gaps[:, 0] = 0
    after = np.where(gaps < SESSION_SECONDS, 0, gaps).ravel()
    assert network.config.instead == sorted(after)[(len(after) - 1) // 2] > 0
    assert network.config.compute_request_gap(network.config.longest) == network.config.instead


def test_what_is_late_counts_more() -> None:
    histories = histories_of({"a": [("x", 0), ("y", 80)], "b": [("x", 60), ("y", 100)]})
    late = streams_of(histories).compute_recency(torch.arange(4), 1 / 4)
    np.testing.assert_allclose(late, 0.5 ** (np.array([100, 20, 40, 0]) / 25), rtol=1e-5)


def test_the_newest_events_come_with_their_moments_and_when_it_is_asked() -> None:
    times = [0, 10, 10, 40, 40 + 2 * HOUR]
    histories = histories_of({"a": [(f"i{n}", at) for n, at in enumerate(times)], "b": [("i0", 7)]})
    found = list(streams_of(histories).iter_newest(torch.tensor([0, 3, 4, 5]), 3))
    assert [items.tolist() for items, _, _ in found] == [[], [0, 1, 2], [1, 2, 3], []]
    back = [(moment[-1] - moment).tolist() if len(moment) else [] for _, moment, _ in found]
    assert back == [[], [1, 0, 0], [1, 1, 0], []]
    assert [at for _, _, at in found] == [0.0, 10.0, 40.0 + 2 * HOUR, 7.0]
