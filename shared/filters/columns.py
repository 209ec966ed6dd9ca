"""The columns of the rows that a filter tests (items, users or actions): a protocol, and columns in memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from shared.data.arrays.features import SEPARATOR, SPACES

RowNumbers = npt.NDArray[np.integer[Any]]
"""Numbers of rows."""


class FilterColumns(Protocol):
    """The columns of R rows: items have the order of a scorer's ``item_ids``.

    Columns have the schema's names. The arrays must not change.
    """

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """bool[R]: false where the dataset has no row, as for items that occur only in interactions."""
        ...

    def get_numbers(self, column: str) -> npt.NDArray[np.floating[Any]]:
        """Return float[R] in the precision of the column, NaN for null and for absent rows."""
        ...

    def find_matches(self, column: str, values: Iterable[str]) -> npt.NDArray[np.bool_]:
        """Return bool[R], owned by the caller: true for present rows with one of these values.

        A cell of a categorical column may hold further values; other cells must equal a value exactly.
        """
        ...


def split_values(value: str | None, *, categorical: bool) -> list[str]:
    """Return the values of one cell, none for None.

    A categorical cell is split at bars, and its values are trimmed as in training.
    """
    if not value:
        return []
    if not categorical:
        return [value]
    return [part for each in value.split(SEPARATOR) if (part := each.strip(SPACES))]


@dataclass(frozen=True, kw_only=True, eq=False)
class InMemoryColumns:
    """``FilterColumns`` in memory."""

    present: npt.NDArray[np.bool_]
    numeric: Mapping[str, npt.NDArray[np.floating[Any]]]
    textual: Mapping[str, Mapping[str, RowNumbers]]
    """Column -> value -> rows, as from ``index_values``."""

    def get_numbers(self, column: str) -> npt.NDArray[np.floating[Any]]:
        return self.numeric[column]

    def find_matches(self, column: str, values: Iterable[str]) -> npt.NDArray[np.bool_]:
        rows = self.textual[column]
        return mask_rows(len(self.present), (rows[value] for value in values if value in rows))


def index_values(cells: Sequence[str | None], *, categorical: bool) -> Mapping[str, RowNumbers]:
    """Return value -> rows of a column of strings."""
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for row, cell in enumerate(cells):
        for part in split_values(cell, categorical=categorical):
            rows[part].append(row)
    return {value: np.asarray(numbers, np.int32) for value, numbers in rows.items()}


def mask_rows(length: int, rows: Iterable[RowNumbers]) -> npt.NDArray[np.bool_]:
    """Return bool[length]: true at the rows of any of the arrays."""
    mask = np.zeros(length, np.bool_)
    for numbers in rows:
        mask[numbers] = True
    return mask
