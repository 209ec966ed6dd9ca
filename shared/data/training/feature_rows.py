"""Encode the rows of an Items or Users dataset as features, in the order of the ids of the histories.

The last row of an id counts. Columns are read one at a time: a dataset may have a hundred, and long texts.
"""

# ruff: noqa: S608 -- names come from a checked schema, and files are quoted

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from shared.data.arrays.features import SPACES
from shared.data.arrays.item_texts import TextColumn, write_item_texts
from shared.data.csv.csv_sql import quote_identifier, quote_literal
from shared.data.duckdb_session import ROW_POSITION_SQL, DuckDBSession, cast_to_finite_sql, read_parquet_sql
from shared.data.schemas import DatasetSchema, Field
from shared.data.training import featurize
from shared.data.training.featurize import EncodedColumn

TEXTS_AT_ONCE = 2**9
"""Texts of a column that are in memory at a time; each may have 20,000 characters."""
MIN_SHARE_OF_TEXTS = 0.85
"""AWS's limit: models do not train on a textual column that fewer of the dataset's rows fill."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DatasetRows:
    """The rows of a dataset whose ids a database table numbers (id, number). Rows of other ids are not read."""

    database: DuckDBSession
    files: Sequence[Path]
    count: int
    """R: the number of ids, of which some may have no row."""
    table: str
    """The table of the rows that count: (number, place). The number of a row without histories is NULL."""

    @classmethod
    def create_table(cls, database: DuckDBSession, schema: DatasetSchema, files: Sequence[Path], ids: str) -> Self:
        """Create the table of the rows that count; ``ids`` names the table of ids (id, number)."""
        table = f"rows_of_{ids}"
        database.execute(
            f"""CREATE TABLE {table} AS
                SELECT any_value(number) AS number, max(place) AS place
                FROM (SELECT {schema.key}::VARCHAR AS id, {ROW_POSITION_SQL} AS place FROM {read_parquet_sql(files)})
                LEFT JOIN {ids} USING (id) WHERE id <> '' GROUP BY id"""
        )
        ((count,),) = database.fetch_rows(f"SELECT count(*) FROM {ids}")
        return cls(database=database, files=files, count=count, table=table)

    def read_times(self, column: str) -> npt.NDArray[np.int64]:
        """Return [R] seconds since the epoch, -1 where unknown."""
        cells = self.select_cells_sql(f"TRY_CAST({quote_identifier(column)} AS BIGINT)")
        found = self.database.fetch_arrays(f"SELECT number, value FROM ({cells}) WHERE value >= 0")
        times = np.full(self.count, -1, np.int64)
        times[found["number"]] = found["value"]
        return times

    def read_numbers(self, column: str) -> npt.NDArray[np.float64]:
        """Return float64[R], NaN where unknown."""
        cells = self.select_cells_sql(cast_to_finite_sql(column))
        found = self.database.fetch_arrays(f"SELECT number, value FROM ({cells}) WHERE value IS NOT NULL")
        numbers = np.full(self.count, np.nan)
        numbers[found["number"]] = found["value"]
        return numbers

    def write_features(self, fields: Sequence[Field], folder: Path) -> None:
        """Write ``Features`` of the columns that have values; no folder appears if none has."""
        described = [each for field in fields if (each := self._encode_column(field)) is not None]
        if described:
            featurize.write_features(folder, described, self._iter_blocks(described))

    def write_texts(self, columns: Sequence[TextColumn], path: Path) -> None:
        """Write ``ItemTexts`` of these columns."""
        write_item_texts(path, columns, self._iter_cells)

    def _iter_cells(self, column: TextColumn) -> Iterator[list[str]]:
        cells = self.select_cells_sql(f"{quote_identifier(column.name)}::VARCHAR")
        found = f"""SELECT coalesce(value, '') FROM range({self.count}) AS ids(number)
                    LEFT JOIN ({cells}) AS cells USING (number) ORDER BY number"""
        for batch in self.database.iter_batches(found, TEXTS_AT_ONCE):
            yield [text for (text,) in batch]

    def _encode_column(self, field: Field) -> EncodedColumn | None:
        if field.categorical:
            rows = f"SELECT number AS bag, value, 1 AS n FROM ({self.select_cells_sql(quote_identifier(field.name))})"
            return featurize.encode_categories(self.database, field, rows, self.count)
        if field.textual:
            cells = self.select_cells_sql(quote_identifier(field.name))
            rows = f"SELECT number AS bag, value FROM ({cells}) WHERE value IS NOT NULL"
            return featurize.encode_texts(self.database, field, rows, self.count) if self._is_filled(field) else None
        return featurize.encode_numbers(self.database, field, self.select_cells_sql(cast_to_finite_sql(field.name)))

    def _is_filled(self, field: Field) -> bool:
        ((filled, rows),) = self.database.fetch_rows(
            f"""SELECT count(nullif(trim(value, {quote_literal(SPACES)}), '')), count(*)
                FROM ({self._select_all_cells_sql(quote_identifier(field.name))})"""
        )
        return bool(filled >= MIN_SHARE_OF_TEXTS * rows)

    def select_cells_sql(self, cell: str) -> str:
        """Return SQL for number, place and value of the rows whose ids the histories have."""
        return f"SELECT * FROM ({self._select_all_cells_sql(cell)}) WHERE number IS NOT NULL"

    def _select_all_cells_sql(self, cell: str) -> str:
        # A dataset's columns may have any name, so they are never selected together with our own columns.
        read = f"SELECT {cell} AS value, {ROW_POSITION_SQL} AS place FROM {read_parquet_sql(self.files)}"
        return f"SELECT number, place, value FROM ({read}) JOIN {self.table} USING (place)"

    def _find_bags(self, described: EncodedColumn) -> npt.NDArray[np.integer[Any]]:
        """Return int[R]: the bag of each row."""
        if described.column.kind != "numeric":
            return np.arange(self.count)
        return described.find_bags(self.read_numbers(described.column.name))

    def _iter_blocks(self, described: Sequence[EncodedColumn]) -> Iterator[list[npt.NDArray[np.integer[Any]]]]:
        bags = [self._find_bags(each) for each in described]
        for begin in range(0, self.count, featurize.ROWS_PER_BLOCK):
            self.database.on_step()
            yield [each[begin : begin + featurize.ROWS_PER_BLOCK] for each in bags]
