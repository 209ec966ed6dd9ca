"""Live events as training reads them: frozen for a version, with the columns of imported interactions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from shared.data.schemas import Field
from shared.store import Interaction
from workers.training.live import frozen

NO_MORE: dict[str, Field] = {
    "USER_ID": Field(name="USER_ID", type="string"),
    "EVENT_TYPE": Field(name="EVENT_TYPE", type="string"),
}


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
    written = frozen(iter([event("a"), event(None), event('b"\n,', at=8.0)]), NO_MORE, tmp_path / "live.parquet")
    assert written is not None
    rows = duckdb.read_parquet(str(written)).fetchall()
    assert rows == [("u", "a", 7, "watch", 2.5), ("u", 'b"\n,', 8, "watch", 2.5)]
    assert list(tmp_path.iterdir()) == [written]


def test_properties_become_the_columns_of_the_dataset_and_others_do_not(tmp_path: Path) -> None:
    columns = {
        "DEVICE": Field(name="DEVICE", type="string", nullable=True),
        "NUM_RATINGS": Field(name="NUM_RATINGS", type="int", nullable=True),
        "DEPTH": Field(name="DEPTH", type="float", nullable=True),
        "AT_HOME": Field(name="AT_HOME", type="boolean", nullable=True),
    }
    events = [event("a", DEVICE="tv", NUM_RATINGS=3, DEPTH=1, AT_HOME=True, COLOUR="red"), event("b")]
    written = frozen(iter(events), columns, tmp_path / "live.parquet")
    assert written is not None
    rows = duckdb.read_parquet(str(written)).select("DEVICE", "NUM_RATINGS", "DEPTH", "AT_HOME")
    assert rows.fetchall() == [("tv", 3, 1.0, True), (None, None, None, None)]
    assert "COLOUR" not in duckdb.read_parquet(str(written)).columns


def test_a_later_attempt_reads_what_the_first_one_froze(tmp_path: Path) -> None:
    target = tmp_path / "live.parquet"
    frozen(iter([event("a")]), NO_MORE, target)
    again = frozen(iter([event("a"), event("late")]), NO_MORE, target)
    assert again is not None
    assert len(duckdb.read_parquet(str(again)).fetchall()) == 1


def test_no_events_are_frozen_too(tmp_path: Path) -> None:
    target = tmp_path / "live.parquet"
    assert frozen(iter([event(None)]), NO_MORE, target) is None
    assert frozen(iter([event("late")]), NO_MORE, target) is None


def test_writing_ends_when_it_is_asked_to(tmp_path: Path) -> None:
    class Enough(Exception):
        pass

    def stop() -> None:
        raise Enough

    with pytest.raises(Enough):
        frozen(iter([event("a")]), NO_MORE, tmp_path / "live.parquet", stop)
    assert frozen(iter([event("a")]), NO_MORE, tmp_path / "live.parquet") is not None
