"""Items of a user's history: each is one pair, with the features of its last interaction."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from shared.data.arrays.histories import Histories
from shared.recipes.hrnn import sequence_packing
from shared.recipes.hrnn.repeat_features import HALF_LIVES, LastInteractions, compute_repeat_features
from shared.recipes.hrnn.sequence_packing import REMEMBERED, Streams
from shared.recipes.hrnn.types import Pairs
from shared.recipes.request_time import SESSION_SECONDS
from tests.recipes.packing import iter_epoch, make_shoppers, pack_streams
from tests.recipes.synthetic import histories_of, training_data


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
    histories = make_shoppers(types=types or 1)
    streams_ = pack_streams(histories)
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
    histories = make_shoppers()
    streams_ = pack_streams(histories)
    events = streams_.find_moment_starts(torch.arange(len(histories.items)))
    expected = []
    for event in events.tolist():
        begin = histories.offsets[np.searchsorted(histories.offsets, event, side="right") - 1]
        past = histories.items[begin:event].tolist()
        expected.append([np.log1p(len(past)) / 4, np.log1p(len(set(past))) / 4, 1 - len(set(past)) / max(len(past), 1)])
    np.testing.assert_allclose(streams_.build_queries(events).known, expected, rtol=1e-5)


def test_where_nobody_takes_a_thing_twice_its_age_is_not_looked_at() -> None:
    histories = histories_of({f"u{n}": [(f"i{(n + step) % 9}", step) for step in range(9)] for n in range(30)})
    streams_ = pack_streams(histories)
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
    streams_ = pack_streams(histories)
    assert not streams_.repeats
    pairs = streams_.build_queries(torch.tensor([8])).pairs
    assert sorted(pairs.items.tolist()) == sorted(by_hand(histories, 8))
    assert len(pairs.items) == 7


@pytest.mark.parametrize("remembered", [1, 3, REMEMBERED])
@pytest.mark.parametrize(("streams_", "steps"), [(1, 7), (6, 32), (40, 3)])
def test_spans_and_pairs_together_say_what_pairs_alone_do(streams_: int, steps: int, remembered: int) -> None:
    """With users who take things again, who share a stream, whose events fill up the last one, and several events of
    a moment: those are asked about from before it."""
    histories = make_shoppers()
    read = pack_streams(histories)
    said = 0
    for window in iter_epoch(histories, list(range(12)), streams_, steps):
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
    asked = pack_streams(histories).build_stream_queries(torch.arange(6).view(2, 3), REMEMBERED)
    assert asked.spans is not None
    assert len(asked.spans.items) == len(asked.pairs.items) == 0


def test_training_remembers_so_many_events_and_no_more() -> None:
    length = REMEMBERED + 6
    histories = histories_of({"a": [(f"i{step:05}", step) for step in range(length)]})
    last = torch.tensor([length - 1])
    assert pack_streams(histories).build_queries(last, REMEMBERED).pairs.items.tolist() == list(range(5, length - 1))
    assert len(pack_streams(histories).build_queries(last).pairs.items) == length - 1


def test_repeats_are_the_same_in_any_block(monkeypatch: pytest.MonkeyPatch) -> None:
    histories = make_shoppers(users=40)
    events = torch.arange(len(histories.items))
    whole = pack_streams(histories).build_queries(events).pairs
    monkeypatch.setattr(sequence_packing, "EVENTS_AT_ONCE", 35)
    blocks: list[None] = []
    parts = Streams(training_data(histories), np.ones(len(events), np.float32), on_block=lambda: blocks.append(None))
    assert len(blocks) > 10
    for one, other in zip(parts.build_queries(events).pairs, whole, strict=True):
        assert one is other is None or torch.equal(one, other)
    assert torch.equal(parts.new_E, pack_streams(histories).new_E)
