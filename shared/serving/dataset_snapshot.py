"""The newest row of every id of an Items, Users or Actions dataset, for filters and metadata: one memory-mapped file.

    ids                       the ids, sorted; a row's number is that of its id
    <column>.values, .filled  D numbers or booleans, and bool[D]: false for null
    <column>.cells, .texts    int32[D], the number of a string's text or -1, and the texts
    <column>.parts            the sorted values of a categorical column; of other strings the texts are sorted
    <column>.rows, .starts    int32[N], int64[V + 1]: the rows that have each value, end to end

A textual column has no ``rows``: AWS does not filter by it. Columns that are empty in every file are left out.
"""

# ruff: noqa: S608 -- names come from a checked schema, and files are quoted

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from shared.data import schemas
from shared.data.arrays.features import SEPARATOR, SPACES
from shared.data.arrays.mmap_arrays import ArrayFile, ArrayFileWriter
from shared.data.csv.csv_rules import PARQUET_TYPES
from shared.data.csv.csv_sql import quote_identifier, quote_literal
from shared.data.duckdb_session import DuckDBSession, read_parquet_sql
from shared.data.schemas import Field
from shared.data.training.feature_rows import DatasetRows

_DTYPES: Mapping[str, npt.DTypeLike] = {
    "long": np.int64,
    "int": np.int32,
    "float": np.float32,
    "double": np.float64,
    "boolean": np.bool_,
}
_STRINGS_AT_ONCE = 2**14
_TEXTS_AT_ONCE = 2**9

CellValue = str | int | float | bool | None


def write_snapshot(
    target: Path, schema: str, domain: str | None, files: Sequence[Path], database: DuckDBSession
) -> None:
    """Write the snapshot of Parquet files, older ones first: the last row of an id counts. ``schema`` is Avro JSON."""
    parsed = schemas.parse_schema(schema, domain=domain)
    with ArrayFileWriter(target) as packing:
        packing.about = {"schema": schema, "domain": domain}
        if not files:
            packing.add_strings("ids", [])
            return
        key = f"{quote_identifier(str(parsed.key))}::VARCHAR"
        database.execute(
            f"""CREATE TABLE ids AS SELECT id, (row_number() OVER (ORDER BY id) - 1)::INTEGER AS number
                FROM (SELECT DISTINCT {key} AS id FROM {read_parquet_sql(files)}) WHERE id <> ''"""
        )
        packing.add_strings("ids", _iter_strings(database, "SELECT id FROM ids ORDER BY number"))
        writer = _SnapshotWriter(packing, DatasetRows.create_table(database, parsed, files, "ids"))
        present = database.list_columns(files)
        for field in parsed.fields:
            if field.name in present and field.name != parsed.key:
                writer.write_column(field)


def _iter_strings(database: DuckDBSession, sql: str, size: int = _STRINGS_AT_ONCE) -> Iterator[list[str]]:
    for batch in database.iter_batches(sql, size):
        yield [text for (text,) in batch]


class _SnapshotWriter:
    """Writes one column at a time. A batch of strings is in memory at once, and a few numbers a row."""

    def __init__(self, packing: ArrayFileWriter, rows: DatasetRows) -> None:
        self._packing = packing
        self._rows = rows
        self._database = rows.database

    def write_column(self, field: Field) -> None:
        if field.type != "string":
            self._write_values(field)
        elif field.textual:
            self._write_long_texts(field)
        else:
            self._write_strings(field)

    def _write_values(self, field: Field) -> None:
        cells = self._rows.select_cells_sql(f"TRY_CAST({quote_identifier(field.name)} AS {PARQUET_TYPES[field.type]})")
        found = self._database.fetch_arrays(f"SELECT number, value FROM ({cells}) WHERE value IS NOT NULL")
        values: npt.NDArray[Any] = np.zeros(self._rows.count, _DTYPES[field.type])
        filled = np.zeros(self._rows.count, np.bool_)
        values[found["number"]] = found["value"]
        filled[found["number"]] = True
        self._packing.add_array(f"{field.name}.values", values)
        self._packing.add_array(f"{field.name}.filled", filled)

    def _write_long_texts(self, field: Field) -> None:
        """Write every text, equal ones too: looking for equal ones would cost more than they take."""
        filled = f"FROM ({self._rows.select_cells_sql(quote_identifier(field.name))}) WHERE value <> '' ORDER BY number"
        rows = self._database.fetch_arrays(f"SELECT number {filled}")["number"]
        self._packing.add_strings(
            f"{field.name}.texts", _iter_strings(self._database, f"SELECT value {filled}", size=_TEXTS_AT_ONCE)
        )
        self._write_cells(field, rows, np.arange(len(rows)))

    def _write_strings(self, field: Field) -> None:
        cells = self._rows.select_cells_sql(f"{quote_identifier(field.name)}::VARCHAR")
        self._database.execute(
            f"CREATE OR REPLACE TABLE cells AS SELECT number, value FROM ({cells}) WHERE value <> ''"
        )
        rows, texts = self._write_vocabulary(f"{field.name}.texts", "cells")
        self._write_cells(field, rows, texts)
        if not field.categorical:
            self._write_rows(field, rows, texts)
            return
        parts = f"string_split(value, {quote_literal(SEPARATOR)})"
        self._database.execute(
            f"""CREATE OR REPLACE TABLE parts AS SELECT number, value FROM (
                    SELECT number, unnest(list_distinct(
                        [trim(part, {quote_literal(SPACES)}) FOR part IN {parts}]
                    )) AS value FROM cells
                ) WHERE value <> ''"""
        )
        self._write_rows(field, *self._write_vocabulary(f"{field.name}.parts", "parts"))

    def _write_vocabulary(self, target: str, table: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Write the sorted values of a table (number, value). Return rows and values, by value and then by row."""
        self._database.execute(
            f"""CREATE OR REPLACE TABLE vocabulary AS
                SELECT value, (row_number() OVER (ORDER BY value) - 1)::INTEGER AS code
                FROM (SELECT DISTINCT value FROM {table})"""
        )
        self._packing.add_strings(target, _iter_strings(self._database, "SELECT value FROM vocabulary ORDER BY code"))
        found = self._database.fetch_arrays(
            f"SELECT number, code FROM {table} JOIN vocabulary USING (value) ORDER BY code, number"
        )
        return found["number"], found["code"]

    def _write_cells(self, field: Field, rows: npt.NDArray[Any], texts: npt.NDArray[Any]) -> None:
        cells = np.full(self._rows.count, -1, np.int32)
        cells[rows] = texts
        self._packing.add_array(f"{field.name}.cells", cells)

    def _write_rows(self, field: Field, rows: npt.NDArray[Any], values: npt.NDArray[Any]) -> None:
        counts = np.bincount(values) if len(values) else np.zeros(0, np.int64)
        self._packing.add_array(f"{field.name}.rows", rows.astype(np.int32))
        self._packing.add_array(f"{field.name}.starts", np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]))


class Snapshot:
    """D rows of a dataset, read-only: threads may share it."""

    def __init__(self, packed: ArrayFile) -> None:
        self._packed = packed
        self.schema = schemas.parse_schema(packed.about["schema"], domain=packed.about["domain"])
        self.ids = packed.get_strings("ids")
        self._texts = cache(packed.get_strings)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Raises OSError and ValueError."""
        return cls(ArrayFile.open(path))

    def __len__(self) -> int:
        return len(self.ids)

    def find_row(self, id_: str) -> int | None:
        """Return the row of an id; None where it has none."""
        return self.ids.find(id_)

    def read_numbers(self, column: str) -> npt.NDArray[np.floating[Any]]:
        """float[D], NaN for null; as precise as the column is."""
        if f"{column}.values" not in self._packed:
            return np.full(len(self), np.nan)
        values = self._packed.get_array(f"{column}.values")
        numbers: npt.NDArray[np.floating[Any]] = values.astype(np.float32 if values.dtype == np.float32 else np.float64)
        numbers[~self._packed.get_array(f"{column}.filled")] = np.nan
        return numbers

    def find_rows(self, column: str, value: str) -> npt.NDArray[np.integer[Any]]:
        """Return the rows with this value; in a categorical column, the rows with it among their values."""
        if column == self.schema.key:
            number = self.ids.find(value)
            return np.array([] if number is None else [number], np.int32)
        if f"{column}.rows" not in self._packed:
            return np.zeros(0, np.int32)
        values = f"{column}.parts" if self.schema.columns[column].categorical else f"{column}.texts"
        number = self._texts(values).find(value)
        if number is None:
            return np.zeros(0, np.int32)
        begin, end = self._packed.get_array(f"{column}.starts")[number : number + 2]
        return self._packed.get_array(f"{column}.rows")[begin:end]

    def list_frequent_values(self, column: str, least: int) -> list[str]:
        """Return the values that at least ``least`` rows have; none for the key."""
        if f"{column}.starts" not in self._packed:
            return []
        values = f"{column}.parts" if self.schema.columns[column].categorical else f"{column}.texts"
        counts = np.diff(self._packed.get_array(f"{column}.starts"))
        return [self._texts(values)[number] for number in np.flatnonzero(counts >= max(least, 1)).tolist()]

    def read_cell(self, row: int, column: str) -> CellValue:
        """Return the value of a cell; None for null."""
        if column == self.schema.key:
            return self.ids[row]
        if f"{column}.values" in self._packed:
            filled = self._packed.get_array(f"{column}.filled")[row]
            return self._packed.get_array(f"{column}.values")[row].item() if filled else None
        if f"{column}.cells" in self._packed:
            text = int(self._packed.get_array(f"{column}.cells")[row])
            return self._texts(f"{column}.texts")[text] if text >= 0 else None
        return None

    def format_cell(self, row: int, column: str) -> str | None:
        """Return a cell as answers show it: numbers with the fewest digits that tell them apart, true and false."""
        found = self.read_cell(row, column)
        if isinstance(found, bool):
            return str(found).lower()
        if isinstance(found, float) and self.schema.columns[column].type == "float":
            return str(np.float32(found))
        return None if found is None else str(found)
