"""All events of every user in some Parquet files: one memory-mapped file, which a batch segment job reads.

users, items, types         sorted ids, and event types in lower case
offsets                     int64[U + 1]: the events of each user, by time
event_items, event_types,   int32[N], int16[N], int64[N]; type -1: none
event_times

``user_event_index`` keeps the newest events for filters.
"""

# ruff: noqa: S608 -- names are written here

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from shared.data.arrays.mmap_arrays import ArrayFile, ArrayFileWriter
from shared.data.duckdb_session import DuckDBSession
from shared.data.training import event_tables
from shared.data.training.event_tables import EventSelection
from shared.recipes.scoring_api import Past

_NAMES_AT_ONCE = 2**14
_COLUMNS: dict[str, tuple[str, npt.DTypeLike]] = {
    "items": ("item", np.int32),
    "types": ("type", np.int16),
    "times": ("time", np.int64),
}


def write_user_events(target: Path, selection: EventSelection, database: DuckDBSession) -> None:
    """Write the events that count, each once; those that a training would read. Without files: no users."""
    with ArrayFileWriter(target) as packing:
        if not selection.files:
            for table in ("users", "items", "types"):
                packing.add_strings(table, [])
            packing.add_array("offsets", np.zeros(1, np.int64))
            for column, (_, dtype) in _COLUMNS.items():
                packing.add_array(f"event_{column}", np.zeros(0, dtype))
            return
        event_tables.create_event_tables(database, selection, catalogue=(), metadata_columns=None)
        for table in ("users", "items", "types"):
            batches = database.iter_batches(f"SELECT id FROM {table} ORDER BY number", _NAMES_AT_ONCE)
            packing.add_strings(table, ([text for (text,) in batch] for batch in batches))
        lengths = event_tables.count_events(database)
        packing.add_array("offsets", np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]))
        for column, (name, dtype) in _COLUMNS.items():
            packing.add_pieces(f"event_{column}", dtype, _iter_column(database, lengths, name))


def _iter_column(database: DuckDBSession, lengths: npt.NDArray[np.int64], column: str) -> Iterator[npt.NDArray[Any]]:
    for block in event_tables.iter_blocks(database, lengths, column):
        yield block[column]


class UserEvents:
    """The events of U users, read-only: threads may share it."""

    def __init__(self, packed: ArrayFile) -> None:
        #: Sorted by code point.
        self.user_ids = packed.get_strings("users")
        self._items = packed.get_strings("items")
        self._types = list(packed.get_strings("types"))
        self._offsets = packed.get_array("offsets")
        self._events = tuple(packed.get_array(f"event_{column}") for column in _COLUMNS)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Raises OSError and ValueError."""
        return cls(ArrayFile.open(path))

    def read_history(self, user: int) -> list[Past]:
        """Return the events of the user with this number, oldest first."""
        begin, end = self._offsets[user : user + 2].tolist()
        items, types, times = (column[begin:end].tolist() for column in self._events)
        return [
            Past(self._items[item], time, self._types[type_] if type_ >= 0 else None)
            for item, type_, time in zip(items, types, times, strict=True)
        ]
