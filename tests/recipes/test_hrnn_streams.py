"""Packing: every event once, with the right company, in whatever cut."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from shared.data.histories import Histories
from shared.recipes.hrnn import streams
from shared.recipes.hrnn.streams import Events
from tests.recipes.synthetic import histories_of, walks


def unwatched() -> None:
    pass


def events_of(histories: Histories) -> Events:
    return Events(histories, np.ones(len(histories.items), np.float32), unwatched)


@pytest.mark.parametrize(("streams_", "steps"), [(1, 7), (4, 5), (16, 32)])
def test_every_event_with_a_successor_is_a_query_for_it_once(streams_: int, steps: int) -> None:
    histories = walks(users=13, events=11)
    users = np.arange(3, 13)
    wanted = Counter(
        (int(histories.items[e]), int(histories.items[e + 1]))
        for user in users
        for e in range(histories.offsets[user], histories.offsets[user + 1] - 1)
    )
    found: Counter[tuple[int, int]] = Counter()
    events = events_of(histories)
    batches = list(events.batches(users, streams=streams_, steps=steps, rng=np.random.default_rng(0)))
    for batch in batches:
        targets = zip(batch.items.flatten().tolist(), batch.targets.tolist(), strict=True)
        found.update(pair for pair, weight in zip(targets, batch.weights.tolist(), strict=True) if weight)
    assert found == wanted
    assert len(batches) == events.batch_count(users, streams=streams_, steps=steps)


def test_what_was_seen_is_the_users_own_past_each_item_once() -> None:
    histories = histories_of(
        {
            "a": [("x", 1), ("y", 2), ("x", 5), ("z", 9)],
            "b": [("y", 3), ("y", 4), ("w", 8)],
        }
    )
    pasts = {
        ("a", 0): "x", ("a", 1): "xy", ("a", 2): "xy", ("a", 3): "xyz",
        ("b", 0): "y", ("b", 1): "y", ("b", 2): "wy",
    }  # fmt: skip
    (batch,) = events_of(histories).batches(np.array([0, 1]), streams=1, steps=7, rng=np.random.default_rng(0))
    order = "ab" if histories.item_ids[batch.items[0, 0]] == "x" else "ba"
    queries = [key for user in order for key in sorted(pasts) if key[0] == user]
    for row, key in enumerate(queries):
        seen = batch.seen[batch.rows == row].tolist()
        assert "".join(sorted(histories.item_ids[item] for item in seen)) == pasts[key], key
    assert batch.rows.tolist() == sorted(batch.rows.tolist())


def test_gaps_before_and_after() -> None:
    histories = histories_of({"a": [("x", 100), ("y", 160), ("z", 150)]})
    (batch,) = events_of(histories).batches(np.array([0]), streams=1, steps=3, rng=np.random.default_rng(0))
    assert batch.before.flatten().tolist() == [0, 60, 0]
    assert batch.after.flatten().tolist() == [60, 0, 0]
    assert batch.begins.flatten().tolist() == [True, False, False]
    assert batch.weights.tolist() == [1.0, 1.0, 0.0]


def test_a_target_counts_by_its_own_weight() -> None:
    histories = histories_of({"a": [("x", 1), ("y", 2), ("z", 3)]})
    events = Events(histories, np.array([5, 6, 7], np.float32), unwatched)
    (batch,) = events.batches(np.array([0]), streams=1, steps=3, rng=np.random.default_rng(0))
    assert batch.weights.tolist() == [6.0, 7.0, 0.0]


def test_first_occurrences_are_the_same_in_any_block(monkeypatch: pytest.MonkeyPatch) -> None:
    histories = walks(users=20, events=9, items=5)
    blocks: list[None] = []
    whole = next(events_of(histories).batches(np.arange(20), streams=1, steps=180, rng=np.random.default_rng(0)))
    monkeypatch.setattr(streams, "EVENTS_AT_ONCE", 30)
    events = Events(histories, np.ones(180, np.float32), lambda: blocks.append(None))
    parts = next(events.batches(np.arange(20), streams=1, steps=180, rng=np.random.default_rng(0)))
    assert len(blocks) > 3
    assert parts.seen.tolist() == whole.seen.tolist()
    assert parts.rows.tolist() == whole.rows.tolist()
