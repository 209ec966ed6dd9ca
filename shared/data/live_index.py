"""The newest events of every user in one file of live events, for requests: one memory-mapped file next to it.

users, items, types      sorted ids, and event types in lower case
arrivals                 int64[U]: when each user's newest event with an item arrived (ms); 0 for none
recent                   int64[U + 1]: where the newest events of each user begin, in the order of arrival
recent_item, recent_type, recent_time      int32[N] (-1: no item), int32[N], float64[N]: at most RECENT_LIMIT of a user
seen                     int64[U + 1]: where the items of each user begin, by event type
seen_type, seen_item, seen_time            int32[M], int32[M], float64[M]: at most SEEN_LIMIT of a user and type
"""

# ruff: noqa: S608 -- names are written here, and files are quoted

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from shared.data.arrays.mmap_arrays import ArrayFile, ArrayFileWriter
from shared.data.duckdb_session import DuckDBSession, read_parquet_sql
from shared.store import RECENT_LIMIT, SEEN_LIMIT, SeenItems

_ROWS_AT_ONCE = 2**20
_NAMES_AT_ONCE = 2**14
_CACHED_USERS = 2048


class LiveEvent(NamedTuple):
    """The members of a live event that a history reads; ``event_type`` is in lower case."""

    item_id: str | None
    event_type: str
    sent_at: float


def get_index_path(file: Path) -> Path:
    """Return the path of the index of a file of live events."""
    return file.with_suffix(".index")


def write_live_index(target: Path, file: Path, database: DuckDBSession) -> None:
    """Write the index of a file of live events, with the temporary tables of ``database``."""
    _number_names(database, file)
    with ArrayFileWriter(target) as packing:
        for table in ("users", "items", "types"):
            batches = database.iter_batches(f"SELECT name FROM {table} ORDER BY number", _NAMES_AT_ONCE)
            packing.add_strings(table, ([text for (text,) in batch] for batch in batches))
        packing.add_array("arrivals", database.fetch_arrays("SELECT arrival FROM users ORDER BY number")["arrival"])
        for table, order, columns in (
            ("recent", "place", {"item": np.int32, "type": np.int32, "time": np.float64}),
            ("seen", "type, time DESC, item DESC", {"type": np.int32, "item": np.int32, "time": np.float64}),
        ):
            counts = f"SELECT count({table}.user) AS found FROM users LEFT JOIN {table} ON number = {table}.user"
            found = database.fetch_arrays(f"{counts} GROUP BY number ORDER BY number")["found"]
            offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(found, dtype=np.int64)])
            packing.add_array(table, offsets)
            for column, dtype in columns.items():
                pieces = _iter_column(database, offsets, table, column, order)
                packing.add_pieces(f"{table}_{column}", dtype, pieces)


def _number_names(database: DuckDBSession, file: Path) -> None:
    """Create the tables users, items and types (name, number), and recent and seen in numbers."""
    events = f"(SELECT user_id, item_id, type, sent_at, ms, seq FROM {read_parquet_sql([file])})"
    database.execute(
        f"""CREATE TABLE newest AS SELECT user_id, item_id, type, sent_at AS time, place FROM (
                SELECT *, row_number() OVER (PARTITION BY user_id ORDER BY ms DESC, seq DESC) AS place FROM {events}
            ) WHERE place <= {RECENT_LIMIT:d}"""
    )
    database.execute(
        f"""CREATE TABLE done AS SELECT user_id, type, item_id, time FROM (
                SELECT user_id, type, item_id, max(sent_at) AS time FROM {events}
                WHERE item_id IS NOT NULL GROUP BY ALL
            )
            QUALIFY row_number() OVER (PARTITION BY user_id, type ORDER BY time DESC, item_id DESC) <= {SEEN_LIMIT:d}"""
    )
    database.execute(
        f"""CREATE TABLE users AS
            SELECT user_id AS name, (row_number() OVER (ORDER BY user_id) - 1)::INTEGER AS number,
                   coalesce(max(ms) FILTER (item_id IS NOT NULL), 0)::BIGINT AS arrival
            FROM {events} GROUP BY user_id"""
    )
    for table, column in (("items", "item_id"), ("types", "type")):
        database.execute(
            f"""CREATE TABLE {table} AS SELECT name, (row_number() OVER (ORDER BY name) - 1)::INTEGER AS number FROM (
                    SELECT {column} AS name FROM newest UNION SELECT {column} FROM done
                ) WHERE name IS NOT NULL"""
        )
    for source, table, more in (("newest", "recent", ", -place AS place"), ("done", "seen", "")):
        database.execute(
            f"""CREATE TABLE {table} AS
                SELECT users.number AS user, coalesce(items.number, -1) AS item, types.number AS type, time{more}
                FROM {source} JOIN users ON user_id = users.name JOIN types ON type = types.name
                LEFT JOIN items ON item_id = items.name ORDER BY user"""
        )


def _iter_column(
    database: DuckDBSession, offsets: npt.NDArray[np.int64], table: str, column: str, order: str
) -> Iterator[npt.NDArray[Any]]:
    """Yield a column of a table in the order of its users, some users at a time."""
    user = 0
    while user < len(offsets) - 1:
        last = max(int(np.searchsorted(offsets, offsets[user] + _ROWS_AT_ONCE, side="right")) - 1, user + 1)
        yield database.fetch_arrays(
            f'SELECT "{column}" AS found FROM {table} WHERE user >= $user AND user < $last ORDER BY user, {order}',
            {"user": user, "last": last},
        )["found"]
        user = last


def iter_indexed_users(path: Path) -> Iterator[str]:
    """Yield the users of an index, sorted. Raises OSError and ValueError."""
    yield from ArrayFile.open(path).get_strings("users")


class LiveIndex:
    """The newest events of every user in one file of live events, read-only: threads may share it."""

    def __init__(self, packed: ArrayFile) -> None:
        self._users, self._items = packed.get_strings("users"), packed.get_strings("items")
        self._types = list(packed.get_strings("types"))
        self._arrivals, self._recent, self._seen = (packed.get_array(name) for name in ("arrivals", "recent", "seen"))
        self._recent_columns = [packed.get_array(f"recent_{name}") for name in ("item", "type", "time")]
        self._seen_columns = [packed.get_array(f"seen_{name}") for name in ("type", "item", "time")]
        #: Cached: the user's next request reads the same events again. Both answers are not to be changed.
        self.find_recent = lru_cache(_CACHED_USERS)(self._find_recent)
        self.find_seen = lru_cache(_CACHED_USERS)(self._find_seen)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Raises OSError and ValueError."""
        return cls(ArrayFile.open(path))

    def get_arrival(self, user_id: str) -> float:
        """Return when the user's newest event with an item arrived (epoch seconds); 0.0 for none."""
        user = self._users.find(user_id)
        return 0.0 if user is None else float(self._arrivals[user]) / 1000

    def _find_recent(self, user_id: str) -> list[LiveEvent]:
        user = self._users.find(user_id)
        if user is None:
            return []
        begin, end = self._recent[user : user + 2].tolist()
        rows = zip(*(column[begin:end].tolist() for column in self._recent_columns), strict=True)
        return [LiveEvent(None if item < 0 else self._items[item], self._types[type_], at) for item, type_, at in rows]

    def _find_seen(self, user_id: str) -> SeenItems:
        user = self._users.find(user_id)
        if user is None:
            return {}
        begin, end = self._seen[user : user + 2].tolist()
        found: dict[str, dict[str, float]] = {}
        for type_, item, at in zip(*(column[begin:end].tolist() for column in self._seen_columns), strict=True):
            found.setdefault(self._types[type_], {})[self._items[item]] = at
        kept: Mapping[str, Mapping[str, float]] = found
        return kept
