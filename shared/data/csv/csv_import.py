"""Import CSV files of one dataset: check them against its schema and write them as one sorted Parquet file.

One pass reads, checks, casts, sorts and writes within a memory limit, spilling to the target's folder. If it fails, a
second pass finds the bad cells and their lines. If these are few and may be null, a third pass imports them as null.
``csv_rules`` has the rules for cells and ``csv_file`` those for files; training checks the amount of data.
"""

# ruff: noqa: S608 -- names come from a checked schema, and all that goes into SQL is quoted

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import duckdb

from shared.data.cancellable_query import run_cancellable_query
from shared.data.csv import csv_errors, csv_file, csv_rules
from shared.data.csv.csv_errors import BadCellSummary
from shared.data.csv.csv_file import CsvError, CsvFile
from shared.data.csv.csv_sql import find_unread_row, quote_identifier, quote_literal, select_cells_sql
from shared.data.schemas import DatasetSchema
from shared.storage.artifacts import sync_to_disk
from shared.system.cpu_quota import available_cpus

_MEMORY_OUTSIDE_DUCKDB_MB = 160  # Python, buffers of the CSV and Parquet readers: measured by benchmarks/importing
_MIN_MEMORY_MB = 256
_SECONDS_BETWEEN_REPORTS = 0.5
_MAX_NAMED = 3  # cells imported as null that the result describes
_FEW_ROWS = 10
ROWS_READ_SEQUENCE = "rows_read"
"""A DuckDB sequence, which counts the rows that several threads have read."""
_UNREAD = "The files cannot be read as CSV"
_NOT_WRITTEN = (
    "The files could not be read, or the imported data could not be written. Check that there is space left on "
    "the disk of the artifacts, then create a new dataset import job."
)


class ImportFailed(Exception):
    """The files cannot be imported. The message is the job's failure reason, at most 1000 characters."""

    def __init__(self, reason: str) -> None:
        super().__init__(csv_errors.trim_text(reason, csv_errors.MAX_REASON_CHARACTERS))


@dataclass(frozen=True, kw_only=True)
class ImportResult:
    """An import's result: the number of `rows` without repeats, and the `bytes` of the Parquet file.

    `nulls` counts the empty or unreadable cells that became null, by column; `first` describes the first few.
    """

    rows: int
    bytes: int
    nulls: Mapping[str, int] = field(default_factory=dict)
    first: Sequence[str] = ()


class ImportLimits(NamedTuple):
    """The operator's limits of an import."""

    memory_mb: int
    """Resident memory of the process, in MiB; the import takes at least 256."""
    min_rows: int = 0
    """Rows without repeats that the files must hold."""
    unreadable_share: float = 0.0
    """The share of the rows that may have an empty or unreadable cell in a column other than an id or TIMESTAMP."""


def import_csv(
    files: Sequence[Path],
    schema: DatasetSchema,
    target: Path,
    limits: ImportLimits,
    progress: Callable[[int], None],
) -> ImportResult:
    """Import `files` into the new Parquet file `target`, with the columns of `schema`, named as declared there.

    Events (interactions) are sorted by USER_ID, TIMESTAMP, then by their order in the files; of events that are equal
    in all columns the first counts. Users, items and actions are sorted by the code points of their ids; the last row
    of an id wins. Fewer than `limits.min_rows` remaining rows are refused.

    An empty cell where the schema does not allow null, or one that cannot be read as its column's type, ends the
    import. In columns other than ids and TIMESTAMP it becomes null if at most `limits.unreadable_share` of the rows
    have such a cell. As that allows none in a small file, up to ten rows may have one if they are at most a tenth of
    the rows.

    `progress` is called in the caller's thread about twice a second with the rows done so far (an estimate over
    reading, sorting and writing), and during the scan of the files, but only after some work was done; an exception of
    it ends the import. `target` appears whole or not at all, and is synced to the disk. Raises ImportFailed.
    """
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        workspace = Path(folder)
        try:
            sources = [csv_file.prepare_csv_file(file, workspace, _limit_progress(progress)) for file in files]
        except CsvError as error:
            raise ImportFailed(str(error)) from error
        except OSError as error:
            raise ImportFailed(
                f"{Path(str(error.filename)).name} cannot be read: {error.strerror}. Check the file and the disk."
            ) from error
        for source in sources:
            check_header(source, schema)
        draft = workspace / "draft.parquet"
        rows, bad_cells = _write_parquet(sources, schema, draft, limits, progress)
        _check_row_count(rows, limits.min_rows, sources)
        try:
            _replace_target(draft, target)
        except OSError as error:
            raise ImportFailed(_NOT_WRITTEN) from error
    nulls = sum((Counter(each.null_candidates) for each in bad_cells), Counter[str]())
    first = tuple(str(cell) for each in bad_cells for cell in each.first)[:_MAX_NAMED]
    return ImportResult(rows=rows, bytes=target.stat().st_size, nulls=nulls, first=first)


def _limit_progress(progress: Callable[[int], None]) -> Callable[[], None]:
    """Return a function that reports 0 rows to ``progress``, but not more often than it is due."""
    reported = time.monotonic()

    def report_step() -> None:
        nonlocal reported
        if time.monotonic() - reported >= _SECONDS_BETWEEN_REPORTS:
            reported = time.monotonic()
            progress(0)

    return report_step


def check_csv(
    file: CsvFile, schema: DatasetSchema, workspace: Path, *, memory_mb: int, unreadable_share: float
) -> None:
    """Raise ImportFailed if an import of the file alone would fail because of its content. Writes nothing.

    ``workspace`` is a folder for temporary files; the number of rows is not checked.
    """
    check_header(file, schema)
    try:
        found = _find_bad_cells([file], schema, workspace, memory_mb, lambda _: None)
    except duckdb.Error as error:
        raise ImportFailed(f"{_UNREAD}: {_get_first_line(error)}") from error
    if (reason := _format_reason(found)) and not _can_be_null(found, [file], unreadable_share):
        raise ImportFailed(reason)


def check_header(source: CsvFile, schema: DatasetSchema) -> None:
    """Raise ImportFailed unless the header names each column of the schema exactly once."""
    names = [column.upper() for column in source.header]
    if missing := [field.name for field in schema.fields if field.name.upper() not in names]:
        hint = f"Add them to the header of {source.name}, or use a schema without them."
        if len(names) == 1 and any(separator in names[0] for separator in ";\t|"):
            hint = f"The columns of {source.name} are not separated by commas; save it with commas."
        raise ImportFailed(f"Input CSV is missing the following columns:[{', '.join(missing)}]. {hint}")
    for declared in schema.fields:
        if names.count(declared.name.upper()) > 1:
            raise ImportFailed(f"The header of {source.name} names {declared.name} twice. Remove one of the columns.")


def _check_row_count(rows: int, min_rows: int, sources: Sequence[CsvFile]) -> None:
    names = ", ".join(source.name for source in sources[:3])
    if rows == 0:
        raise ImportFailed(f"There are no rows below the header of {names}. Import at least one row.")
    if rows < min_rows:
        raise ImportFailed(
            f"The files hold {rows} rows without duplicates; at least {min_rows} are needed. "
            f"Add more rows to {names} and create a new dataset import job."
        )


def _write_parquet(
    sources: Sequence[CsvFile],
    schema: DatasetSchema,
    draft: Path,
    limits: ImportLimits,
    progress: Callable[[int], None],
) -> tuple[int, Sequence[BadCellSummary]]:
    """Write the rows; return their number, and the cells that became null. Temporary files go to the draft's folder."""
    workspace, memory_mb = draft.parent, limits.memory_mb

    def copy_rows(*, unreadable_as_null: bool = False) -> int:
        rows_sql = _select_rows_sql(sources, schema, unreadable_as_null)
        query = f"COPY ({rows_sql}) TO {quote_literal(str(draft))} ({_get_parquet_options(schema)})"
        with _open_connection(workspace, memory_mb) as connection:
            rows = _run_copy(connection, query, sum(source.lines for source in sources), progress)
            _check_all_read(connection, sources)
        return rows

    try:
        try:
            return copy_rows(), ()
        except duckdb.InvalidInputException as error:
            found = _find_bad_cells(sources, schema, workspace, memory_mb, progress)
            if not _can_be_null(found, sources, limits.unreadable_share):
                raise ImportFailed(_format_reason(found) or f"{_UNREAD}: {_get_first_line(error)}") from error
            return copy_rows(unreadable_as_null=True), found
    except duckdb.OutOfMemoryException as error:
        raise ImportFailed(
            f"The import needs more than {memory_mb} MiB of memory, or more room for temporary files. Raise "
            "FORETASTE_IMPORT_MEMORY_MB, free disk space, or import fewer rows at a time."
        ) from error
    except duckdb.IOException as error:
        raise ImportFailed(_NOT_WRITTEN) from error
    except duckdb.Error as error:
        # The client can only mend the file, so every other error of DuckDB is reported as the file's.
        raise ImportFailed(f"{_UNREAD}: {_get_first_line(error)}") from error


def _get_first_line(error: duckdb.Error) -> str:
    return str(error).partition("\n")[0]


def _check_all_read(connection: duckdb.DuckDBPyConnection, sources: Sequence[CsvFile]) -> None:
    """Raise ImportFailed if DuckDB missed rows: it silently drops those that do not fit into its buffer."""
    ((read,),) = connection.execute(
        f"SELECT last_value FROM duckdb_sequences() WHERE sequence_name = '{ROWS_READ_SEQUENCE}'"
    ).fetchall()
    if (read or 0) == sum(source.rows for source in sources):
        return
    for source in sources:
        read, line = find_unread_row(connection, source)
        if line is not None:
            raise ImportFailed(
                f"{source.name} line {line}: the row could not be read; {read:,} of the file's {source.rows:,} rows "
                "were. Look for a quote that is not closed, or for an unusually long row."
            )
    raise ImportFailed(f"{_UNREAD}: they have changed while they were read.")


def _can_be_null(found: Sequence[BadCellSummary], sources: Sequence[CsvFile], share: float) -> bool:
    """Return whether the bad cells are so few, and in such columns, that they may become null."""
    if share <= 0 or not any(each.count for each in found) or not all(each.all_may_be_null for each in found):
        return False
    rows = sum(source.rows for source in sources)
    return sum(each.rows for each in found) <= max(share * rows, min(_FEW_ROWS, rows // 10))


def _open_connection(workspace: Path, memory_mb: int) -> duckdb.DuckDBPyConnection:
    memory_mb = max(memory_mb, _MIN_MEMORY_MB)
    connection = duckdb.connect(
        config={
            "memory_limit": f"{memory_mb - _MEMORY_OUTSIDE_DUCKDB_MB}MiB",
            "temp_directory": str(workspace / "spilled"),
            # Each thread needs memory for buffers of its own.
            "threads": max(1, min(available_cpus(), memory_mb // 256)),
            "autoload_known_extensions": False,
            "autoinstall_known_extensions": False,
        }
    )
    # query_progress() needs these settings, which belong to a connection, not to the database.
    connection.execute("SET enable_progress_bar = true; SET enable_progress_bar_print = false")
    connection.execute(f"SET progress_bar_time = 0; CREATE TEMP SEQUENCE {ROWS_READ_SEQUENCE}")
    return connection


def _run_copy(connection: duckdb.DuckDBPyConnection, query: str, lines: int, progress: Callable[[int], None]) -> int:
    """Run a COPY while this thread reports progress; return the number of rows written.

    An exception of ``progress`` ends the query.
    """
    [(rows,)] = run_cancellable_query(
        connection,
        lambda: connection.execute(query).fetchall(),
        lambda: progress(int(lines * max(connection.query_progress(), 0.0) / 100)),
        _SECONDS_BETWEEN_REPORTS,
    )
    progress(rows)
    return int(rows)


def _select_rows_sql(sources: Sequence[CsvFile], schema: DatasetSchema, unreadable_as_null: bool) -> str:
    """Return SQL for the checked, typed and sorted rows of all files without repeats.

    ROWS_READ_SEQUENCE counts the rows that are read.
    """
    has_nul = any(source.has_nul for source in sources)
    values = ", ".join(
        csv_rules.check_and_cast_sql(field, has_nul=has_nul, unreadable_as_null=unreadable_as_null)
        for field in schema.fields
    )
    columns = ", ".join(quote_identifier(field.name) for field in schema.fields)
    # row_number() OVER () streams: it numbers rows in the order of the files for any number of threads.
    # No field can be called "file order", as names have no spaces.
    counted = f"SELECT * FROM ({select_cells_sql(sources, schema)}) WHERE nextval('{ROWS_READ_SEQUENCE}') > 0"
    read = f'SELECT {values}, row_number() OVER () AS "file order" FROM ({counted})'
    if schema.key is None:
        once = f'SELECT {columns}, min("file order") AS "file order" FROM ({read}) GROUP BY {columns}'
        return f'SELECT {columns} FROM ({once}) ORDER BY "USER_ID", "TIMESTAMP", "file order"'
    last = f'row_number() OVER (PARTITION BY {schema.key} ORDER BY "file order" DESC) = 1'
    return f"SELECT {columns} FROM ({read}) QUALIFY {last} ORDER BY {schema.key}"


def _get_parquet_options(schema: DatasetSchema) -> str:
    # DuckDB keeps a row group in memory until it is written, and a text may have 20,000 characters.
    rows = 10_240 if any(field.textual for field in schema.fields) else 122_880
    return f"FORMAT parquet, ROW_GROUP_SIZE {rows}"


def _replace_target(draft: Path, target: Path) -> None:
    sync_to_disk(draft)
    os.replace(draft, target)
    sync_to_disk(target.parent)


def _find_bad_cells(
    sources: Sequence[CsvFile],
    schema: DatasetSchema,
    workspace: Path,
    memory_mb: int,
    progress: Callable[[int], None],
) -> Sequence[BadCellSummary]:
    """Return the bad cells of each file; ``progress`` gets the number of the file's lines."""
    found = []
    for source in sources:
        with _open_connection(workspace, memory_mb) as connection:
            find = partial(csv_errors.find_bad_cells, connection, source, schema)
            found.append(
                run_cancellable_query(connection, find, partial(progress, source.lines), _SECONDS_BETWEEN_REPORTS)
            )
    return found


def _format_reason(found: Sequence[BadCellSummary]) -> str | None:
    """Return the failure reason for the bad cells of all files; None without any, as when a file has changed."""
    return csv_errors.format_reason(found) if any(each.count for each in found) else None
