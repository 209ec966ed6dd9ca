"""SQL that reads the cells of CSV files as text, under the names of the schema, without checks and casts."""

# ruff: noqa: S608 -- names come from a checked schema, and all that goes into SQL is quoted

from __future__ import annotations

import glob
import itertools
from collections.abc import Sequence
from pathlib import Path

import duckdb

from shared.data.csv import csv_file
from shared.data.csv.csv_file import CsvFile
from shared.data.schemas import FIELD_NAME, DatasetSchema

# DuckDB's default of 32 MB, several times per thread, would take most of a small memory limit.
_BUFFER_BYTES = 4 * csv_file.MAX_RECORD_BYTES


def quote_identifier(column: str) -> str:
    """Return a column's name as SQL."""
    return '"' + column.replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    """Return a string as SQL."""
    return "'" + text.replace("'", "''") + "'"


def select_cells_sql(files: Sequence[CsvFile], schema: DatasetSchema, options: str = "") -> str:
    """Return a SELECT of the schema's columns as VARCHAR, files and rows in order; an empty cell is NULL.

    The headers must hold every column of the schema in any case; other columns are left out. `options` are passed
    to ``read_csv`` unchanged.
    """
    files_by_header = itertools.groupby(files, key=lambda file: file.header)
    return " UNION ALL ".join(
        f"SELECT {_list_columns_sql(header, schema)} FROM {_read_csv_sql([f.path for f in same], header, options)}"
        for header, same in files_by_header
    )


def select_all_cells_sql(file: CsvFile) -> str:
    """Return a SELECT, as VARCHAR, of the columns that a schema could name; names become upper case.

    The first of several columns with one name counts.
    """
    named = [(place, column) for place, column in enumerate(file.header) if FIELD_NAME.fullmatch(column)]
    places = {column.upper(): place for place, column in reversed(named)}
    columns = ", ".join(f"c{place} AS {quote_identifier(column)}" for column, place in places.items())
    return f"SELECT {columns} FROM {_read_csv_sql([file.path], file.header, '')}"


def find_unread_row(connection: duckdb.DuckDBPyConnection, file: CsvFile) -> tuple[int, int | None]:
    """Return the number of rows that DuckDB reads from a file, and the line of the first record that it misses.

    The line is None when DuckDB misses none. The search is slow, because Python parses each record too.
    """
    columns = ", ".join(f"coalesce(c{place}, '')" for place in range(len(file.header)))
    found = connection.execute(f"SELECT [{columns}] FROM {_read_csv_sql([file.path], file.header, '')}")
    read, line = 0, None
    for at, cells in csv_file.iter_rows(file):
        row = found.fetchone()
        read += row is not None
        if line is None and (row is None or row[0] != cells):
            line = at
    return read, line


def _list_columns_sql(header: Sequence[str], schema: DatasetSchema) -> str:
    places = {column.upper(): place for place, column in enumerate(header)}
    return ", ".join(f"c{places[field.name.upper()]} AS {quote_identifier(field.name)}" for field in schema.fields)


def _read_csv_sql(paths: Sequence[Path], header: Sequence[str], options: str) -> str:
    # DuckDB would expand patterns even in the name of an existing file.
    files = ", ".join(quote_literal(glob.escape(str(path.absolute()))) for path in paths)
    columns = ", ".join(f"c{place}: 'VARCHAR'" for place in range(len(header)))
    # auto_detect is off: DuckDB would guess from the first rows alone.
    dialect = """delim = ',', quote = '"', escape = '"', nullstr = '', compression = 'none', encoding = 'utf-8'"""
    return (
        f"read_csv([{files}], auto_detect = false, header = true, columns = {{{columns}}}, {dialect}, "
        f"max_line_size = {csv_file.MAX_RECORD_BYTES}, buffer_size = {_BUFFER_BYTES}"
        f"{options and ', ' + options})"
    )
