"""The text of an item: the words of its columns by kind, and the share of each kind in the item's vector."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from shared.data.arrays.features import SEPARATOR, SPACES
from shared.data.arrays.item_texts import TextColumn, TextKind
from shared.data.schemas import normalize_name
from shared.recipes.semantic_similarity.text_features import split_words

Cells = Sequence[str | None]
"""The cells of an item in the order of the columns; None or "" for null."""

SHARES: Mapping[TextKind, float] = {"name": 1.0, "text": 1.0, "attribute": 1.0}
"""The length of the part that the columns of a kind have in an item's vector, however long their texts are."""

VALUE_MARK = "\0"
"""Begins the word that stands for a whole value of an attribute: "science fiction" is more than its two words."""


def read_cells(columns: Sequence[TextColumn], row: Mapping[str, Any]) -> list[str | None]:
    """Return the cells of a row by the columns' names; GENRE_L2 may be called genreL2."""
    given = {normalize_name(name): value for name, value in row.items()}
    found = (given.get(normalize_name(column.name)) for column in columns)
    return [value if isinstance(value, str) else None for value in found]


def count_words(columns: Sequence[TextColumn], cells: Cells) -> dict[TextKind, Counter[str]]:
    """Count the words of an item by the kind of their column. The values of attributes count as words too."""
    counted: dict[TextKind, Counter[str]] = {}
    for column, cell in zip(columns, cells, strict=True):
        if not cell:
            continue
        words = counted.setdefault(column.kind, Counter())
        if column.kind != "attribute":
            words.update(split_words(cell))
            continue
        for part in cell.split(SEPARATOR):
            if value := part.strip(SPACES).casefold():
                words[f"{VALUE_MARK}{column.name}={value}"] += 1
                words.update(split_words(value))
    return counted


def join_text(columns: Sequence[TextColumn], cells: Cells) -> str:
    """Return an item's text in one piece, as a sentence encoder reads it: the name, the text, the attributes."""
    order: tuple[TextKind, ...] = ("name", "text", "attribute")
    pieces = [
        cell.replace(SEPARATOR, ", ") if column.kind == "attribute" else cell
        for kind in order
        for column, cell in zip(columns, cells, strict=True)
        if column.kind == kind and cell
    ]
    return ". ".join(piece.strip() for piece in pieces)
