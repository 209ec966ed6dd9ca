"""Encode whole tables as features: DuckDB splits, counts and numbers the values of a column, numpy puts rows together.

A column is encoded as ``FeatureColumn.encode`` encodes a single value, and the two must agree. Python code runs only
for the words of texts.
"""

# ruff: noqa: S608 -- names come from a checked schema, and all else is a number or quoted

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from shared.data.arrays import npy_files
from shared.data.arrays.features import SEPARATOR, SPACES, TEXT_BUCKETS, FeatureColumn, iter_word_buckets, save_columns
from shared.data.csv.csv_sql import quote_literal
from shared.data.duckdb_session import DuckDBSession
from shared.data.schemas import DatasetSchema, Field

MAX_CATEGORIES = 100_000
MAX_BUCKETS = 16
ROWS_PER_BLOCK = 2**14
_TEXTS_PER_BATCH = 256
_SAMPLED_ROWS = 2**20


def select_fields(schema: DatasetSchema, excluded: Collection[str], present: Collection[str]) -> list[Field]:
    """Return the fields to train on, the same as AWS: categories, numbers and texts, no booleans and plain strings."""
    return [
        field
        for field in schema.metadata
        if field.name not in excluded
        and field.name in present
        and (field.categorical or field.textual or field.numeric)
    ]


class ColumnBags(NamedTuple):
    """The features of one column; bag b has ``offsets[b]:offsets[b + 1]``, and 0 is the column's first feature."""

    offsets: npt.NDArray[np.int64]
    values: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]

    @classmethod
    def from_counts(cls, counts: npt.NDArray[np.int64], values: npt.NDArray[Any], weights: npt.NDArray[Any]) -> Self:
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        return cls(offsets, values.astype(np.int32, copy=False), weights.astype(np.float32, copy=False))


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedColumn:
    """A column and its bags. A table assigns the bags to its rows."""

    column: FeatureColumn
    bags: ColumnBags

    def find_bags(self, cells: npt.NDArray[Any]) -> npt.NDArray[np.integer[Any]]:
        """Return the bag of each cell, -1 for none: the bucket of a number; other cells hold the bag's number."""
        if self.column.kind != "numeric":
            return cells
        buckets = np.searchsorted(np.asarray(self.column.edges), cells, side="right")
        return np.where(np.isnan(cells), -1, buckets).astype(np.int8)


def encode_categories(database: DuckDBSession, field: Field, rows: str, bags: int) -> EncodedColumn | None:
    """Encode a categorical column.

    ``rows`` is SQL with the columns bag (below ``bags``), value (text) and n, the number of rows with the value.

    None where there is no category.
    """
    database.execute(
        f"""CREATE OR REPLACE TABLE parts AS
            SELECT bag, unnest(list_distinct(
                       [trim(part, {quote_literal(SPACES)}) FOR part IN string_split(value, {quote_literal(SEPARATOR)})]
                   )) AS part, n
            FROM ({rows}) WHERE value IS NOT NULL"""
    )
    database.execute(
        f"""CREATE OR REPLACE TABLE vocabulary AS
            SELECT part, (row_number() OVER (ORDER BY sum(n) DESC, part) - 1)::INTEGER AS number
            FROM parts WHERE part <> '' GROUP BY part QUALIFY number < {MAX_CATEGORIES}"""
    )
    vocabulary = database.fetch_arrays("SELECT part FROM vocabulary ORDER BY number")["part"].tolist()
    if not vocabulary:
        return None
    found = database.fetch_arrays("SELECT bag, number FROM parts JOIN vocabulary USING (part) ORDER BY bag, number")
    database.execute("DROP TABLE parts")
    counts = np.bincount(found["bag"], minlength=bags)
    weights = np.repeat(1 / np.maximum(counts, 1), counts)
    return EncodedColumn(
        column=FeatureColumn(name=field.name, kind="categorical", first=0, vocabulary=vocabulary),
        bags=ColumnBags.from_counts(counts, found["number"], weights),
    )


def encode_numbers(database: DuckDBSession, field: Field, rows: str) -> EncodedColumn | None:
    """Encode a numeric column. ``rows`` is SQL with the columns place and value, a DOUBLE. Bag b is bucket b.

    Return None where there is no number.
    """
    known = f"FROM ({rows}) WHERE isfinite(value)"
    ((count,),) = database.fetch_rows(f"SELECT count(*) {known}")
    if not count:
        return None
    # A million rows give the same quantiles, and fit into memory.
    every = -(-count // _SAMPLED_ROWS)
    values = database.fetch_arrays(f"SELECT value {known} AND hash(place) % {every} = 0")["value"]
    edges = _compute_edges(values)
    singles = np.ones(len(edges) + 1, np.int64)
    return EncodedColumn(
        column=FeatureColumn(name=field.name, kind="numeric", first=0, edges=edges.tolist()),
        bags=ColumnBags.from_counts(singles, np.arange(len(singles)), singles),
    )


def _compute_edges(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return quantiles as edges, such that every bucket holds one of the values.

    The edges lie midway between numbers, because a FLOAT 0.1 differs slightly from the 0.1 of a request.
    """
    shares = np.arange(1, MAX_BUCKETS) / MAX_BUCKETS
    distinct = np.unique(values)
    places = np.unique(np.searchsorted(distinct, np.quantile(values, shares, method="higher")))
    places = places[places > 0]
    middles = distinct[places - 1] / 2 + distinct[places] / 2
    return np.where(middles > distinct[places - 1], middles, distinct[places])


def encode_texts(database: DuckDBSession, field: Field, rows: str, bags: int) -> EncodedColumn | None:
    """Encode a textual column. ``rows`` is SQL with the columns bag (below ``bags``, each once at most) and value.

    Return None where there is no word. The bags are mapped from files in the database's scratch folder, whose names
    may be fixed since a schema has one textual column at most.
    """
    counts = np.zeros(bags, np.int64)
    texts_with = np.zeros(TEXT_BUCKETS, np.int64)
    folder = database.scratch / "texts"
    folder.mkdir()
    with (
        npy_files.NpyWriter(folder / "values.npy", np.int32) as values,
        npy_files.NpyWriter(folder / "times.npy", np.int32) as times,
    ):
        for batch in database.iter_batches(f"SELECT bag, value FROM ({rows}) ORDER BY bag", _TEXTS_PER_BATCH):
            for bag, text in batch:
                words, repeats = np.unique(np.fromiter(iter_word_buckets(text), np.int32), return_counts=True)
                counts[bag] = len(words)
                texts_with[words] += 1
                values.append(words)
                times.append(repeats)
    if not counts.any():
        return None
    idf = compute_idf(texts_with, int(np.count_nonzero(counts)))
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    found_values, found_times = npy_files.map_npy(folder / "values.npy"), npy_files.map_npy(folder / "times.npy")
    with npy_files.NpyWriter(folder / "weights.npy", np.float32) as weights:
        for begin in range(0, bags, ROWS_PER_BLOCK):
            database.on_step()
            offsets_ = offsets[begin : begin + ROWS_PER_BLOCK + 1]
            part = slice(offsets_[0], offsets_[-1])
            weighed = found_times[part] * idf[found_values[part]]
            of_bag = np.repeat(np.arange(len(offsets_) - 1), np.diff(offsets_))
            weights.append(weighed / np.sqrt(np.bincount(of_bag, weighed**2))[of_bag])
    return EncodedColumn(
        column=FeatureColumn(name=field.name, kind="textual", first=0, idf=idf.tolist()),
        bags=ColumnBags(offsets, found_values, npy_files.map_npy(folder / "weights.npy")),
    )


def compute_idf(texts_with: npt.NDArray[np.int64], texts: int) -> npt.NDArray[np.float64]:
    """Return the inverse document frequency as scikit-learn defines it: 1 for a word of every text.

    A word of no text gets 0, since models learn nothing about it.
    """
    weights: npt.NDArray[np.float64] = np.log((1 + texts) / (1 + texts_with)) + 1
    return np.where(texts_with > 0, weights, 0.0)


def write_features(
    folder: Path, described: Sequence[EncodedColumn], blocks: Iterable[Sequence[npt.NDArray[np.integer[Any]]]]
) -> None:
    """Write a folder for ``Features.open``. ``blocks`` holds the rows in order: bags of each column, -1 for none."""
    folder.mkdir()
    columns, bag_sizes = [], []
    first = 0
    for each in described:
        columns.append(replace(each.column, first=first))
        bag_sizes.append(np.diff(each.bags.offsets))
        first += each.column.size
    save_columns(folder, columns)
    with (
        npy_files.NpyWriter(folder / "offsets.npy", np.int64) as offsets,
        npy_files.NpyWriter(folder / "values.npy", np.int32) as values,
        npy_files.NpyWriter(folder / "weights.npy", np.float32) as weights,
    ):
        offsets.append(np.zeros(1, np.int64))
        end = 0
        for block in blocks:
            counts = [np.where(bags < 0, 0, sizes[bags]) for bags, sizes in zip(block, bag_sizes, strict=True)]
            ends = np.cumsum(np.sum(counts, axis=0))
            places = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
            block_values, block_weights = np.empty(ends[-1], np.int32), np.empty(ends[-1], np.float32)
            for column, each, bags, count in zip(columns, described, block, counts, strict=True):
                source = npy_files.expand_ranges(each.bags.offsets[bags], count)
                target = npy_files.expand_ranges(places, count)
                block_values[target] = each.bags.values[source] + column.first
                block_weights[target] = each.bags.weights[source]
                places += count
            offsets.append(end + ends)
            values.append(block_values)
            weights.append(block_weights)
            end += int(ends[-1])
