"""Live events as training reads them: frozen for a version, with the columns of imported interactions."""

from __future__ import annotations

from pathlib import Path

import duckdb

from shared.store import Interaction
from workers.training.live import frozen


def event(item: str | None, at: float = 7.9) -> Interaction:
    return Interaction(user_id="u", session_id="s", item_id=item, event_type="watch", event_value=2.5, sent_at=at)


def test_events_become_rows_and_those_without_an_item_do_not(tmp_path: Path) -> None:
    written = frozen(iter([event("a"), event(None), event('b"\n,', at=8.0)]), tmp_path / "live.parquet")
    assert written is not None
    rows = duckdb.read_parquet(str(written)).fetchall()
    assert rows == [("u", "a", 7, "watch", 2.5), ("u", 'b"\n,', 8, "watch", 2.5)]
    assert list(tmp_path.iterdir()) == [written]


def test_a_later_attempt_reads_what_the_first_one_froze(tmp_path: Path) -> None:
    target = tmp_path / "live.parquet"
    frozen(iter([event("a")]), target)
    again = frozen(iter([event("a"), event("late")]), target)
    assert again is not None
    assert len(duckdb.read_parquet(str(again)).fetchall()) == 1


def test_no_events_are_frozen_too(tmp_path: Path) -> None:
    target = tmp_path / "live.parquet"
    assert frozen(iter([event(None)]), target) is None
    assert frozen(iter([event("late")]), target) is None
