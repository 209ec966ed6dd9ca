"""Write the rows of a dataset as CSV files that imports read back, here and at AWS.

One COPY of DuckDB writes the files, within a memory limit and with one thread, so that equal rows give equal files.
"""

# ruff: noqa: S608 -- names come from a checked schema, and files are quoted

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.data.csv.csv_rules import PARQUET_TYPES
from shared.data.csv.csv_sql import quote_identifier, quote_literal
from shared.data.duckdb_session import ROW_POSITION_SQL, DuckDBSession, read_parquet_sql
from shared.data.schemas import DatasetSchema, Field

#: DuckDB puts a cell with one of these characters in quotes.
_IN_QUOTES = '[,"#\\r\\n]'
#: In quotes an import reads a backslash before these as an escape, and one before the closing quote too.
_ESCAPING = '\\\\(["\\\\]|$)'


@dataclass(frozen=True, kw_only=True)
class ExportedRows:
    """Parquet files with a dataset's rows, the older ones first; a file may lack columns that were added later."""

    files: Sequence[Path]
    schema: DatasetSchema
    imported_alone: bool = False
    """Whether the only file is that of an import, whose rows are sorted and differ from each other."""


def write_csv_files(
    rows: ExportedRows, folder: Path, database: DuckDBSession, *, file_bytes: int
) -> tuple[list[Path], int]:
    """Write the rows to files in the new folder, each with a header and of about ``file_bytes``.

    Return the files in order, and the number of rows.

    There is a file at least, which holds the header alone where there are no rows. Of events that are equal in all
    columns the first is written, of users, items and actions with one id the last. Events are sorted by user, time and
    their order in the files, as imports sort them; users, items and actions by their ids.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    source = _select_rows_sql(rows, database)
    if not rows.imported_alone and rows.files:
        # All threads sort; the one thread below would take longer.
        ordered = database.scratch / "sorted.parquet"
        database.execute(f"COPY ({source}) TO {quote_literal(str(ordered))} (FORMAT parquet)")
        source = f"SELECT * FROM read_parquet({quote_literal(str(ordered))})"
    cells = ", ".join(_format_cell_sql(field) for field in rows.schema.fields)
    database.execute("SET threads = 1; SET preserve_insertion_order = true")
    [(count,)] = database.fetch_rows(
        f"""COPY (SELECT {cells} FROM ({source})) TO {quote_literal(str(folder))} (
                FORMAT csv, HEADER true, DELIMITER ',', QUOTE '"', ESCAPE '"', NULLSTR '',
                FILE_SIZE_BYTES {file_bytes:d}, FILENAME_PATTERN 'part-{{i}}', OVERWRITE_OR_IGNORE true
            )"""
    )
    return sorted(folder.iterdir(), key=lambda path: int(path.stem.rpartition("-")[2])), count


def _select_rows_sql(rows: ExportedRows, database: DuckDBSession) -> str:
    present = database.list_columns(rows.files) if rows.files else set()
    names = ", ".join(quote_identifier(field.name) for field in rows.schema.fields)
    columns = ", ".join(
        f"{quote_identifier(field.name) if field.name in present else 'NULL'}::{PARQUET_TYPES[field.type]} "
        f"AS {quote_identifier(field.name)}"
        for field in rows.schema.fields
    )
    if not rows.files:
        return f"SELECT {columns} LIMIT 0"
    read = read_parquet_sql(rows.files)
    if rows.imported_alone:
        return f"SELECT {columns} FROM {read}"
    # No column has a name with a space.
    placed = f'SELECT {columns}, {ROW_POSITION_SQL} AS "its position" FROM {read}'
    if rows.schema.key is None:
        once = f'SELECT {names}, min("its position") AS "its position" FROM ({placed}) GROUP BY {names}'
        return f'SELECT {names} FROM ({once}) ORDER BY "USER_ID", "TIMESTAMP", "its position"'
    key = quote_identifier(rows.schema.key)
    last = f'row_number() OVER (PARTITION BY {key} ORDER BY "its position" DESC) = 1'
    return f"SELECT {names} FROM ({placed}) QUALIFY {last} ORDER BY {key}"


def _format_cell_sql(field: Field) -> str:
    """Return SQL for a cell; DuckDB itself puts it in quotes, and doubles the quotes in it.

    Backslashes stay as they are unless an import would read one as an escape.
    """
    name = quote_identifier(field.name)
    if field.type != "string":
        return name
    escaped = f"regexp_matches({name}, '{_IN_QUOTES}') AND regexp_matches({name}, '{_ESCAPING}')"
    return f"CASE WHEN {escaped} THEN replace({name}, '\\', '\\\\') ELSE nullif({name}, '') END AS {name}"
