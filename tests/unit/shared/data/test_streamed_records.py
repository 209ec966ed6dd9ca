"""What was sent one by one as it is read beside imported rows: the same columns and types, frozen, in its order."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from shared.data import streamed_records
from shared.data.schemas import DatasetSchema, parse_schema
from shared.store import Interaction, PutRecord
from tests.unit.shared.data import parquet_files


def schema(name: str, *fields: str) -> DatasetSchema:
    return parse_schema(parquet_files.schema(name, *fields))


INTERACTIONS = schema("Interactions", *parquet_files.INTERACTIONS)
ITEMS = schema(
    "Items", "ITEM_ID string", "GENRES string categorical", "YEAR int", "PRICE float", "STORY string textual"
)


def read(path: Path | None, *columns: str) -> list[tuple[Any, ...]]:
    assert path is not None
    rows = duckdb.read_parquet(str(path))
    return (rows.select(*columns) if columns else rows).fetchall()


def types(path: Path | None) -> dict[str, str]:
    rows = duckdb.read_parquet(str(path))
    return dict(zip(rows.columns, map(str, rows.types), strict=True))


class Enough(Exception):
    pass


def stop() -> None:
    raise Enough


# Events


def event(item: str | None, at: float = 7.9, **properties: Any) -> Interaction:
    return Interaction(
        user_id="u",
        session_id="s",
        item_id=item,
        event_type="watch",
        event_value=2.5,
        sent_at=at,
        properties=properties,
    )


def test_events_become_rows_and_those_without_an_item_do_not(tmp_path: Path) -> None:
    written = streamed_records.write_events(
        [event("a"), event(None), event('b"\n,', at=8.0)], INTERACTIONS, tmp_path / "live.parquet"
    )
    columns = ("USER_ID", "ITEM_ID", '"TIMESTAMP"', "EVENT_TYPE", "EVENT_VALUE")
    assert read(written, *columns) == [("u", "a", 7, "watch", 2.5), ("u", 'b"\n,', 8, "watch", 2.5)]
    assert list(tmp_path.iterdir()) == [written]


def test_properties_become_the_columns_of_the_dataset_with_its_types_and_others_do_not(tmp_path: Path) -> None:
    wider = schema("Interactions", *parquet_files.INTERACTIONS, "EVENT_VALUE float", "DEVICE string", "RATINGS int",
                   "DEPTH float", "AT_HOME boolean", "IMPRESSION string")  # fmt: skip
    events = [event("a", DEVICE="tv", RATINGS=3, DEPTH=1, AT_HOME=True, COLOUR="red", IMPRESSION="a|b"), event("b")]
    written = streamed_records.write_events(events, wider, tmp_path / "live.parquet")
    assert read(written, "DEVICE", "RATINGS", "DEPTH", "AT_HOME", "IMPRESSION") == [
        ("tv", 3, 1.0, True, "a|b"),
        (None, None, None, None, None),
    ]
    assert types(written) == {
        "USER_ID": "VARCHAR", "ITEM_ID": "VARCHAR", "TIMESTAMP": "BIGINT", "EVENT_TYPE": "VARCHAR",
        "EVENT_VALUE": "FLOAT", "DEVICE": "VARCHAR", "RATINGS": "INTEGER", "DEPTH": "FLOAT", "AT_HOME": "BOOLEAN",
        "IMPRESSION": "VARCHAR",
    }  # fmt: skip


def test_what_was_shown_goes_along_though_the_schema_has_no_column_for_it(tmp_path: Path) -> None:
    """AWS: implicit impressions need none."""
    written = streamed_records.write_events(
        [event("a", IMPRESSION="a|b"), event("b")], INTERACTIONS, tmp_path / "live.parquet"
    )
    assert read(written, "ITEM_ID", "IMPRESSION") == [("a", "a|b"), ("b", None)]


def test_events_of_actions_have_the_id_of_the_action(tmp_path: Path) -> None:
    fields = ["USER_ID string", "ACTION_ID string", "EVENT_TYPE string", "TIMESTAMP long"]
    declared = [{"name": one.split()[0], "type": one.split()[1]} for one in fields]
    actions = parse_schema(json.dumps({"type": "record", "name": "ActionInteractions", "fields": declared}))
    written = streamed_records.write_events([event("a")], actions, tmp_path / "live.parquet")
    assert read(written, "USER_ID", "ACTION_ID", "EVENT_TYPE") == [("u", "a", "watch")]
    assert "ITEM_ID" not in types(written)


def test_a_later_attempt_reads_the_events_that_the_first_one_froze(tmp_path: Path) -> None:
    target = tmp_path / "live.parquet"
    streamed_records.write_events([event("a")], INTERACTIONS, target)
    assert len(read(streamed_records.write_events([event("a"), event("late")], INTERACTIONS, target))) == 1


def test_no_events_are_frozen_too(tmp_path: Path) -> None:
    target = tmp_path / "live.parquet"
    assert streamed_records.write_events([event(None)], INTERACTIONS, target) is None
    assert streamed_records.write_events([event("late")], INTERACTIONS, target) is None


@pytest.mark.parametrize("one", [event("a"), event(None)])
def test_writing_events_ends_when_it_is_asked_to(tmp_path: Path, one: Interaction) -> None:
    with pytest.raises(Enough):
        streamed_records.write_events([one], INTERACTIONS, tmp_path / "live.parquet", stop)
    assert streamed_records.write_events([event("a")], INTERACTIONS, tmp_path / "live.parquet") is not None


def of(user: str | None, session: str, item: str | None) -> Interaction:
    return replace(event(item), user_id=user or session, session_id=session)


def test_what_a_session_did_before_its_user_was_known_is_the_users(tmp_path: Path) -> None:
    came = [
        of(None, "s1", "a"),
        of(None, "s2", "b"),
        of("u", "s1", "c"),
        of(None, "s1", "d"),
        # Logging in names no item.
        of("v", "s2", None),
        of(None, "s3", "e"),
        of("u", "s4", "f"),
    ]
    path = streamed_records.write_events(came, INTERACTIONS, tmp_path / "live.parquet")
    users = [("u", "a"), ("v", "b"), ("u", "c"), ("u", "d"), ("s3", "e"), ("u", "f")]
    assert read(path, "USER_ID", "ITEM_ID") == users


def test_a_session_of_several_users_is_the_last_ones(tmp_path: Path) -> None:
    came = [of("u", "s", "a"), of(None, "s", "b"), of("v", "s", "c"), of(None, "s", "d")]
    path = streamed_records.write_events(came, INTERACTIONS, tmp_path / "live.parquet")
    assert read(path, "USER_ID", "ITEM_ID") == [("u", "a"), ("v", "b"), ("v", "c"), ("v", "d")]


def test_events_stay_in_the_order_of_their_arrival(tmp_path: Path) -> None:
    came = [of(None if number % 3 else "u", f"s{number % 7}", f"i{number}") for number in range(5000)]
    path = streamed_records.write_events(came, INTERACTIONS, tmp_path / "live.parquet")
    assert [item for (item,) in read(path, "ITEM_ID")] == [f"i{number}" for number in range(5000)]


# Records


def item(id_: str, at: float = 5.0, **properties: Any) -> PutRecord:
    return PutRecord(id=id_, at=at, properties=properties)


def put(tmp_path: Path, *records: PutRecord, imported: tuple[float, ...] = ()) -> list[Path | None]:
    return streamed_records.write_records(records, ITEMS, tmp_path / "items", imported)


def test_records_become_rows_with_the_columns_and_types_of_the_dataset(tmp_path: Path) -> None:
    [written] = put(tmp_path, item("a", GENRES="War|Drama", YEAR=1999, PRICE=1.5, GONE=True), item("b", STORY='"\n'))
    assert read(written) == [("a", "War|Drama", 1999, 1.5, None), ("b", None, None, None, '"\n')]
    assert types(written) == {
        "ITEM_ID": "VARCHAR", "GENRES": "VARCHAR", "YEAR": "INTEGER", "PRICE": "FLOAT", "STORY": "VARCHAR",
    }  # fmt: skip


def test_a_text_is_cut_as_in_a_file(tmp_path: Path) -> None:
    [written] = put(tmp_path, item("a", STORY="x" * 30_000), item("b", STORY="日" * 30_000))
    assert [len(story) for (story,) in read(written, "STORY")] == [20_000, 7_000]


def test_records_stand_before_the_imports_that_came_after_them(tmp_path: Path) -> None:
    records = [item(str(at), at=at) for at in (1.0, 2.0, 2.5, 4.0, 9.0)]
    files = put(tmp_path, *records, imported=(2.0, 3.0, 3.5, 5.0))
    found = [file and [id_ for (id_,) in read(file, "ITEM_ID")] for file in files]
    assert found == [["1.0"], ["2.0", "2.5"], None, ["4.0"], ["9.0"]]


def test_an_import_that_was_asked_for_early_and_ended_late_does_not_hide_what_came_between(tmp_path: Path) -> None:
    files = put(tmp_path, item("a", at=1.5), item("b", at=2.5), imported=(2.0, 1.0))
    assert [file and read(file, "ITEM_ID") for file in files] == [[("a",)], None, [("b",)]]


def test_a_later_attempt_reads_the_records_that_the_first_one_froze(tmp_path: Path) -> None:
    put(tmp_path, item("a", YEAR=1))
    [written] = put(tmp_path, item("a", YEAR=2), item("late"))
    assert read(written, "ITEM_ID", "YEAR") == [("a", 1)]


@pytest.mark.parametrize("again", [list, lambda: [item("late")]])
def test_no_records_are_frozen_too(tmp_path: Path, again: Callable[[], list[PutRecord]]) -> None:
    assert put(tmp_path, imported=(1.0,)) == [None, None]
    assert put(tmp_path, *again(), imported=(1.0,)) == [None, None]


def test_writing_records_ends_when_it_is_asked_to(tmp_path: Path) -> None:
    with pytest.raises(Enough):
        streamed_records.write_records([item("a")], ITEMS, tmp_path / "items", (), stop)
    assert put(tmp_path, item("b")) == [tmp_path / "items" / "0.parquet"]
