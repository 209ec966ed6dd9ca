"""The CSV files of a folder as DuckDB reads them for an import: the command line knows no other reader."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from services.cli.errors import UnusableFolder
from shared.data.csv import csv_file
from shared.data.csv.csv_file import CsvError, CsvFile
from shared.data.csv.csv_sql import select_all_cells_sql


@contextmanager
def open_csv(path: Path) -> Iterator[tuple[CsvFile, Path]]:
    """Yield the checked file and a temporary folder. Raises UnusableFolder."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            yield csv_file.prepare_csv_file(path, Path(folder)), Path(folder)
        except CsvError as error:
            raise UnusableFolder(f"{path.parent}: {error}") from error
        except OSError as error:
            raise UnusableFolder(f"{path} can't be read: {error.strerror}") from error


def query_cells(file: CsvFile, question: str) -> list[tuple[Any, ...]]:
    """The answer of a question to the table ``cells``: each cell as text, empty ones NULL.

    Its columns are those of the header that a schema could name, in capitals; of columns with one name the first.
    Raises duckdb.Error.
    """
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TEMP VIEW cells AS {select_all_cells_sql(file)}")
        return connection.execute(question).fetchall()


def list_columns(file: CsvFile) -> set[str]:
    """The columns of ``cells``."""
    return {column.upper() for column in file.header}
