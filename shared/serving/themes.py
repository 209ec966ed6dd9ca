"""Themes of recommended lists: the plug point of generators, and what they are told about items.

FORETASTE_THEME_GENERATOR names a ``CreateGenerator`` as "module:function". The default, ``keyword_themes``, names the
categories and words that set a list apart from the catalogue. Another one may ask a language model.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from shared.filters.columns import split_values
from shared.serving.dataset_snapshot import Snapshot


class GeneratorUnusable(Exception):
    """The theme generator can't be loaded; the message names the setting and the reason."""


class ThemeRefused(Exception):
    """The generator has failed for one list, or answered in another form; the message says why."""


@dataclass(frozen=True, kw_only=True)
class ThemeItem:
    """The texts that Items has of one item. All are empty for an item without a row there."""

    item_id: str
    name: str = ""
    """The value of the column that fieldsForThemeGeneration names."""
    categories: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Categorical column -> the item's values; columns without a value are absent."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """Textual column -> the item's text; columns without one are absent."""


@dataclass(frozen=True, kw_only=True)
class Theme:
    """The theme of a list."""

    text: str
    """Some words, such as "Sci-Fi adventure"."""
    relevance: Sequence[float]
    """How well each item of the list fits the theme, from 0 to 1."""


class ThemeCatalogue(Protocol):
    """All items of the Items dataset, for generators that compare a list with them."""

    def __len__(self) -> int: ...

    def iter_items(self) -> Iterator[ThemeItem]:
        """Yield all items. A pass takes some seconds for a million items."""
        ...

    def count_items(self, column: str, value: str) -> int:
        """Return the number of items with this value of a categorical column; quick."""
        ...


class ThemeGenerator(Protocol):
    """Generates the themes of one job, in one process. Equal lists should get equal themes in every process."""

    def generate_theme(self, seed: ThemeItem, listed: Sequence[ThemeItem]) -> Theme:
        """Return the theme of the items recommended for the item ``seed``, best first; the list may be empty.

        An exception becomes the error of the list's line.
        """
        ...


CreateGenerator = Callable[[ThemeCatalogue], ThemeGenerator]
"""Builds the generator of a job."""


def load_generator(name: str) -> CreateGenerator:
    """Import the function of "module:function". Raises GeneratorUnusable."""
    module, _, function = name.partition(":")
    try:
        create: CreateGenerator = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise GeneratorUnusable(
            f"FORETASTE_THEME_GENERATOR is {name!r}, which can't be loaded: {error}. Give it as module:function, and "
            "install the module where the inference workers run."
        ) from error
    return create


def generate_checked(generator: ThemeGenerator, seed: ThemeItem, listed: Sequence[ThemeItem]) -> Theme:
    """Return the theme of a list, checked. Raises ThemeRefused."""
    try:
        theme = generator.generate_theme(seed, listed)
        relevance = [round(float(one), 4) for one in theme.relevance]
    except Exception as error:  # a generator of the operator's may raise anything, which costs one line
        raise ThemeRefused(f"The theme generator failed: {type(error).__name__}: {error}") from error
    if not isinstance(theme.text, str) or len(relevance) != len(listed):
        raise ThemeRefused("The theme generator must return a text, and a relevance for each item.")
    if not all(0 <= one <= 1 for one in relevance):
        raise ThemeRefused("The theme generator returned a relevance outside 0 to 1.")
    return Theme(text=theme.text, relevance=relevance)


class SnapshotCatalogue:
    """``ThemeCatalogue`` of a snapshot of Items. ``on_step`` is called for each item of a pass."""

    def __init__(self, rows: Snapshot, name_column: str, on_step: Callable[[], Any] = lambda: None) -> None:
        self._rows = rows
        self._name = name_column
        self._on_step = on_step
        strings = [each for each in rows.schema.fields if each.type == "string" and each.name != rows.schema.key]
        self._categories = [each.name for each in strings if each.categorical]
        self._texts = [each.name for each in strings if each.textual and each.name != name_column]

    def __len__(self) -> int:
        return len(self._rows)

    def iter_items(self) -> Iterator[ThemeItem]:
        for row, item_id in enumerate(self._rows.ids):
            self._on_step()
            yield self._read_row(row, item_id)

    def find_item(self, item_id: str) -> ThemeItem:
        """Return an item; one without texts for an id that has no row."""
        row = self._rows.find_row(item_id)
        return ThemeItem(item_id=item_id) if row is None else self._read_row(row, item_id)

    def count_items(self, column: str, value: str) -> int:
        return len(self._rows.find_rows(column, value))

    def _read_row(self, row: int, item_id: str) -> ThemeItem:
        cells = {column: self._rows.read_cell(row, column) for column in (*self._categories, *self._texts, self._name)}
        return ThemeItem(
            item_id=item_id,
            name=str(cells[self._name] or ""),
            categories={
                column: split_values(str(cells[column]), categorical=True)
                for column in self._categories
                if cells[column]
            },
            texts={column: str(cells[column]) for column in self._texts if cells[column]},
        )
