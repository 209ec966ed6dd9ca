"""Themes without a language model: the categories and words that set a list apart from the catalogue.

A category or word stands for a list if many of its items have it, and few of all items: with shares p of the list and q
of the catalogue, its strength is p * p * log(p / q), the gain of information about an item of the list, once more by p
for themes that hold for most items. The strongest two categories and two words make the theme, and an item's relevance
is the part of their strength that the item has.
"""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from shared.serving.themes import Theme, ThemeCatalogue, ThemeItem

BUCKETS = 2**20
"""Words are counted in so many buckets: words of one bucket seem more frequent than they are, and are chosen less."""

MOST_CATEGORIES, MOST_WORDS = 2, 2
LEAST_SHARE, LEAST_ITEMS = 0.3, 2
"""A category or word of a theme is one of so many of the list's items, at least."""

MOST_COMMON = 0.1
"""A word of more than so many of all items, such as "the", says nothing about a list."""

LEAST_LIFT = 1.25
"""It is so many times as frequent in the list as in the catalogue, at least."""

LEAST_STRENGTH = 0.3
"""It has so much of the strength of the strongest one, at least."""

_WORD = re.compile(r"[^\W\d_]{3,}")


class Keyword(NamedTuple):
    """A category, or a word of a name or text (with column "")."""

    column: str
    value: str


class KeywordThemes:
    """``shared.serving.themes.CreateGenerator``, and the generator that it creates."""

    def __init__(self, catalogue: ThemeCatalogue) -> None:
        self._catalogue = catalogue
        self._items_by_bucket = np.zeros(BUCKETS, np.int32)
        for item in catalogue.iter_items():
            self._items_by_bucket[list({_find_bucket(word) for word in find_words(item)})] += 1

    def generate_theme(self, seed: ThemeItem, listed: Sequence[ThemeItem]) -> Theme:
        keywords = [_find_keywords(item) for item in listed]
        strengths = self._choose_keywords(keywords)
        if not strengths:
            # Nothing sets the list apart from the catalogue, or Items says nothing of its items.
            return Theme(text=f"More like {seed.name or seed.item_id}", relevance=[0.0] * len(listed))
        total = sum(strengths.values())
        relevance = [sum(strengths[each] for each in strengths.keys() & of_item) / total for of_item in keywords]
        return Theme(text=_join_words(strengths), relevance=[min(one, 1.0) for one in relevance])

    def _choose_keywords(self, keywords: Sequence[set[Keyword]]) -> dict[Keyword, float]:
        """Return the strengths of a theme's keywords, the strongest first, categories before words."""
        counts = Counter(keyword for of_item in keywords for keyword in of_item)
        least = max(LEAST_SHARE * len(keywords), LEAST_ITEMS)
        strengths = {
            keyword: strength
            for keyword, count in counts.items()
            if count >= least and (strength := self._compute_strength(keyword, count / len(keywords))) > 0
        }
        ranked = sorted(strengths, key=lambda each: (-strengths[each], each))
        ranked = [each for each in ranked if strengths[each] >= LEAST_STRENGTH * strengths[ranked[0]]]
        chosen = _select_distinct([each for each in ranked if each.column], MOST_CATEGORIES, ())
        chosen += _select_distinct([each for each in ranked if not each.column], MOST_WORDS, chosen)
        return {each: strengths[each] for each in chosen}

    def _compute_strength(self, keyword: Keyword, share: float) -> float:
        """Return how much a keyword with this share of a list sets it apart; 0.0 where it does not."""
        (column, value), items = keyword, len(self._catalogue)
        if column:
            found = self._catalogue.count_items(column, value)
        elif (found := int(self._items_by_bucket[_find_bucket(value)])) > max(MOST_COMMON * items, LEAST_ITEMS):
            return 0.0
        lift = share * (items + 2) / (found + 1)
        return share * share * math.log(lift) if lift >= LEAST_LIFT else 0.0


def find_words(item: ThemeItem) -> set[str]:
    """Return the words of an item's name and texts, in lower case: runs of at least three letters of any script."""
    return {word for text in (item.name, *item.texts.values()) for word in _WORD.findall(text.lower())}


def _find_bucket(word: str) -> int:
    return zlib.crc32(word.encode(errors="replace")) % BUCKETS


def _find_keywords(item: ThemeItem) -> set[Keyword]:
    of_columns = {Keyword(column, value) for column, values in item.categories.items() for value in values}
    return of_columns | {Keyword("", word) for word in find_words(item)}


def _select_distinct(ranked: Iterable[Keyword], most: int, other: Iterable[Keyword]) -> list[Keyword]:
    """Return the first keywords that repeat no word of an earlier one, or of the ``other`` ones."""
    said = {word for keyword in other for word in _split_value(keyword.value)}
    chosen: list[Keyword] = []
    for keyword in ranked:
        words = _split_value(keyword.value)
        if len(chosen) < most and not said & words:
            chosen.append(keyword)
            said |= words
    return chosen


def _split_value(value: str) -> set[str]:
    return set(_WORD.findall(value.lower())) or {value}


def _join_words(keywords: Iterable[Keyword]) -> str:
    """Return a phrase such as "Sci-Fi adventure: star, trek"."""
    categories = [keyword.value.replace("_", " ").strip() for keyword in keywords if keyword.column]
    words = ", ".join(keyword.value for keyword in keywords if not keyword.column)
    first, *more = categories or [""]
    # A name that is not in capitals throughout goes on in lower case.
    phrase = " ".join([first[:1].upper() + first[1:], *(each.lower() if each.istitle() else each for each in more)])
    return f"{phrase}: {words}" if phrase and words else phrase or words[:1].upper() + words[1:]
