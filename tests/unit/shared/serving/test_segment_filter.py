"""Filters of users, over all users of a batch segment job."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import duckdb
import pytest

from shared.data.duckdb_session import DuckDBSession
from shared.filters import FilterValueError, check_filter, parse_filter
from shared.serving.dataset_snapshot import Snapshot, write_snapshot
from shared.serving.segment_filter import ActiveUsers, ActivitySources, SegmentFilter, write_active_users
from shared.store import SEEN_SECONDS
from tests.unit.shared.data import parquet_files
from tests.unit.shared.filters.examples import SCHEMAS

#: d and e have no row in Users, and z is no user of the job.
USERS = ["a", "b", "c", "d", "e"]
FIELDS = ("USER_ID string", "AGE int", "COUNTRY string categorical")
ROWS = [("a", 20, "usa"), ("b", 30, "usa|fr"), ("c", None, None), ("z", 20, "usa")]
NOW = 1e9


def write_interactions(path: Path, rows: list[tuple[str, int, str]]) -> Path:
    values = ", ".join(f"('{user}', 'i', {time}, '{type_}')" for user, time, type_ in rows)
    names = "t(USER_ID, ITEM_ID, TIMESTAMP, EVENT_TYPE)"
    duckdb.sql(f"SELECT * FROM (VALUES {values}) AS {names}").write_parquet(str(path))
    return path


def open_active(
    folder: Path, *, imported_at: float = NOW, live: list[tuple[str, int, str]] | None = None
) -> ActiveUsers:
    sources = ActivitySources(
        imported=[write_interactions(folder / "bulk", [("a", 1, "Click"), ("b", 1, "BUY"), ("z", 1, "buy")])],
        last_import=imported_at,
        live=write_interactions(folder / "live", live) if live else None,
        now=NOW,
    )
    with DuckDBSession(memory_mb=256, scratch=folder, on_step=lambda: None) as database:
        write_active_users(folder / "active", sources, database)
    return ActiveUsers.open(folder / "active")


def open_rows(folder: Path) -> Snapshot:
    table = parquet_files.table(folder / "users", "Users", FIELDS, ROWS)
    with DuckDBSession(memory_mb=256, scratch=folder, on_step=lambda: None) as database:
        write_snapshot(folder / "snapshot", table.schema, None, table.files, database)
    return Snapshot.open(folder / "snapshot")


def select_users(
    expression: str, rows: Snapshot | None, active: ActiveUsers | None, values: Mapping[str, str] | None = None
) -> str:
    schemas = {**SCHEMAS, "USERS": {each.name: each for each in rows.schema.fields}} if rows else SCHEMAS
    filter_ = check_filter(parse_filter(expression), schemas)
    mask = SegmentFilter(filter_, USERS, rows, active).mask_users(values)
    return "".join(user for user, kept in zip(USERS, mask.tolist(), strict=True) if kept)


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ('INCLUDE UserID WHERE Users.COUNTRY IN ("usa")', "ab"),
        ('exclude UserId where users.country in ("usa")', "cde"),
        ("INCLUDE UserID WHERE Users.AGE > 25", "b"),
        ("EXCLUDE UserID WHERE Users.AGE > 25", "acde"),
        ('INCLUDE UserID WHERE Users.COUNTRY IN ("usa") AND Users.AGE < 25', "a"),
    ],
)
def test_columns_of_users_are_tested(tmp_path: Path, expression: str, found: str) -> None:
    assert select_users(expression, open_rows(tmp_path), None) == found


def test_values_come_with_the_line(tmp_path: Path) -> None:
    rows = open_rows(tmp_path)
    expression = "INCLUDE UserID WHERE Users.COUNTRY IN ($COUNTRY)"
    assert select_users(expression, rows, None, {"COUNTRY": '"fr"'}) == "b"
    with pytest.raises(FilterValueError, match="no value for COUNTRY"):
        select_users(expression, rows, None)
    assert select_users("EXCLUDE UserID WHERE Users.COUNTRY IN ($COUNTRY)", rows, None) == "abcde"


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ('INCLUDE UserID WHERE Interactions.EVENT_TYPE IN ("buy")', "bd"),
        ('INCLUDE UserID WHERE Interactions.EVENT_TYPE IN ("*")', "abd"),
        ('EXCLUDE UserID WHERE Interactions.EVENT_TYPE IN ("click", "Buy")', "ce"),
        ('INCLUDE UserID WHERE Interactions.EVENT_TYPE IN ("sail")', ""),
    ],
)
def test_events_of_users_are_tested_imported_and_live(tmp_path: Path, expression: str, found: str) -> None:
    active = open_active(tmp_path, live=[("d", int(NOW), "Buy")])
    assert select_users(expression, None, active) == found


def test_users_silent_for_three_months_are_forgotten(tmp_path: Path) -> None:
    long_ago = NOW - SEEN_SECONDS - 10
    active = open_active(tmp_path, imported_at=long_ago, live=[("a", int(NOW), "view"), ("d", int(long_ago), "click")])
    assert select_users('INCLUDE UserID WHERE Interactions.EVENT_TYPE IN ("*")', None, active) == "a"
    assert select_users('INCLUDE UserID WHERE Interactions.EVENT_TYPE IN ("click")', None, active) == "a"
