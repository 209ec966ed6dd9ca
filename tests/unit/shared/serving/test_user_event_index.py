"""What users did with which items, by event type: the newest of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shared.data.duckdb_session import DuckDBSession
from shared.data.streamed_records import ignore_step
from shared.serving import user_event_index
from shared.serving.user_event_index import UserEventIndex
from tests.unit.shared.data import parquet_files

FIELDS = (*parquet_files.INTERACTIONS, "EVENT_TYPE string")


def written(
    folder: Path, rows: list[tuple[Any, ...]], most: int = 100, fields: tuple[str, ...] = FIELDS
) -> UserEventIndex:
    files = parquet_files.table(folder / "i.parquet", "Interactions", fields, rows).files if rows else []
    with DuckDBSession(memory_mb=256, scratch=folder, on_step=ignore_step) as database:
        user_event_index.write_index(folder / "s", files, "ITEM_ID", most, 7.5, database)
    return UserEventIndex.open(folder / "s")


def test_each_item_counts_once_by_its_newest_event_of_a_type(tmp_path: Path) -> None:
    rows = [
        ("u", "a", 5, "Watch"),
        ("u", "a", 9, "watch"),
        ("u", "b", 1, "watch"),
        ("u", "a", 3, None),
        ("v", "c", 2, "Buy"),
    ]
    found = written(tmp_path, rows)
    assert found.find_events("u") == {"watch": {"a": 9, "b": 1}, "": {"a": 3}}
    assert found.find_events("v") == {"buy": {"c": 2}}
    assert found.find_events("w") == {}
    assert found.imported == 7.5


def test_of_each_user_and_type_the_newest_items_are_kept(tmp_path: Path) -> None:
    rows = [("u", f"i{n}", n, "watch") for n in range(10)] + [("u", "i0", 0, "buy"), ("v", "i3", 3, "watch")]
    found = written(tmp_path, rows, most=2)
    assert found.find_events("u") == {"watch": {"i8": 8, "i9": 9}, "buy": {"i0": 0}}
    assert found.find_events("v") == {"watch": {"i3": 3}}


def test_without_event_types_or_events_there_are_none(tmp_path: Path) -> None:
    assert written(tmp_path, [("u", "a", 1)], fields=parquet_files.INTERACTIONS).find_events("u") == {"": {"a": 1}}
    assert written(tmp_path, []).find_events("u") == {}
