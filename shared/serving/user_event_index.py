"""The imported events of every user with items (or actions), by event type, for filters: one memory-mapped file.

users, items, types         sorted ids, and event types in lower case; "" where an event has none
offsets                     int64[U + 1]: the events of each user
event_items, event_types,   int32[N], int32[N], int64[N]: the newest events of each user and type, one for each item
event_times
"""

# ruff: noqa: S608 -- names are written here, and files are quoted

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt

from shared.data.arrays.mmap_arrays import ArrayFile, ArrayFileWriter
from shared.data.csv.csv_sql import quote_identifier
from shared.data.duckdb_session import DuckDBSession, read_parquet_sql

_EVENTS_AT_ONCE = 2**20
_NAMES_AT_ONCE = 2**14
_COLUMNS = {"items": np.int32, "types": np.int32, "times": np.int64}

EventsByType = Mapping[str, Mapping[str, float]]
"""Event type -> item -> when the user last did that with it (epoch seconds)."""


def write_index(
    target: Path, files: Sequence[Path], item: str, most: int, imported: float, database: DuckDBSession
) -> None:
    """Write the index of Parquet files with the columns of Interactions; ``item`` names the column of item ids.

    Of each user and event type the ``most`` newest items are kept. ``imported`` is when the newest file was imported.
    """
    with ArrayFileWriter(target) as packing:
        packing.about = {"imported": imported}
        _number_names(database, files, item, most)
        for table in ("users", "items", "types"):
            batches = database.iter_batches(f"SELECT name FROM {table} ORDER BY number", _NAMES_AT_ONCE)
            packing.add_strings(table, ([text for (text,) in batch] for batch in batches))
        counts = database.fetch_arrays("SELECT count(*) AS events FROM seen GROUP BY user ORDER BY user")["events"]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        packing.add_array("offsets", offsets)
        for column, dtype in _COLUMNS.items():
            packing.add_pieces(f"event_{column}", dtype, _iter_column(database, offsets, column))


def _number_names(database: DuckDBSession, files: Sequence[Path], item: str, most: int) -> None:
    """Create the tables users, items and types (name, number), and seen (user, items, types, times) in numbers."""
    there = database.list_columns(files) if files else set()
    type_ = "lower(coalesce(EVENT_TYPE::VARCHAR, ''))" if "EVENT_TYPE" in there else "''"
    events = (
        f"SELECT USER_ID::VARCHAR AS user_id, {quote_identifier(item)}::VARCHAR AS item_id, {type_} AS type, "
        f"TRY_CAST(TIMESTAMP AS BIGINT) AS time FROM {read_parquet_sql(files)}"
        if files
        else "SELECT '' AS user_id, '' AS item_id, '' AS type, 0 AS time"
    )
    database.execute(
        f"""CREATE TABLE newest AS
            SELECT * FROM (
                SELECT user_id, item_id, type, coalesce(max(time), 0) AS time
                FROM ({events}) WHERE user_id <> '' AND item_id <> '' GROUP BY ALL
            ) QUALIFY row_number() OVER (PARTITION BY user_id, type ORDER BY time DESC, item_id) <= {most:d}"""
    )
    for table, column in (("users", "user_id"), ("items", "item_id"), ("types", "type")):
        database.execute(
            f"""CREATE TABLE {table} AS SELECT name, (row_number() OVER (ORDER BY name) - 1)::INTEGER AS number
                FROM (SELECT DISTINCT {column} AS name FROM newest)"""
        )
    database.execute(
        """CREATE TABLE seen AS
           SELECT users.number AS user, items.number AS items, types.number AS types, time AS times
           FROM newest JOIN users ON user_id = users.name JOIN items ON item_id = items.name
           JOIN types ON type = types.name ORDER BY user"""
    )


def _iter_column(database: DuckDBSession, offsets: npt.NDArray[np.int64], column: str) -> Iterator[npt.NDArray[Any]]:
    """Yield a column of the table ``seen``, some users at a time."""
    user = 0
    while user < len(offsets) - 1:
        last = max(int(np.searchsorted(offsets, offsets[user] + _EVENTS_AT_ONCE, side="right")) - 1, user + 1)
        yield database.fetch_arrays(
            f"SELECT {column} FROM seen WHERE user >= $user AND user < $last ORDER BY user, types, items",
            {"user": user, "last": last},
        )[column]
        user = last


class UserEventIndex:
    """The imported events of users, read-only: threads may share it."""

    def __init__(self, packed: ArrayFile) -> None:
        #: When the newest file was imported (epoch seconds).
        self.imported: float = packed.about["imported"]
        self._users, self._items = packed.get_strings("users"), packed.get_strings("items")
        self._types = list(packed.get_strings("types"))
        self._offsets = packed.get_array("offsets")
        self._event_items, self._event_types, self._event_times = (
            packed.get_array(f"event_{name}") for name in _COLUMNS
        )

    @classmethod
    def open(cls, path: Path) -> Self:
        """Raises OSError and ValueError."""
        return cls(ArrayFile.open(path))

    def find_events(self, user_id: str) -> EventsByType:
        """Return the events of a user, by type and item; {} for an unknown user."""
        user = self._users.find(user_id)
        if user is None:
            return {}
        begin, end = self._offsets[user : user + 2].tolist()
        types = self._event_types[begin:end].tolist()  # in rising order
        look_up, first = {}, 0
        while first < len(types):
            last = bisect_right(types, types[first])
            look_up[self._types[types[first]]] = partial(self._read_times, begin + first, begin + last)
            first = last
        return LazyEvents(look_up)

    def _read_times(self, begin: int, end: int) -> Mapping[str, float]:
        items = (self._items[item] for item in self._event_items[begin:end].tolist())
        return dict(zip(items, self._event_times[begin:end].tolist(), strict=True))


T = TypeVar("T")


class LazyMapping(Mapping[str, T]):
    """Values that are looked up at their first use: few readers need all of them."""

    def __init__(self, look_up: Mapping[str, Callable[[], T]]) -> None:
        self._look_up = look_up
        self._found: dict[str, T] = {}

    def __getitem__(self, key: str) -> T:
        if key not in self._found:
            self._found[key] = self._look_up[key]()
        return self._found[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._look_up)

    def __len__(self) -> int:
        return len(self._look_up)


class LazyEvents(LazyMapping[Mapping[str, float]]):
    """The events of one user by type."""
