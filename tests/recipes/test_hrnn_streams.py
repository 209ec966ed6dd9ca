"""Packing: every event once, with the right company, in whatever cut."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from shared.data.histories import Histories
from shared.data.training_data import TrainingData
from shared.recipes.hrnn import streams
from shared.recipes.hrnn.form import COUNT_BUCKETS, DISTANCE_BUCKETS, Form
from shared.recipes.hrnn.network import Bags, Network, gap_buckets
from shared.recipes.hrnn.streams import REMEMBERED, Streams, Window, pair_codes
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


# Windows


def epoch(histories: Histories, users: list[int], streams_: int, steps: int, seed: int = 0) -> Iterator[Window]:
    rng = np.random.default_rng(seed)
    return streams_of(histories).windows(np.array(users), streams=streams_, steps=steps, rng=rng)


@pytest.mark.parametrize(("streams_", "steps"), [(1, 7), (4, 5), (16, 32), (500, 3)])
def test_every_event_is_a_target_once(streams_: int, steps: int) -> None:
    histories = shoppers()
    users = list(range(3, 12))
    windows = list(epoch(histories, users, streams_, steps))
    found = Counter(event for window in windows for event in window.events[window.counts].tolist())
    first, last = histories.offsets[3], histories.offsets[12]
    assert found == Counter(range(first, last))
    assert len(windows) == streams_of(histories).window_count(np.array(users), streams=streams_, steps=steps)
    assert {window.events.shape for window in windows[:-1]} <= {(steps, streams_)}
    assert all(window.events.shape == window.counts.shape for window in windows)


@pytest.mark.parametrize("steps", [1, 5, 400])
def test_in_a_stream_each_users_events_follow_one_another_also_from_window_to_window(steps: int) -> None:
    histories = shoppers()
    events = torch.cat([window.events for window in epoch(histories, list(range(12)), 4, steps)]).numpy()
    begins = np.isin(events, histories.offsets[:-1])
    going_on = ~begins[1:]
    np.testing.assert_array_equal(events[1:][going_on], events[:-1][going_on] + 1)
    ends = np.isin(events, histories.offsets[1:] - 1)
    np.testing.assert_array_equal(ends[:-1], begins[1:])


def test_each_epoch_has_an_order_of_its_own_and_the_same_seed_the_same() -> None:
    one, again, other = (
        torch.cat([window.events for window in epoch(walks(users=20), list(range(20)), 3, 7, seed)])
        for seed in (0, 0, 1)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


# What is read


def test_what_is_read_before_an_event_is_the_users_event_before() -> None:
    histories = histories_of({"a": [("x", 100), ("y", 160), ("z", 150)], "b": [("z", 7), ("x", 7 + 2 * HOUR)]})
    histories = replace(histories, event_types=np.array([1, -1, 0, 0, 1], np.int16), event_type_names=["click", "buy"])
    read = streams_of(histories).read(torch.tensor([[0, 3], [1, 4], [2, 0]]))
    start = 3
    assert read.items.tolist() == [[start, start], [0, 2], [1, start]]
    assert read.begins.tolist() == [[True, True], [False, False], [False, True]]
    # seconds before the event that is read, not before the one to be foretold
    assert read.before.tolist() == [[0, 0], [0, 0], [60, 0]]
    assert read.types is not None
    assert read.types.tolist() == [[0, 0], [2, 1], [0, 0]]
    assert read.users is None


def test_the_moment_of_a_query_is_that_of_its_event() -> None:
    histories = histories_of({"a": [("x", 100), ("y", 160), ("z", 150)], "b": [("z", 7), ("x", 7 + 2 * HOUR)]})
    asked = streams_of(histories).queries(torch.tensor([0, 1, 2, 3, 4]))
    assert asked.after.tolist() == [0, 60, 0, 0, 2 * HOUR]  # a clock that ran backwards stood still
    assert asked.contexts is None


def test_one_type_or_none_says_nothing() -> None:
    histories = shoppers(types=1)
    assert streams_of(histories).event_types == 0
    assert streams_of(histories).read(torch.tensor([[4]])).types is None
    assert streams_of(replace(histories, event_type_names=[])).event_types == 0


def rows_of(found: Bags | None) -> list[dict[int, float]]:
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
    read = streams_.read(torch.tensor([[0, 4], [1, 2]]))
    assert rows_of(read.users) == [red, both, red, {}]
    tv, phone = ({data.contexts.encode({"device": name})[0][0]: 1.0} for name in ("tv", "phone"))
    assert rows_of(streams_.queries(torch.tensor([1, 4, 0, 3])).contexts) == [phone, {}, tv, tv]


def test_features_without_any_value_are_none() -> None:
    histories = histories_of({"a": [("x", 1), ("y", 2)]})
    nothing = bags([{}])
    assert nothing.size == 0
    streams_ = streams_of(replace(training_data(histories), users=nothing))
    assert streams_.read(torch.tensor([[1]])).users is None


# The items seen before


def by_hand(histories: Histories, event: int, remembered: int | None = None) -> dict[int, tuple[int, int, int, int]]:
    """For each item of the history: events and seconds ago, times taken, type of the last time (0: none)."""
    begin = int(histories.offsets[np.searchsorted(histories.offsets, event, side="right") - 1])
    found = {}
    for seen in range(begin if remembered is None else max(begin, event - remembered), event):
        item = int(histories.items[seen])
        found[item] = (
            event - seen,
            int(histories.timestamps[event] - histories.timestamps[seen]),
            int((histories.items[begin : seen + 1] == item).sum()),
            int(histories.event_types[seen]) + 1,
        )
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
    events = torch.from_numpy(np.random.default_rng(0).permutation(len(histories.items)))
    pairs = streams_.queries(events, remembered).pairs
    assert pairs.rows.tolist() == sorted(pairs.rows.tolist())
    expected = [by_hand(histories, event, remembered) for event in events.tolist()]
    assert of_rows(pairs.rows, pairs.items, len(events)) == [sorted(found) for found in expected]
    assert pairs.codes is not None
    ages = Form(items=9, hidden=32, event_types=types).ages
    places = torch.stack(torch.unravel_index(pairs.codes, ages), 1).tolist()
    for row, item, place in zip(pairs.rows.tolist(), pairs.items.tolist(), places, strict=True):
        ago, seconds, count, type_ = expected[row][item]
        assert place == [
            ago.bit_length() - 1,
            (seconds + 1).bit_length() - 1,
            min(count.bit_length() - 1, COUNT_BUCKETS - 1),
            type_ if types else 0,
        ]


def test_where_nobody_takes_a_thing_twice_its_age_is_not_looked_at() -> None:
    histories = histories_of({f"u{n}": [(f"i{(n + step) % 9}", step) for step in range(9)] for n in range(30)})
    streams_ = streams_of(histories)
    assert not streams_.repeats
    pairs = streams_.queries(torch.arange(len(histories.items))).pairs
    assert pairs.codes is None
    expected = [sorted(by_hand(histories, event)) for event in range(len(histories.items))]
    assert of_rows(pairs.rows, pairs.items, len(histories.items)) == expected


def test_a_rare_repeat_is_still_one_item_of_the_history() -> None:
    sequences = {f"u{n:02}": [(f"i{(n + step) % 9}", step) for step in range(9)] for n in range(30)}
    sequences["u00"][5] = sequences["u00"][1]
    histories = histories_of(sequences)
    streams_ = streams_of(histories)
    assert not streams_.repeats
    pairs = streams_.queries(torch.tensor([8])).pairs
    assert sorted(pairs.items.tolist()) == sorted(by_hand(histories, 8))
    assert len(pairs.items) == 7


@pytest.mark.parametrize("remembered", [1, 3, REMEMBERED])
@pytest.mark.parametrize(("streams_", "steps"), [(1, 7), (6, 32), (40, 3)])
def test_spans_and_pairs_together_say_what_pairs_alone_do(streams_: int, steps: int, remembered: int) -> None:
    """With users who take things again, who share a stream, and whose events fill up the last one."""
    histories = shoppers()
    read = streams_of(histories)
    said = 0
    for window in epoch(histories, list(range(12)), streams_, steps):
        events_BT = window.events.T.contiguous()
        asked, plain = read.queries_of_streams(events_BT, remembered), read.queries(events_BT.flatten(), remembered)
        assert asked.spans is not None
        rows, items = asked.spans.flat()
        found = torch.cat([rows, asked.pairs.rows]) * 9 + torch.cat([items, asked.pairs.items])
        assert found.sort().values.tolist() == (plain.pairs.rows * 9 + plain.pairs.items).sort().values.tolist()
        assert asked.pairs.rows.tolist() == sorted(asked.pairs.rows.tolist())
        keys = asked.spans.streams * 9 + asked.spans.items
        assert len(keys.unique()) == len(keys)
        assert torch.equal(asked.after, plain.after)
        said += len(keys)
    assert said


def test_users_of_one_event_have_no_spans() -> None:
    histories = histories_of({f"u{n}": [("i0", n)] for n in range(6)})
    asked = streams_of(histories).queries_of_streams(torch.arange(6).view(2, 3), REMEMBERED)
    assert asked.spans is not None
    assert len(asked.spans.items) == len(asked.pairs.items) == 0


def test_training_remembers_as_many_events_as_the_ages_tell_apart() -> None:
    length = REMEMBERED + 6
    histories = histories_of({"a": [(f"i{step:05}", step) for step in range(length)]})
    last = torch.tensor([length - 1])
    assert streams_of(histories).queries(last, REMEMBERED).pairs.items.tolist() == list(range(5, length - 1))
    assert len(streams_of(histories).queries(last).pairs.items) == length - 1


@pytest.mark.parametrize("types", [0, 2])
def test_the_code_of_an_age_is_its_place_in_the_table(types: int) -> None:
    form = Form(items=3, hidden=32, event_types=types, repeats=True)
    network = Network(form)
    torch.manual_seed(0)
    with torch.no_grad():
        for part in network.ages:
            part.normal_()
    table = network.age_table()
    assert table is not None
    distance = torch.tensor([1, 2, 3, 1023, 1024, 10**6])
    seconds = torch.tensor([0, 1, HOUR, 10**9, -4, 2])
    count = torch.tensor([1, 2, 3, 9, 10**4, 8])
    type_ = torch.tensor([0, 1, 2, 0, 1, 2]) if types else None
    codes = pair_codes(types, distance, seconds, count, type_)
    of_distance, of_seconds, of_count, of_type = network.ages
    expected = (
        of_distance[[0, 1, 1, 9, DISTANCE_BUCKETS - 1, DISTANCE_BUCKETS - 1]]
        + of_seconds[gap_buckets(seconds)]
        + of_count[[0, 1, 1, 3, 3, 3]]
        + of_type[[0, 0, 0, 0, 0, 0] if type_ is None else type_]
    )
    torch.testing.assert_close(table[codes], expected)


def test_repeats_are_the_same_in_any_block(monkeypatch: pytest.MonkeyPatch) -> None:
    histories = shoppers(users=40)
    events = torch.arange(len(histories.items))
    whole = streams_of(histories).queries(events).pairs
    monkeypatch.setattr(streams, "EVENTS_AT_ONCE", 35)
    blocks: list[None] = []
    parts = Streams(training_data(histories), np.ones(len(events), np.float32), on_block=lambda: blocks.append(None))
    assert len(blocks) > 10
    for one, other in zip(parts.queries(events).pairs, whole, strict=True):
        assert torch.equal(one, other)


def test_positions_count_the_users_events_before() -> None:
    histories = histories_of({"a": [("x", 1), ("y", 2)], "b": [("x", 3)], "c": [("y", 4), ("x", 5), ("x", 6)]})
    assert streams_of(histories).positions(np.array([5, 2, 1, 0])).tolist() == [2, 0, 1, 0]


def test_mapped_files_are_read_as_they_lie(tmp_path: Path) -> None:
    histories = shoppers()
    histories.save(tmp_path / "histories")
    events = torch.arange(len(histories.items))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mapped = streams_of(Histories.open(tmp_path / "histories")).queries(events)
    for one, other in zip(mapped.pairs, streams_of(histories).queries(events).pairs, strict=True):
        assert torch.equal(one, other)
