"""Rows (items, users or events) as bags of features: one form for categories, numbers and texts.

A feature is a number below ``Features.size``, and each column has a range of features. This module encodes single
values at serving in the same way as ``featurize`` encodes whole tables for training. It needs no DuckDB.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from shared.data.arrays import npy_files
from shared.data.schemas import normalize_name

TEXT_BUCKETS = 16_384
SEPARATOR = "|"
SPACES = " \t\n\r\v\f\u00a0\u3000"
"""Characters trimmed from a category; listed, because the defaults of DuckDB and Python differ."""

_WORD = re.compile(r"\w+")
_ARRAYS = ("offsets", "values", "weights")

FeatureKind = Literal["categorical", "numeric", "textual"]


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureColumn:
    """A column that models train on. Its features are ``first`` and the ``size - 1`` numbers after it."""

    name: str
    kind: FeatureKind
    first: int
    vocabulary: Sequence[str] = ()
    """Categorical: the category of each feature, the most frequent first."""
    edges: Sequence[float] = ()
    """Numeric: ascending; bucket b holds ``edges[b - 1] <= value < edges[b]``, the outer buckets are open."""
    idf: Sequence[float] = ()
    """Textual: [TEXT_BUCKETS] the weight of a word in each bucket; 0 where the training data had no word."""

    @property
    def size(self) -> int:
        match self.kind:
            case "categorical":
                return len(self.vocabulary)
            case "numeric":
                return len(self.edges) + 1
            case "textual":
                return TEXT_BUCKETS

    def encode(self, value: Any) -> dict[int, float]:
        """Return feature -> weight of one value; {} for None and for a value with nothing known from training.

        Categories weigh 1 / their number, a number's bucket 1, and the words of a text tf-idf, of length 1 together.
        A number may come as text.
        """
        match self.kind:
            case "categorical":
                return self._encode_categories(value)
            case "numeric":
                return self._encode_number(value)
            case "textual":
                return self._encode_text(value)

    def _encode_categories(self, value: Any) -> dict[int, float]:
        if not isinstance(value, str):
            return {}
        parts = {part.strip(SPACES) for part in value.split(SEPARATOR)}
        known = sorted(self._numbers[part] for part in parts if part in self._numbers)
        return {self.first + number: 1 / len(known) for number in known}

    def _encode_number(self, value: Any) -> dict[int, float]:
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            return {}
        if not math.isfinite(number):
            return {}
        return {self.first + int(np.searchsorted(self._edges, number, side="right")): 1.0}

    def _encode_text(self, value: Any) -> dict[int, float]:
        if not isinstance(value, str):
            return {}
        counts = Counter(iter_word_buckets(value))
        weighed = {bucket: count * self.idf[bucket] for bucket, count in sorted(counts.items()) if self.idf[bucket]}
        length = math.hypot(*weighed.values())
        return {self.first + bucket: weight / length for bucket, weight in weighed.items()}

    @cached_property
    def _numbers(self) -> Mapping[str, int]:
        return {category: number for number, category in enumerate(self.vocabulary)}

    @cached_property
    def _edges(self) -> npt.NDArray[np.float64]:
        return np.asarray(self.edges, np.float64)


def iter_word_buckets(text: str) -> Iterable[int]:
    """Yield the bucket of each word; words are runs of letters and digits of any script, in lower case."""
    return (zlib.crc32(word.encode(errors="replace")) % TEXT_BUCKETS for word in _WORD.findall(text.lower()))


@dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """The features of R rows, F in all. Row r has ``offsets[r]:offsets[r + 1]`` of ``values`` and ``weights``.

    Within a row they stand in the order of the columns. A row, or a column of it, without a value has none.
    """

    offsets: npt.NDArray[np.int64]
    """[R + 1]"""
    values: npt.NDArray[np.int32]
    """[F] ``0 <= value < size``"""
    weights: npt.NDArray[np.float32]
    """[F] as ``FeatureColumn.encode`` defines them."""
    columns: tuple[FeatureColumn, ...]

    @property
    def size(self) -> int:
        """The number of distinct features."""
        return sum(column.size for column in self.columns)

    def save(self, folder: Path) -> None:
        """Write the arrays and columns to a new folder."""
        folder.mkdir()
        for name in _ARRAYS:
            np.save(folder / f"{name}.npy", getattr(self, name))
        save_columns(folder, self.columns)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Map a folder that ``save`` wrote. Raises OSError and ValueError where it is missing or damaged."""
        columns = json.loads((folder / "columns.json").read_bytes())
        return cls(
            columns=tuple(FeatureColumn(**column) for column in columns),
            **{name: npy_files.map_npy(folder / f"{name}.npy") for name in _ARRAYS},
        )

    def encode(self, row: Mapping[str, Any]) -> tuple[list[int], list[float]]:
        """Return the features and weights of a new row, such as the context of a request or a new item.

        Column names match as in schemas: DEVICE_TYPE may be called deviceType. Unknown columns, categories and words
        are left out.
        """
        given = {normalize_name(name): value for name, value in row.items()}
        found: dict[int, float] = {}
        for column in self.columns:
            found |= column.encode(given.get(normalize_name(column.name)))
        return list(found), list(found.values())


def save_columns(folder: Path, columns: Sequence[FeatureColumn]) -> None:
    """Write ``columns.json``, the part of ``Features.save`` that is no array."""
    kept = [
        {
            "name": column.name,
            "kind": column.kind,
            "first": column.first,
            "vocabulary": list(column.vocabulary),
            "edges": list(column.edges),
            "idf": list(column.idf),
        }
        for column in columns
    ]
    (folder / "columns.json").write_text(json.dumps(kept, ensure_ascii=False), encoding="utf-8")
