"""Histories read from Parquet: filtering, numbering, order, and AWS's minimum data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from shared.data import histories
from shared.data.histories import Histories, TooLittleData

MEMORY_MB = 256


def parquet(path: Path, rows: list[tuple[Any, ...]], *columns: str) -> Path:
    """Writes rows of (USER_ID, ITEM_ID, TIMESTAMP, *columns)."""
    types = {"EVENT_TYPE": "VARCHAR", "EVENT_VALUE": "FLOAT", "DEVICE": "VARCHAR"}
    declared = {"USER_ID": "VARCHAR", "ITEM_ID": "VARCHAR", "TIMESTAMP": "BIGINT", **{c: types[c] for c in columns}}
    selected = ", ".join(f"unnest(?::{type_}[]) AS {name}" for name, type_ in declared.items())
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT {selected}) TO '{path}' (FORMAT parquet)",
            [list(column) for column in zip(*rows, strict=True)],
        )
    return path


def enough(users: int = 30, events: int = 40) -> list[tuple[Any, ...]]:
    """Rows that reach AWS's minimum: users u000... with items i0 to i9, a second apart."""
    return [(f"u{user:03}", f"i{event % 10}", 1000 + event) for user in range(users) for event in range(events)]


def load(*files: Path, **options: Any) -> Histories:
    return histories.load(files, memory_mb=MEMORY_MB, **options)


def of(loaded: Histories, user_id: str) -> list[tuple[str, int]]:
    user = loaded.user_ids.index(user_id)
    events = slice(loaded.offsets[user], loaded.offsets[user + 1])
    pairs = zip(loaded.items[events], loaded.timestamps[events], strict=True)
    return [(loaded.item_ids[item], int(timestamp)) for item, timestamp in pairs]


def test_it_works(tmp_path: Path) -> None:
    rows = [*enough(), ("b", "y", 7), ("b", "x", 5), ("a", "x", 9), ("ä", "x", 1)]
    loaded = load(parquet(tmp_path / "bulk.parquet", rows))
    assert loaded.user_ids == sorted({row[0] for row in rows})
    assert loaded.item_ids == sorted({row[1] for row in rows})
    assert of(loaded, "b") == [("x", 5), ("y", 7)]
    assert of(loaded, "ä") == [("x", 1)]
    assert loaded.offsets[-1] == len(loaded.items) == len(rows)
    assert (loaded.items.dtype, loaded.timestamps.dtype) == (np.int32, np.int64)
    assert (loaded.offsets.dtype, loaded.event_types.dtype) == (np.int64, np.int16)
    assert loaded.in_training.all()
    assert set(loaded.event_types) == {-1}


def test_bulk_and_live_events_are_read_together_though_their_columns_differ(tmp_path: Path) -> None:
    bulk = parquet(tmp_path / "bulk.parquet", enough())
    live = parquet(tmp_path / "live.parquet", [("u000", "new", 2000, "Click", "phone")], "EVENT_TYPE", "DEVICE")
    loaded = load(bulk, live)
    assert of(loaded, "u000")[-1] == ("new", 2000)
    assert loaded.event_type_names == ["click"]
    assert sorted(set(loaded.event_types)) == [-1, 0]


def test_an_event_that_stands_twice_counts_once(tmp_path: Path) -> None:
    rows = enough()
    loaded = load(parquet(tmp_path / "a.parquet", rows), parquet(tmp_path / "b.parquet", rows[:50]))
    assert len(loaded.items) == len(rows)


def test_events_that_differ_in_type_or_value_are_not_the_same(tmp_path: Path) -> None:
    rows = [(*row, "view", 1.0) for row in enough()]
    rows += [("u000", "i0", 1000, "click", 1.0), ("u000", "i0", 1000, "view", 2.0)]
    loaded = load(parquet(tmp_path / "a.parquet", rows, "EVENT_TYPE", "EVENT_VALUE"))
    assert of(loaded, "u000").count(("i0", 1000)) == 3


def test_events_of_one_second_keep_the_order_of_the_file(tmp_path: Path) -> None:
    same_second = [("z", item, 5) for item in ("q", "a", "m", "b")]
    loaded = load(parquet(tmp_path / "a.parquet", [*same_second, *enough()]))
    assert [item for item, _ in of(loaded, "z")] == ["q", "a", "m", "b"]


def test_events_without_user_or_item_are_left_out(tmp_path: Path) -> None:
    rows = [*enough(), (None, "i0", 3), ("u000", None, 3)]
    assert len(load(parquet(tmp_path / "a.parquet", rows)).items) == len(enough())


def test_event_types_are_the_same_whatever_their_case(tmp_path: Path) -> None:
    rows = [(*row, ("Watch", "WATCH", "click")[number % 3]) for number, row in enumerate(enough(60))]
    loaded = load(parquet(tmp_path / "a.parquet", rows, "EVENT_TYPE"), event_type="watch")
    assert len(loaded.items) == len(rows) * 2 // 3
    assert loaded.event_type_names == ["watch"]


def test_a_value_passes_at_the_threshold_and_a_missing_one_does_not(tmp_path: Path) -> None:
    rows = [(*row, 3.0) for row in enough()] + [("x", "a", 1, 2.9), ("x", "b", 2, None), ("x", "c", 3, 3.5)]
    loaded = load(parquet(tmp_path / "a.parquet", rows, "EVENT_VALUE"), event_value_threshold=3.0)
    assert of(loaded, "x") == [("c", 3)]


def test_histories_outside_the_percentiles_are_kept_but_not_trained_on(tmp_path: Path) -> None:
    robot = [("robot", f"r{event % 7}", event) for event in range(500)]
    visitor = [("visitor", "i0", 5)]
    path = parquet(tmp_path / "a.parquet", [*enough(), *robot, *visitor])
    loaded = load(path, min_percentile=0.05, max_percentile=0.95)
    outside = [id_ for id_, inside in zip(loaded.user_ids, loaded.in_training, strict=True) if not inside]
    assert outside == ["robot", "visitor"]
    assert len(of(loaded, "robot")) == 500
    assert load(path).in_training.all()


def test_percentiles_that_leave_nobody_are_too_little_data(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", [*enough(), *((f"v{n:04}", "i0", 1) for n in range(1000))])
    with pytest.raises(TooLittleData, match=r"between the history length percentiles 0 and 0\.5"):
        load(path, max_percentile=0.5)


def test_fewer_than_1000_interactions(tmp_path: Path) -> None:
    rows = [(*row, "view") for row in enough(30, 40)] + [("u000", "i0", 1, "click")]
    path = parquet(tmp_path / "a.parquet", rows, "EVENT_TYPE")
    with pytest.raises(TooLittleData) as error:
        load(path, event_type="Click")
    assert str(error.value) == "Dataset has fewer than 1000 interactions after filtering by event type: Click"


def test_fewer_than_1000_interactions_of_any_type(tmp_path: Path) -> None:
    with pytest.raises(TooLittleData, match=r"^Dataset has fewer than 1000 interactions"):
        load(parquet(tmp_path / "a.parquet", enough(30, 33)))


def test_a_type_that_the_data_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(TooLittleData, match="after filtering by event type: buy"):
        load(parquet(tmp_path / "a.parquet", enough()), event_type="buy")


def test_fewer_than_25_users_with_two_interactions(tmp_path: Path) -> None:
    rows = [*enough(24, 50), *((f"v{n}", "i0", n) for n in range(100))]
    with pytest.raises(TooLittleData) as error:
        load(parquet(tmp_path / "a.parquet", rows))
    expected = "Create failed. Dataset has fewer than 25 users with at least 2 interactions each."
    assert str(error.value) == expected


def test_hardly_any_user_with_two_interactions(tmp_path: Path) -> None:
    rows = [*enough(25, 2), *((f"v{n}", "i0", n) for n in range(2600))]
    with pytest.raises(TooLittleData, match="Fewer than 1 % of the users"):
        load(parquet(tmp_path / "a.parquet", rows))


def test_a_path_with_a_quote_is_a_path(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", enough()).rename(tmp_path / "it's.parquet")
    assert len(load(path).items) == len(enough())


def test_no_file_at_all_is_too_little_data() -> None:
    with pytest.raises(TooLittleData, match=r"^Dataset has fewer than 1000 interactions"):
        load()
