"""A filter of users, evaluated on all users of a batch segment job: which of them a segment may list.

An answer to a request is filtered by ``candidate_mask``, whose rows are the items of a model; here the rows are users.
"""

# ruff: noqa: S608 -- names are written here, and files and event types are quoted

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from shared.data.arrays.mmap_arrays import ArrayFile, ArrayFileWriter
from shared.data.duckdb_session import DuckDBSession, read_parquet_sql
from shared.filters import Filter
from shared.filters.columns import RowNumbers
from shared.filters.evaluation import FilterContext, Mask, compile_filter
from shared.serving.dataset_snapshot import Snapshot
from shared.serving.item_columns import ItemColumns, iter_common
from shared.serving.user_event_index import LazyMapping
from shared.store import SEEN_SECONDS

_NAMES_AT_ONCE = 2**14


class SegmentFilter:
    """A checked filter with target USERS, for the users of one job."""

    def __init__(
        self, filter_: Filter, user_ids: Sequence[str], rows: Snapshot | None, active: ActiveUsers | None
    ) -> None:
        """``user_ids`` are sorted; ``rows`` are those of the Users dataset. ``active`` is needed by a filter that tests
        events."""
        self.placeholders: Set[str] = filter_.placeholders.keys()
        self._apply = compile_filter(filter_, ItemColumns(user_ids, rows))
        self._events = active.map_rows(user_ids) if active is not None and filter_.tests_events else {}

    def mask_users(self, values: Mapping[str, str] | None) -> Mask:
        """bool[U]: the users that pass, with these ``filterValues``. Raises FilterValueError."""
        return self._apply(FilterContext(values=values or {}, events=self._events))


@dataclass(frozen=True, kw_only=True)
class ActivitySources:
    """The interactions by which filters know users: imported ones and live ones."""

    imported: Sequence[Path]
    last_import: float
    """When the newest of them was imported (epoch seconds)."""
    live: Path | None
    now: float


def write_active_users(target: Path, sources: ActivitySources, database: DuckDBSession) -> None:
    """Write the users that have events, by event type.

    As in filters of items, a user without a live event for SEEN_SECONDS has no live events, and without an import in
    that time imported events count only of users with live ones.
    """
    since = sources.now - SEEN_SECONDS
    live = _select_events_sql(database, [sources.live] if sources.live else [])
    database.execute(
        f"""CREATE TABLE live AS SELECT * FROM ({live})
            QUALIFY max(time) OVER (PARTITION BY user_id) >= {since!r}::DOUBLE"""
    )
    imported = _select_events_sql(database, sources.imported)
    known = "" if sources.last_import >= since else "WHERE user_id IN (SELECT user_id FROM live)"
    database.execute(
        f"""CREATE TABLE active AS
            SELECT DISTINCT user_id, type FROM (SELECT user_id, type FROM ({imported}) {known}
                                                UNION ALL SELECT user_id, type FROM live)"""
    )
    types = [type_ for (type_,) in database.fetch_rows("SELECT DISTINCT type FROM active ORDER BY type")]
    with ArrayFileWriter(target) as packing:
        packing.about = {"types": types}
        for number, type_ in enumerate(types):
            packing.add_strings(str(number), _iter_users(database, type_))


def _select_events_sql(database: DuckDBSession, files: Sequence[Path]) -> str:
    if not files:
        return "SELECT '' AS user_id, '' AS type, 0::BIGINT AS time WHERE false"
    type_ = "lower(coalesce(EVENT_TYPE::VARCHAR, ''))" if "EVENT_TYPE" in database.list_columns(files) else "''"
    return f"""SELECT USER_ID::VARCHAR AS user_id, {type_} AS type, TRY_CAST("TIMESTAMP" AS BIGINT) AS time
               FROM {read_parquet_sql(files)} WHERE USER_ID::VARCHAR <> '' AND ITEM_ID::VARCHAR <> ''"""


def _iter_users(database: DuckDBSession, type_: str) -> Iterator[list[str]]:
    database.execute(
        "CREATE OR REPLACE TABLE of_type AS SELECT user_id FROM active WHERE type = $type", {"type": type_}
    )
    for batch in database.iter_batches("SELECT user_id FROM of_type ORDER BY user_id", _NAMES_AT_ONCE):
        yield [user_id for (user_id,) in batch]


class ActiveUsers:
    """The file of ``write_active_users``, read-only."""

    def __init__(self, packed: ArrayFile) -> None:
        self._packed = packed

    @classmethod
    def open(cls, path: Path) -> ActiveUsers:
        """Raises OSError and ValueError."""
        return cls(ArrayFile.open(path))

    def map_rows(self, user_ids: Sequence[str]) -> Mapping[str, RowNumbers]:
        """Return event type -> the places of the users with such an event, looked up at its first use."""
        types: list[str] = self._packed.about["types"]
        return LazyMapping({type_: partial(self._find_rows, number, user_ids) for number, type_ in enumerate(types)})

    def _find_rows(self, number: int, user_ids: Sequence[str]) -> RowNumbers:
        common = iter_common(user_ids, self._packed.get_strings(str(number)))
        return np.fromiter((place for place, _ in common), np.int32)
