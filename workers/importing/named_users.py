"""The users that a data deletion job names: read once from the CSV files, and kept in the job's workspace."""

# ruff: noqa: S608 -- files are quoted

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import duckdb

from shared.data.arrays.mmap_arrays import ArrayFile, ArrayFileWriter, MappedStrings
from shared.data.csv.csv_file import CsvError, CsvFile, prepare_csv_file
from shared.data.csv.csv_sql import quote_literal, select_all_cells_sql
from shared.data.duckdb_session import DuckDBSession
from shared.jobs.entrypoint import WorkFailed
from shared.storage.artifacts import sync_to_disk
from shared.storage.bucket_locations import CSV_TREE
from shared.storage.buckets import Buckets

_IDS_AT_ONCE = 2**14
_COLUMN = "USER_ID"
AGAIN = "create a new data deletion job"


@dataclass(frozen=True)
class NamedUsers:
    """The distinct ids that the files name, sorted; ``table`` is Parquet with the column ``id``."""

    ids: MappedStrings
    table: Path

    @classmethod
    def open(cls, folder: Path) -> Self:
        return cls(ArrayFile.open(folder / "ids").get_strings("ids"), folder / "ids.parquet")

    def iter_batches(self) -> Iterator[list[str]]:
        for begin in range(0, len(self.ids), _IDS_AT_ONCE):
            yield [self.ids[number] for number in range(begin, min(begin + _IDS_AT_ONCE, len(self.ids)))]


@dataclass(frozen=True, kw_only=True)
class UserListLimits:
    """The operator's limits of reading the files."""

    memory_mb: int
    megabytes: int
    """The maximum size of all files together, MiB."""


def read_named_users(
    location: str, buckets: Buckets, folder: Path, limits: UserListLimits, on_step: Callable[[], None]
) -> NamedUsers:
    """Read the files at a location into ``folder``, or open the folder of an earlier attempt.

    Raises WorkFailed, DataRefused and BucketError, whose messages are failure reasons.
    """
    if not folder.exists():
        draft = folder.with_name(f"{folder.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        with (
            tempfile.TemporaryDirectory(dir=folder.parent) as scratch,
            buckets.fetch_files(location, Path(scratch) / "files", on_step, selection=CSV_TREE) as paths,
        ):
            _check_size(paths, limits.megabytes)
            files = _prepare_files(paths, Path(scratch), on_step)
            with DuckDBSession(
                memory_mb=limits.memory_mb, scratch=Path(scratch), on_step=on_step, again=AGAIN
            ) as database:
                _write_ids(files, draft, database)
        for path in draft.iterdir():
            sync_to_disk(path)
        draft.rename(folder)
        sync_to_disk(folder.parent)
    return NamedUsers.open(folder)


def _check_size(paths: Sequence[Path], megabytes: int) -> None:
    size = sum(path.stat().st_size for path in paths)
    if size > megabytes << 20:
        raise WorkFailed(
            f"The files that name the users have {size / 2**20:.1f} MiB together; at most {megabytes} MiB are read "
            "(FORETASTE_DATA_DELETION_MB). Name the users in several jobs."
        )


def _prepare_files(paths: Sequence[Path], scratch: Path, on_step: Callable[[], None]) -> list[CsvFile]:
    try:
        files = [prepare_csv_file(path, scratch, on_step) for path in paths]
    except CsvError as error:
        raise WorkFailed(str(error)) from error
    for file in files:
        named = [column.upper() for column in file.header].count(_COLUMN)
        if named != 1:
            problem = "names USER_ID more than once" if named else "has no column USER_ID"
            raise WorkFailed(f"The header of {file.name} {problem}. Give one column with the ids of the users.")
    return files


def _write_ids(files: Sequence[CsvFile], folder: Path, database: DuckDBSession) -> None:
    """Write the ids of the files. Raises WorkFailed where a file can't be read or names no user."""
    database.execute("CREATE TABLE named (id VARCHAR)")
    for file in files:
        try:
            cells = f"SELECT {_COLUMN} FROM ({select_all_cells_sql(file)})"
            [(read,)] = database.fetch_rows(f"INSERT INTO named {cells}")
        except duckdb.Error as error:
            raise WorkFailed(f"{file.name} can't be read as CSV: {str(error).partition(chr(10))[0]}") from error
        if read != file.rows:
            raise WorkFailed(
                f"{file.name} can't be read as CSV: {read} of its {file.rows} rows were read. Look for a quote that "
                "is not closed."
            )
    database.execute("CREATE TABLE ids AS SELECT DISTINCT id FROM named WHERE id <> ''")
    ordered = "SELECT id FROM ids ORDER BY id"
    database.execute(f"COPY ({ordered}) TO {quote_literal(str(folder / 'ids.parquet'))} (FORMAT parquet)")
    with ArrayFileWriter(folder / "ids") as writer:
        batches = database.iter_batches(ordered, _IDS_AT_ONCE)
        count = writer.add_strings("ids", ([id_ for (id_,) in batch] for batch in batches))
    if not count:
        names = ", ".join(file.name for file in files[:3])
        raise WorkFailed(f"There are no ids in the column USER_ID of {names}. Name at least one user.")
