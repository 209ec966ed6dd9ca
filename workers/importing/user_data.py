"""The data of named users in the datasets of a group: counted, and then deleted. Deleting twice changes nothing."""

# ruff: noqa: S608 -- files are quoted, and columns are written here

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shared.data.csv.csv_sql import quote_literal
from shared.data.duckdb_session import DuckDBSession, read_parquet_sql
from shared.data.live_files import LiveFileWriter
from shared.resources import ResourceReader
from shared.resources.dataset_import_job import ROWS
from shared.state.lifecycle import ACTIVE
from shared.storage.artifacts import Artifacts
from shared.store import Record, Store
from workers.importing.named_users import AGAIN, NamedUsers

EVENT_TYPES = ("INTERACTIONS", "ACTION_INTERACTIONS")
USERS = "USERS"
_IDS_AT_ONCE = 10_000


@dataclass(frozen=True)
class UserData:
    """The data of the users in one dataset. ``workspace`` outlives an attempt.

    ``count_records`` comes first, and a second call counts only before the first ``delete_records``. Both raise
    ArtifactDamaged and DataRefused. ``on_step`` is called during the work, and may raise to end it.
    """

    dataset: Record
    users: NamedUsers
    requested: float
    """When the deletion was requested (epoch seconds): later imports stay as they are."""
    reader: ResourceReader
    store: Store
    artifacts: Artifacts
    workspace: Path
    on_step: Callable[[], None]

    @property
    def holds_events(self) -> bool:
        return self.dataset.body["datasetType"] in EVENT_TYPES

    def count_records(self) -> int:
        """Return how many imported rows, live events and put records are the users'."""
        with self._open_database() as database:
            imported = sum(self._count_rows(self._get_rows(job), database) for job in self._list_imports())
            live = self._count_live_events(database) if self.holds_events else 0
        return imported + live + self._count_put_records()

    def delete_records(self) -> None:
        for job in self._list_imports():
            self._rewrite_import(job)
        if self.holds_events:
            self._delete_live_events()
        elif self.dataset.body["datasetType"] == USERS:
            for ids in self.users.iter_batches():
                self.on_step()
                self.store.remove_put_records(self.dataset.arn, ids)

    def remove_replaced_files(self) -> None:
        """Remove the files of live events that this job or a compaction has replaced: no reader needs them any more."""
        if self.holds_events:
            with self._open_writer() as writer:
                writer.remove_garbage(keep_seconds=0.0)

    @contextmanager
    def _open_database(self) -> Iterator[DuckDBSession]:
        memory_mb = self.reader.settings.import_memory_mb
        with (
            tempfile.TemporaryDirectory(dir=self.workspace) as scratch,
            DuckDBSession(memory_mb=memory_mb, scratch=Path(scratch), on_step=self.on_step, again=AGAIN) as database,
        ):
            yield database

    # Imported rows

    def _list_imports(self) -> list[Record]:
        """Return the imports that were requested before the deletion, older ones too: versions may train on them."""
        jobs = self.reader.iter_children("dataset_import_job", self.dataset.arn)
        return [job for job in jobs if job.status == ACTIVE and job.created < self.requested]

    def _get_rows(self, job: Record) -> Path:
        self.artifacts.restore_artifact(job.arn)
        return self.artifacts.open_artifact(job.arn) / ROWS

    def _count_rows(self, rows: Path, database: DuckDBSession) -> int:
        [(count,)] = database.fetch_rows(
            f"SELECT count(*) FROM {read_parquet_sql([rows])} WHERE {self._named('USER_ID')}"
        )
        return int(count)

    def _named(self, column: str) -> str:
        """Return SQL that is true where the column names one of the users."""
        return f"{column}::VARCHAR IN (SELECT id FROM read_parquet({quote_literal(str(self.users.table))}))"

    def _rewrite_import(self, job: Record) -> None:
        rows = self._get_rows(job)
        with self._open_database() as database:
            if not self._count_rows(rows, database):
                return
            with self.artifacts.fill_replacement(job.arn) as folder:
                database.execute("SET preserve_insertion_order = true")
                database.execute(
                    f"COPY (SELECT * FROM {read_parquet_sql([rows])} WHERE NOT {self._named('USER_ID')}) "
                    f"TO {quote_literal(str(folder / ROWS))} (FORMAT parquet)"
                )
        self.artifacts.swap_replacement(job.arn)

    # Live events

    @property
    def _sessions(self) -> Path:
        """The sessions of the users whose other events name no user: trainings take those for the user's."""
        return self.workspace / "sessions.parquet"

    @property
    def _event_ids(self) -> Path:
        return self.workspace / "event_ids.parquet"

    @property
    def _is_users_event(self) -> str:
        """SQL that is true for a live event of the users, or of a session whose user is one of them."""
        sessions = f"SELECT id FROM read_parquet({quote_literal(str(self._sessions))})"
        return f"({self._named('user_id')} OR (user_id = session_id AND session_id IN ({sessions})))"

    def _open_writer(self) -> LiveFileWriter:
        memory_mb = self.reader.settings.import_memory_mb
        return LiveFileWriter(self.store, self.artifacts, self.dataset.arn, memory_mb=memory_mb, on_step=self.on_step)

    def _count_live_events(self, database: DuckDBSession) -> int:
        """Move the stream to files, count the users' events, and write down their sessions and event ids."""
        with self._open_writer() as writer:
            writer.compact_stream()
            writer.sweep_moved_generations()
            paths = [writer.get_path(file) for file in writer.list_files()]
        events = read_parquet_sql(paths) if paths else "(SELECT NULL::VARCHAR AS user_id LIMIT 0)"
        named = "arg_max(user_id, ms::HUGEINT * 1_000_000_000 + seq) FILTER (user_id <> session_id)"
        sessions = f"SELECT session_id AS id, {named} AS named FROM {events} GROUP BY session_id"
        ids = f"SELECT DISTINCT event ->> '$.event_id' AS id FROM {events} WHERE {self._is_users_event}"
        if not paths:
            sessions, ids = (
                "SELECT NULL::VARCHAR AS id, NULL::VARCHAR AS named LIMIT 0",
                "SELECT ''::VARCHAR AS id LIMIT 0",
            )
        self._write_ids(database, f"SELECT id FROM ({sessions}) WHERE {self._named('named')}", self._sessions)
        self._write_ids(database, f"SELECT id FROM ({ids}) WHERE id IS NOT NULL", self._event_ids)
        if not paths:
            return 0
        [(count,)] = database.fetch_rows(f"SELECT count(*) FROM {events} WHERE {self._is_users_event}")
        return int(count)

    def _write_ids(self, database: DuckDBSession, ids: str, target: Path) -> None:
        database.execute(f"COPY ({ids}) TO {quote_literal(str(target))} (FORMAT parquet)")

    def _delete_live_events(self) -> None:
        with self._open_writer() as writer:
            # An attempt that died may have left the users' newest events in the store.
            writer.sweep_moved_generations()
            for file in writer.list_files():
                with self._open_database() as database:
                    events = read_parquet_sql([writer.get_path(file)])
                    [(count,)] = database.fetch_rows(f"SELECT count(*) FROM {events} WHERE {self._is_users_event}")
                if count:
                    writer.rewrite_file(file, f"NOT {self._is_users_event}")
        for ids in self._iter_ids(self._event_ids):
            self.store.forget_event_ids(self.dataset.arn, ids)

    def _iter_ids(self, table: Path) -> Iterator[list[str]]:
        with self._open_database() as database:
            for batch in database.iter_batches(f"SELECT id FROM {read_parquet_sql([table])}", _IDS_AT_ONCE):
                yield [id_ for (id_,) in batch]

    # Put records

    def _count_put_records(self) -> int:
        if self.dataset.body["datasetType"] != USERS:
            return 0
        count = 0
        for record in self.store.iter_put_records(self.dataset.arn):
            self.on_step()
            count += self.users.ids.find(record.id) is not None
        return count
