"""A temporary DuckDB database for reading data: within a memory limit, spilling to a folder, and cancellable."""

# ruff: noqa: S608 -- names and files are quoted

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import duckdb
import numpy as np
import numpy.typing as npt

from shared.data.arrays.histories import DataRefused
from shared.data.cancellable_query import run_cancellable_query
from shared.data.csv.csv_sql import quote_identifier, quote_literal
from shared.system.cpu_quota import available_cpus

_MIN_MEMORY_MB = 256
_SECONDS_BETWEEN_STEPS = 0.25

T = TypeVar("T")


def read_parquet_sql(files: Sequence[Path]) -> str:
    """Return SQL for the rows of all files; a column that a file lacks is NULL in its rows."""
    # DuckDB expands patterns even in the name of a file that exists.
    paths = ", ".join(quote_literal(glob.escape(str(file))) for file in files)
    return f"read_parquet([{paths}], union_by_name = true)"


ROW_POSITION_SQL = "(file_index::BIGINT << 40) + file_row_number"
"""SQL for the position of a row of ``read_parquet_sql``: ascending within a file, and from file to file."""


def cast_to_finite_sql(column: str) -> str:
    """Return SQL that casts the column to DOUBLE, with NULL for NaN, infinity and text that is no number."""
    number = f"TRY_CAST({quote_identifier(column)} AS DOUBLE)"
    return f"CASE WHEN isfinite({number}) THEN {number} END"


class DuckDBSession:
    """A DuckDB connection whose queries call ``on_step`` at least every 0.5 s, and end when ``on_step`` raises.

    As a context manager it raises DataRefused for DuckDB's errors about the data.
    """

    def __init__(
        self,
        *,
        memory_mb: int,
        scratch: Path,
        on_step: Callable[[], None],
        again: str = "create a new solution version",
    ) -> None:
        """Open a database in memory. ``scratch`` is a folder for temporary files.

        ``again`` is what to do after the memory or the disk has been made large enough, for the reasons of failures.
        """
        self.on_step = on_step
        self._again = again
        self.scratch = scratch
        self._memory_mb = max(memory_mb, _MIN_MEMORY_MB)
        self._connection = duckdb.connect(
            config={
                "memory_limit": f"{self._memory_mb}MiB",
                "temp_directory": str(scratch / "spilled"),
                # Each thread needs memory for buffers of its own.
                "threads": max(1, min(available_cpus(), self._memory_mb // 256)),
                "preserve_insertion_order": False,
                "autoload_known_extensions": False,
                "autoinstall_known_extensions": False,
            }
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.close()
        match error:
            case duckdb.OutOfMemoryException():
                raise DataRefused(
                    f"Reading the data needs more than {self._memory_mb} MiB of memory, or more room for temporary "
                    f"files. Raise FORETASTE_IMPORT_MEMORY_MB or free disk space, and {self._again}."
                ) from error
            case duckdb.IOException():
                message = str(error).partition("\n")[0]
                raise DataRefused(
                    f"The imported data cannot be read, or there is no room on the disk: {message}"
                ) from error
            case duckdb.Error():
                message = str(error).partition("\n")[0]
                raise DataRefused(f"The imported data cannot be read: {message} Import it again.") from error

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        self.fetch_rows(sql, parameters)

    def fetch_rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        return self._run_query(lambda: self._connection.execute(sql, parameters).fetchall())

    def fetch_arrays(self, sql: str, parameters: Mapping[str, Any] | None = None) -> dict[str, npt.NDArray[Any]]:
        """Return the columns of the result, which must hold no NULL; text becomes Python strings."""
        found = self._run_query(lambda: self._connection.execute(sql, parameters).fetchnumpy())
        return {name: np.asarray(column) for name, column in found.items()}

    def iter_batches(self, sql: str, size: int) -> Iterator[list[tuple[Any, ...]]]:
        """Yield the rows of a large result in order, ``size`` at a time. No other query may run in between."""
        self._run_query(lambda: self._connection.execute(sql))
        while batch := self._run_query(lambda: self._connection.fetchmany(size)):
            yield batch

    def list_columns(self, files: Sequence[Path]) -> set[str]:
        """Return the names of all columns of these Parquet files."""
        return {row[0] for row in self.fetch_rows(f"DESCRIBE SELECT * FROM {read_parquet_sql(files)}")}

    def _run_query(self, work: Callable[[], T]) -> T:
        result = run_cancellable_query(self._connection, work, self.on_step, _SECONDS_BETWEEN_STEPS)
        self.on_step()
        return result
