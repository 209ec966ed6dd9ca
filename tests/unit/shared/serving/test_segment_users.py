"""The users of a batch segment job: those trained on and those since, with histories up to now."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from shared.data.duckdb_session import DuckDBSession
from shared.data.training.event_tables import EventParameters, EventSelection
from shared.recipes.scoring_api import Past
from shared.serving.segment_users import SegmentUsers, merge_sorted
from shared.serving.user_events import UserEvents, write_user_events
from tests.unit.shared.serving.segment_world import LastItemScorer, write_events

TRAINED = {"b": [Past("x", 1), Past("y", 2)], "d": [Past("x", 1)]}


def test_two_sorted_lists_become_one() -> None:
    assert list(merge_sorted("ace", "bce")) == [("a", 0, -1), ("b", -1, 0), ("c", 1, 1), ("e", 2, 2)]
    assert list(merge_sorted("", "a")) == [("a", -1, 0)]
    assert list(merge_sorted("", "")) == []


def test_events_since_the_training_extend_histories_and_add_users(tmp_path: Path) -> None:
    scorer = LastItemScorer("xyz", TRAINED)
    since = write_events(tmp_path, [("b", "y", 2), ("b", "z", 3), ("a", "z", 9), ("é", "x", 1)])
    users = SegmentUsers(scorer, since, replaced=False)
    assert list(users) == ["a", "b", "d", "é"] == users[0:4]
    assert len(users) == 4
    assert users[1] == "b"
    # The event of b with y was trained on: it counts once.
    assert users.read_history(1) == [Past("x", 1), Past("y", 2), Past("z", 3)]
    assert users.read_history(0) == [Past("z", 9)]
    assert users.read_history(2) == TRAINED["d"]


def test_a_full_import_since_the_training_replaces_the_histories(tmp_path: Path) -> None:
    users = SegmentUsers(LastItemScorer("xyz", TRAINED), write_events(tmp_path, [("b", "z", 3)]), replaced=True)
    assert list(users) == ["b"]
    assert users.read_history(0) == [Past("z", 3)]


def test_without_events_since_the_users_are_those_of_the_model(tmp_path: Path) -> None:
    users = SegmentUsers(LastItemScorer("xyz", TRAINED), write_events(tmp_path, []), replaced=False)
    assert list(users) == ["b", "d"]
    with pytest.raises(IndexError):
        users[2]


def test_events_that_a_training_would_leave_out_do_not_count(tmp_path: Path) -> None:
    rows = (
        "VALUES ('u', 'x', 5, 'Click', NULL), ('u', 'y', 4, 'BUY', 2.0), ('u', 'z', 6, 'buy', 1.0), "
        "('u', 'y', 4, 'BUY', 2.0)"
    )
    source = tmp_path / "events.parquet"
    names = "t(USER_ID, ITEM_ID, TIMESTAMP, EVENT_TYPE, EVENT_VALUE)"
    duckdb.sql(f"SELECT * FROM ({rows}) AS {names}").write_parquet(str(source))
    selection = EventSelection(files=[source], parameters=[EventParameters(event_type="Buy", value_threshold=2.0)])
    with DuckDBSession(memory_mb=256, scratch=tmp_path, on_step=lambda: None) as database:
        write_user_events(tmp_path / "events", selection, database)
    events = UserEvents.open(tmp_path / "events")
    assert list(events.user_ids) == ["u"]
    assert events.read_history(0) == [Past("y", 4, "buy")]
