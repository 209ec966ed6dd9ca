"""The texts of items, mapped: the string columns of Items in the order of a training's items, one file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Self

from shared.data.arrays.mmap_arrays import ArrayFile, ArrayFileWriter, MappedStrings
from shared.data.schemas import DatasetSchema

TextKind = Literal["name", "text", "attribute"]


@dataclass(frozen=True, kw_only=True)
class TextColumn:
    """A column whose cells are texts: the item's name, its description, or an attribute with values between bars."""

    name: str
    kind: TextKind


def select_text_columns(schema: DatasetSchema, excluded: Collection[str], present: Collection[str]) -> list[TextColumn]:
    """Return the string columns that describe an item; numbers and booleans say nothing in words."""
    return [
        TextColumn(name=field.name, kind="name" if field.item_name else "text" if field.textual else "attribute")
        for field in schema.metadata
        if field.type == "string" and field.name not in excluded and field.name in present
    ]


def write_item_texts(
    path: Path, columns: Sequence[TextColumn], iter_cells: Callable[[TextColumn], Iterator[list[str]]]
) -> None:
    """Write a file for ``ItemTexts.open``. ``iter_cells`` yields the cells of a column in batches, "" for null."""
    with ArrayFileWriter(path) as writer:
        writer.about = {"columns": [asdict(column) for column in columns]}
        for column in columns:
            writer.add_strings(column.name, iter_cells(column))


class ItemTexts:
    """The cells of I items. Threads may share it."""

    def __init__(self, columns: Sequence[TextColumn], cells: Sequence[Sequence[str] | MappedStrings]) -> None:
        """``cells`` holds the I cells of each column, "" for null."""
        self.columns = tuple(columns)
        self._cells = cells

    @classmethod
    def open(cls, path: Path) -> Self:
        """Map a file that ``write_item_texts`` wrote. Raises OSError and ValueError."""
        file = ArrayFile.open(path)
        columns = [TextColumn(**column) for column in file.about["columns"]]
        return cls(columns, [file.get_strings(column.name) for column in columns])

    def read_rows(self, items: Sequence[int]) -> list[list[str]]:
        """Return the cells of these items, each in the order of the columns."""
        return [[cells[item] for cells in self._cells] for item in items]
