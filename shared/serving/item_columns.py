"""The columns of items, actions or users that filters read: the rows of a snapshot, in the order of a model's ids."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.filters import Filter, ValueKind
from shared.filters.columns import InMemoryColumns, RowNumbers, index_values, mask_rows
from shared.serving.dataset_snapshot import Snapshot

FREQUENT = 32
"""A value that at least one in so many items has is kept as bits, which are quicker to mark than places. The bits of
all such values take no more memory than all places would, at 32 bits each."""


class ItemColumns:
    """``shared.filters.columns.FilterColumns`` of I items, or of users. Threads may share it.

    Columns of numbers are put into the items' order, and values that many items have are marked, when a filter first
    reads them, or by ``prepare_filter``.

    ``snapshot`` is None where the dataset group has no dataset that describes them.
    """

    def __init__(self, item_ids: Sequence[str], snapshot: Snapshot | None) -> None:
        self.snapshot = snapshot
        self._rows = np.full(len(item_ids), -1, np.int32)
        self._places = np.full(0 if snapshot is None else len(snapshot), -1, np.int32)
        if snapshot is not None:
            for place, row in iter_common(item_ids, snapshot.ids):
                self._rows[place] = row
                self._places[row] = place
        self.present = self._rows >= 0
        self._numbers: dict[str, npt.NDArray[np.floating[Any]]] = {}
        #: Column and value -> uint8[I / 8], a bit for each item that has it.
        self._bits: dict[tuple[str, str], npt.NDArray[np.uint8]] = {}

    def prepare_filter(self, filter_: Filter) -> None:
        """Prepare the columns that the filter reads, for all values that a request may send."""
        # Rarer values are marked as quickly without bits, as in a large dataset of which the model knows few items.
        many = max(len(self._rows), len(self._places)) // FREQUENT
        for condition in filter_.tested:
            if condition.kind is ValueKind.NUMBER:
                self.get_numbers(condition.column)
            elif condition.kind is ValueKind.TEXT and not condition.fixed and self.snapshot is not None:
                self.find_matches(condition.column, self.snapshot.list_frequent_values(condition.column, many))

    def get_numbers(self, column: str) -> npt.NDArray[np.floating[Any]]:
        if column not in self._numbers:
            found = np.full(len(self._rows), np.nan)
            if self.snapshot is not None:
                numbers = self.snapshot.read_numbers(column)
                found = found.astype(numbers.dtype)
                found[self.present] = numbers[self._rows[self.present]]
            self._numbers[column] = found
        return self._numbers[column]

    def find_matches(self, column: str, values: Iterable[str]) -> npt.NDArray[np.bool_]:
        frequent, rare = [], []
        for value in values:
            bits = self._bits.get((column, value))
            if bits is None:
                places = self._find_places(column, value)
                if len(places) < len(self._rows) / FREQUENT:
                    rare.append(places)
                    continue
                bits = self._bits[column, value] = np.packbits(mask_rows(len(self._rows), [places]))
            frequent.append(bits)
        if not frequent:
            return mask_rows(len(self._rows), rare)
        found = np.unpackbits(reduce(or_, frequent), count=len(self._rows)).view(np.bool_)
        for places in rare:
            found[places] = True
        return found

    def _find_places(self, column: str, value: str) -> RowNumbers:
        if self.snapshot is None:
            return self._places
        places: RowNumbers = self._places[self.snapshot.find_rows(column, value)]
        return places[places >= 0]


def iter_common(left: Iterable[str], right: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Yield the place and the row of each string that stands in both; both are sorted by code point."""
    rows = iter(right)
    row, other = 0, next(rows, None)
    for place, one in enumerate(left):
        while other is not None and other < one:
            row, other = row + 1, next(rows, None)
        if other == one:
            yield place, row


def build_table(filter_: Filter, snapshot: Snapshot | None, rows: Sequence[int | None]) -> InMemoryColumns:
    """Build a table of the columns that a filter tests, for a few rows; None stands for a missing row."""
    tested = {condition.column: condition for condition in filter_.tested}

    def cells(column: str) -> list[Any]:
        return [None if snapshot is None or row is None else snapshot.read_cell(row, column) for row in rows]

    return InMemoryColumns(
        present=np.array([row is not None for row in rows], np.bool_),
        numeric={
            column: np.array(
                [np.nan if cell is None else cell for cell in cells(column)],
                np.float32 if condition.single else np.float64,
            )
            for column, condition in tested.items()
            if condition.kind is ValueKind.NUMBER
        },
        textual={
            column: index_values(cells(column), categorical=condition.categorical)
            for column, condition in tested.items()
            if condition.kind is ValueKind.TEXT
        },
    )


class PlacesByType(Mapping[str, RowNumbers]):
    """Event type -> the places of the items that a user has such events with, looked up when a filter reads them."""

    def __init__(self, items_by_type: Mapping[str, Iterable[str]], place: Callable[[str], int | None]) -> None:
        self._items = items_by_type
        self._place = place

    def __getitem__(self, event_type: str) -> RowNumbers:
        places = (self._place(item) for item in self._items[event_type])
        return np.array([place for place in places if place is not None], np.int32)

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)
