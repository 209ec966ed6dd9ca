"""CSV files of one dataset, checked against its schema and written as one sorted Parquet file.

One pass reads, checks, casts, sorts and writes within a memory limit, spilling beside the target. Only when it
fails are the files read again to say which cells are wrong and where they stand; where these are few, and may be null,
a third pass keeps them as null. What a cell must be stands in ``cells``, what a file must be in ``csv_file``; whether
there is enough data to train is not asked here.
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

import duckdb

from shared.data.cancellable_query import run_cancellable_query
from shared.data.csv import csv_errors, csv_file, csv_rules
from shared.data.csv.csv_errors import BadCellSummary
from shared.data.csv.csv_file import CsvError, CsvFile
from shared.data.csv.csv_sql import find_unread_row, quote_identifier, quote_literal, select_cells_sql
from shared.data.schemas import DatasetSchema
from shared.storage.artifacts import sync_to_disk
from shared.system.cpu_quota import available_cpus

_MEMORY_OUTSIDE_DUCKDB_MB = 160  # Python, the CSV and Parquet readers' own buffers: measured, see benchmarks/importing
_MIN_MEMORY_MB = 256
_SECONDS_BETWEEN_REPORTS = 0.5
_MAX_NAMED = 3  # cells that are null because they could not be read
_FEW_ROWS = 10
ROWS_READ_SEQUENCE = "rows_read"
"""A sequence: DuckDB's own way to count what has passed by, from several threads."""
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
    """What was written: `rows` without repeats, `bytes` of the Parquet file.

    `nulls` counts the cells by column that were empty or could not be read and are null; `first` names the first few.
    """

    rows: int
    bytes: int
    nulls: Mapping[str, int] = field(default_factory=dict)
    first: Sequence[str] = ()


def import_csv(
    files: Sequence[Path],
    schema: DatasetSchema,
    target: Path,
    *,
    memory_mb: int,
    progress: Callable[[int], None],
    min_rows: int = 0,
    unreadable_share: float = 0.0,
) -> ImportResult:
    """Import `files` into the new Parquet file `target`, with the columns of `schema`, named as declared there.

    Events (interactions) are sorted by USER_ID, TIMESTAMP, then by their order in the files; those alike in all
    columns count once, where the first of them stood. Users, items and actions are sorted by their id, by code
    point; the last row of an id wins. Fewer than `min_rows` rows after that are refused.

    A cell that is empty where the schema does not allow null, or cannot be read as its column's type, ends the import;
    but in columns other than ids and TIMESTAMP it is null where no more than `unreadable_share` of the rows have one.
    Of a few rows that would be none: up to ten may have one where these are no more than a tenth.

    `memory_mb` bounds the resident memory of the process, in MiB, and is at least 256. `progress` is called in
    the caller's thread about twice a second with the rows done so far, an estimate over reading, sorting and
    writing, and while the files are looked over, but only when something was done since; what it raises ends the
    import. `target` appears whole or not at all, and is on the disk when this returns. Raises ImportFailed.
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
        rows, forgiven = _write_parquet(sources, schema, draft, workspace, memory_mb, progress, unreadable_share)
        _check_row_count(rows, min_rows, sources)
        try:
            _replace_target(draft, target)
        except OSError as error:
            raise ImportFailed(_NOT_WRITTEN) from error
    nulls = sum((Counter(each.null_candidates) for each in forgiven), Counter[str]())
    first = tuple(str(cell) for each in forgiven for cell in each.first)[:_MAX_NAMED]
    return ImportResult(rows=rows, bytes=target.stat().st_size, nulls=nulls, first=first)


def _limit_progress(progress: Callable[[int], None]) -> Callable[[], None]:
    """Tells as often as ``progress`` is to be told that the import goes on, while it has no rows yet."""
    told = time.monotonic()

    def on_step() -> None:
        nonlocal told
        if time.monotonic() - told >= _SECONDS_BETWEEN_REPORTS:
            told = time.monotonic()
            progress(0)

    return on_step


def check_csv(
    file: CsvFile, schema: DatasetSchema, workspace: Path, *, memory_mb: int, unreadable_share: float
) -> None:
    """Raises ImportFailed where an import of the file alone would fail for what the file holds. Writes nothing.

    ``workspace`` is a folder for what need not be kept; whether there are enough rows is not asked.
    """
    check_header(file, schema)
    try:
        found = _find_bad_cells([file], schema, workspace, memory_mb, lambda _: None)
    except duckdb.Error as error:
        raise ImportFailed(f"{_UNREAD}: {_get_first_line(error)}") from error
    if (reason := _format_reason(found)) and not _can_be_null(found, [file], unreadable_share):
        raise ImportFailed(reason)


def check_header(source: CsvFile, schema: DatasetSchema) -> None:
    """Are all columns of the schema there, once? Raises ImportFailed."""
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
    workspace: Path,
    memory_mb: int,
    progress: Callable[[int], None],
    unreadable_share: float,
) -> tuple[int, Sequence[BadCellSummary]]:
    """Rows written, and the cells that were kept as null."""

    def copy(*, forgiving: bool = False) -> int:
        query = f"COPY ({_select_rows_sql(sources, schema, forgiving)}) TO {quote_literal(str(draft))} ({_get_parquet_options(schema)})"
        with _open_connection(workspace, memory_mb) as connection:
            rows = _run_copy(connection, query, sum(source.lines for source in sources), progress)
            _check_all_read(connection, sources)
        return rows

    try:
        try:
            return copy(), ()
        except duckdb.InvalidInputException as error:
            found = _find_bad_cells(sources, schema, workspace, memory_mb, progress)
            if not _can_be_null(found, sources, unreadable_share):
                raise ImportFailed(_format_reason(found) or f"{_UNREAD}: {_get_first_line(error)}") from error
            return copy(forgiving=True), found
    except duckdb.OutOfMemoryException as error:
        raise ImportFailed(
            f"The import needs more than {memory_mb} MiB of memory, or more room for temporary files. Raise "
            "FORETASTE_IMPORT_MEMORY_MB, free disk space, or import fewer rows at a time."
        ) from error
    except duckdb.IOException as error:
        raise ImportFailed(_NOT_WRITTEN) from error
    except duckdb.Error as error:
        # Whatever else DuckDB cannot do with a file is a fault of the file to whoever sent it.
        raise ImportFailed(f"{_UNREAD}: {_get_first_line(error)}") from error


def _get_first_line(error: duckdb.Error) -> str:
    return str(error).partition("\n")[0]


def _check_all_read(connection: duckdb.DuckDBPyConnection, sources: Sequence[CsvFile]) -> None:
    """Raises ImportFailed where DuckDB has read another number of rows than there are: it drops what it can't hold."""
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
                "were. Look for a quote that is not closed, or for a row that is longer than others."
            )
    raise ImportFailed(f"{_UNREAD}: they have changed while they were read.")


def _can_be_null(found: Sequence[BadCellSummary], sources: Sequence[CsvFile], share: float) -> bool:
    """Are these so few, and in such columns, that the import goes on without them?"""
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
            # Each thread holds buffers of its own.
            "threads": max(1, min(available_cpus(), memory_mb // 256)),
            "autoload_known_extensions": False,
            "autoinstall_known_extensions": False,
        }
    )
    # Without these there is no query_progress(); they belong to a connection, not to the database.
    connection.execute("SET enable_progress_bar = true; SET enable_progress_bar_print = false")
    connection.execute(f"SET progress_bar_time = 0; CREATE TEMP SEQUENCE {ROWS_READ_SEQUENCE}")
    return connection


def _run_copy(connection: duckdb.DuckDBPyConnection, query: str, lines: int, progress: Callable[[int], None]) -> int:
    """Run a COPY while this thread reports, and end it when reporting raises. Rows written."""
    [(rows,)] = run_cancellable_query(
        connection,
        lambda: connection.execute(query).fetchall(),
        lambda: progress(int(lines * max(connection.query_progress(), 0.0) / 100)),
        _SECONDS_BETWEEN_REPORTS,
    )
    progress(rows)
    return int(rows)


def _select_rows_sql(sources: Sequence[CsvFile], schema: DatasetSchema, forgiving: bool) -> str:
    """SQL: the checked, typed and sorted rows of all files without repeats; the rows read are counted by READ."""
    has_nul = any(source.has_nul for source in sources)
    values = ", ".join(
        csv_rules.check_and_cast_sql(field, has_nul=has_nul, unreadable_as_null=forgiving) for field in schema.fields
    )
    columns = ", ".join(quote_identifier(field.name) for field in schema.fields)
    # row_number() OVER () streams: it numbers rows in the order of the files, whatever the number of threads.
    # No field can be called "file order": names have no spaces.
    counted = f"SELECT * FROM ({select_cells_sql(sources, schema)}) WHERE nextval('{ROWS_READ_SEQUENCE}') > 0"
    read = f'SELECT {values}, row_number() OVER () AS "file order" FROM ({counted})'
    if schema.key is None:
        once = f'SELECT {columns}, min("file order") AS "file order" FROM ({read}) GROUP BY {columns}'
        return f'SELECT {columns} FROM ({once}) ORDER BY "USER_ID", "TIMESTAMP", "file order"'
    last = f'row_number() OVER (PARTITION BY {schema.key} ORDER BY "file order" DESC) = 1'
    return f"SELECT {columns} FROM ({read}) QUALIFY {last} ORDER BY {schema.key}"


def _get_parquet_options(schema: DatasetSchema) -> str:
    # A row group is held in memory while it is written, and a text may have 20,000 characters.
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
    """Of each file, with the number of its lines for progress."""
    found = []
    for source in sources:
        with _open_connection(workspace, memory_mb) as connection:
            find = partial(csv_errors.find_bad_cells, connection, source, schema)
            found.append(
                run_cancellable_query(connection, find, partial(progress, source.lines), _SECONDS_BETWEEN_REPORTS)
            )
    return found


def _format_reason(found: Sequence[BadCellSummary]) -> str | None:
    """Words for the bad cells of all files; None when there are none, as when a file was changed meanwhile."""
    return csv_errors.format_reason(found) if any(each.count for each in found) else None
