"""What a filter reads of the rows that it tests (items, users or actions), and a table in memory that has it."""

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
    """R rows, one for each place of the answer: items stand in the order of a scorer's ``item_ids``.

    Columns bear the schema's names. No array may change.
    """

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """bool[R]: false where the dataset has no row, as for items that only interactions know."""
        ...

    def get_numbers(self, column: str) -> npt.NDArray[np.floating[Any]]:
        """float[R], NaN for null and where there is no row; as precise as the column is."""
        ...

    def find_matches(self, column: str, values: Iterable[str]) -> npt.NDArray[np.bool_]:
        """bool[R], the caller's own: the rows that are present and have exactly one of these values, or it among others
        where the column is categorical.
        """
        ...


def split_values(value: str | None, *, categorical: bool) -> list[str]:
    """The values of one cell: those between the bars of a categorical one, trimmed as at training. None: none."""
    if not value:
        return []
    if not categorical:
        return [value]
    return [part for each in value.split(SEPARATOR) if (part := each.strip(SPACES))]


@dataclass(frozen=True, kw_only=True, eq=False)
class InMemoryColumns:
    """``Columns`` in memory."""

    present: npt.NDArray[np.bool_]
    numeric: Mapping[str, npt.NDArray[np.floating[Any]]]
    textual: Mapping[str, Mapping[str, RowNumbers]]
    """Column -> value -> rows; ``index`` makes one."""

    def get_numbers(self, column: str) -> npt.NDArray[np.floating[Any]]:
        return self.numeric[column]

    def find_matches(self, column: str, values: Iterable[str]) -> npt.NDArray[np.bool_]:
        rows = self.textual[column]
        return mask_rows(len(self.present), (rows[value] for value in values if value in rows))


def index_values(cells: Sequence[str | None], *, categorical: bool) -> Mapping[str, RowNumbers]:
    """Value -> the rows that have it, of a column of strings."""
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for row, cell in enumerate(cells):
        for part in split_values(cell, categorical=categorical):
            rows[part].append(row)
    return {value: np.asarray(numbers, np.int32) for value, numbers in rows.items()}


def mask_rows(length: int, rows: Iterable[RowNumbers]) -> npt.NDArray[np.bool_]:
    """bool[length]: true at the rows of any of the arrays."""
    mask = np.zeros(length, np.bool_)
    for numbers in rows:
        mask[numbers] = True
    return mask
