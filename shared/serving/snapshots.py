"""Snapshots of the datasets of a group as they are now. Filters and metadata read newer data than models train on.

A snapshot is made from the current imports and the records put since, once for each state of a dataset, under
``work/<dataset>`` among the artifacts, where all processes of a machine find it. docs/decisions/010 says why.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import orjson
import structlog

from shared.aws.errors import ResourceNotFound
from shared.data import schemas, streamed_records
from shared.data.arrays.histories import DataRefused
from shared.data.duckdb_session import DuckDBSession
from shared.resources import ResourceReader
from shared.resources.dataset_group.purges import count_purges
from shared.resources.dataset_import_job import ROWS, iter_current_jobs
from shared.serving import dataset_snapshot, user_event_index
from shared.serving.dataset_snapshot import Snapshot
from shared.serving.live_events import LiveEventReader
from shared.serving.user_event_index import UserEventIndex
from shared.storage.artifacts import ArtifactDamaged, Artifacts, sync_to_disk
from shared.store import Record, Store
from shared.store.quarantine import Quarantine

log = structlog.get_logger()

#: The number of interactions of a user and event type that AWS's filters consider, by the dataset's type.
MOST_EVENTS: Mapping[str, int] = {"INTERACTIONS": 100, "ACTION_INTERACTIONS": 300}

#: A new state is read after at least so many times the duration of the last reader, which limits the load of reader.
PACE = 10.0
#: Types of datasets that deletions of users leave as they are.
WITHOUT_USERS = frozenset({"ITEMS", "ACTIONS"})
#: How the names of the files under ``work/<dataset>`` begin.
_FILE_PREFIXES: Mapping[type[Snapshot] | type[UserEventIndex], str] = {Snapshot: "snapshot-", UserEventIndex: "seen-"}
_DRAFTS = "draft-"
_STALE_SECONDS = 3600.0


def remove_older_files(folder: Path, before: float) -> None:
    """Remove the snapshots and drafts in ``work/<dataset>`` that were written before a time (epoch seconds).

    Processes that have mapped a snapshot still read it.
    """
    for family in (*_FILE_PREFIXES.values(), _DRAFTS):
        for path in folder.glob(f"{family}*"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()


class SnapshotUnreadable(Exception):
    """The data of a dataset can't be read now; the message says why."""


class SnapshotMissing(Exception):
    """The snapshot is not made yet, which takes long."""


@dataclass(frozen=True, kw_only=True)
class DatasetState:
    """The imports and put records of a dataset at one moment."""

    dataset: Record
    schema: Mapping[str, str]
    """The members of its schema."""
    jobs: Sequence[Record]
    """Its current imports, the older ones first."""
    put: float
    """When its newest put record arrived (epoch seconds); 0.0 for none."""
    purges: int | None
    """How often users were deleted from its group; None where the dataset holds no users."""

    @property
    def name(self) -> str:
        """32 hexadecimal digits, the same for the same state."""
        made_of = [self.schema["schemaArn"], self.put, *((job.arn, job.updated) for job in self.jobs)]
        if self.purges:
            made_of.append(self.purges)
        return hashlib.sha256(orjson.dumps(made_of)).hexdigest()[:32]


@dataclass(frozen=True, kw_only=True)
class _OpenSnapshot:
    """An open snapshot or event index of a dataset."""

    opened: Snapshot | UserEventIndex
    name: str
    purges: int | None
    began: float
    seconds: float
    """How long it took to open or make."""


class SnapshotCache:
    """Opens a snapshot at its first use, and keeps it until ``refresh_all`` finds that the dataset has changed.

    Making a snapshot may take minutes: callers that must not wait pass ``make=False``.
    """

    def __init__(
        self,
        reader: ResourceReader,
        store: Store,
        artifacts: Artifacts,
        on_step: Callable[[], None] = streamed_records.ignore_step,
    ) -> None:
        """``on_step`` is called at every step of the work while a snapshot is made."""
        self.live_events = LiveEventReader(store, artifacts)
        self._reader = reader
        self._store = store
        self._artifacts = artifacts
        self._on_step = on_step
        self._held: dict[tuple[type[Snapshot] | type[UserEventIndex], str], _OpenSnapshot] = {}
        # One snapshot at a time: each may use all the memory of its setting.
        self._making = threading.Lock()

    def open_rows(self, dataset_arn: str, *, make: bool = True) -> Snapshot | None:
        """Return the rows of an Items, Users or Actions dataset; None where there is none.

        Raises SnapshotUnreadable, and SnapshotMissing where ``make`` is False.
        """
        found = self._get_open(Snapshot, dataset_arn, make=make)
        return found if isinstance(found, Snapshot) else None

    def open_event_index(self, dataset_arn: str, *, make: bool = True) -> UserEventIndex | None:
        """Return the imported events of an Interactions or Action_Interactions dataset. Raises as ``open_rows``."""
        found = self._get_open(UserEventIndex, dataset_arn, make=make)
        return found if isinstance(found, UserEventIndex) else None

    def _get_open(
        self, kind: type[Snapshot] | type[UserEventIndex], dataset_arn: str, *, make: bool
    ) -> Snapshot | UserEventIndex | None:
        held = self._held.get((kind, dataset_arn))
        if held is not None:
            return held.opened
        if not make:
            if self._find_state(kind, dataset_arn) is None:
                return None
            raise SnapshotMissing(dataset_arn)
        with self._making:
            held = self._held.get((kind, dataset_arn))
            if held is None:
                state = self._find_state(kind, dataset_arn)
                if state is None:
                    return None
                held = self._held[kind, dataset_arn] = self._make_open(kind, state)
            return held.opened

    def refresh_all(self, quarantine: Quarantine, purges: Mapping[str, int]) -> None:
        """Replace the snapshots whose datasets have changed. One that can't be read stays as it was.

        ``purges`` holds the counts of the groups from which users were deleted: their data are read again at once.
        """
        self.live_events.refresh_all(quarantine)
        for (kind, dataset_arn), held in list(self._held.items()):
            purged = self._is_outdated(dataset_arn, held, purges)
            if purged or time.monotonic() >= held.began + PACE * held.seconds:
                quarantine.run_unless_quarantined(dataset_arn, partial(self._refresh_one, kind, dataset_arn, held))

    def list_outdated(self, purges: Mapping[str, int]) -> set[str]:
        """Return the datasets of which a snapshot in memory is older than the deletion of users from their group."""
        outdated = {arn for (_, arn), held in list(self._held.items()) if self._is_outdated(arn, held, purges)}
        return outdated | (self.live_events.list_outdated() if purges else set())

    def _is_outdated(self, dataset_arn: str, held: _OpenSnapshot, purges: Mapping[str, int]) -> bool:
        dataset = self._store.get(dataset_arn) if purges and held.purges is not None else None
        return dataset is not None and (held.purges or 0) < purges.get(dataset.body.get("datasetGroupArn", ""), 0)

    def _refresh_one(self, kind: type[Snapshot] | type[UserEventIndex], dataset_arn: str, held: _OpenSnapshot) -> None:
        state = self._find_state(kind, dataset_arn)
        if state is None:
            del self._held[kind, dataset_arn]
        elif state.name != held.name:
            began = time.monotonic()
            try:
                with self._making:
                    self._held[kind, dataset_arn] = self._make_open(kind, state)
            except SnapshotUnreadable as error:
                took = time.monotonic() - began
                self._held[kind, dataset_arn] = replace(held, began=began, seconds=took)
                log.warning("snapshot not refreshed, older data in use", dataset=dataset_arn, reason=str(error))

    def refresh_rows(self, dataset_arn: str) -> bool:
        """Open the rows of a dataset, or replace them where it has changed. Raises SnapshotUnreadable.

        Return False where the open rows are older than the dataset and it is too early to read it again.
        """
        held = self._held.get((Snapshot, dataset_arn))
        state = self._find_state(Snapshot, dataset_arn)
        if state is None:
            self._held.pop((Snapshot, dataset_arn), None)
        elif held is None or state.name != held.name:
            if held is not None and time.monotonic() < held.began + PACE * held.seconds:
                return False
            with self._making:
                self._held[Snapshot, dataset_arn] = self._make_open(Snapshot, state)
        return True

    def _find_state(self, kind: type[Snapshot] | type[UserEventIndex], dataset_arn: str) -> DatasetState | None:
        dataset = self._store.get(dataset_arn)
        if dataset is None:
            return None
        try:
            schema = self._reader.find_record(dataset.body["schemaArn"], "schema").body
        except ResourceNotFound:  # both are being deleted
            return None
        return DatasetState(
            dataset=dataset,
            schema={**schema, "schemaArn": dataset.body["schemaArn"]},
            jobs=list(reversed(list(iter_current_jobs(dataset_arn, self._reader)))),
            put=self._store.get_last_put(dataset_arn) if kind is Snapshot else 0.0,
            purges=self._count_purges(dataset),
        )

    def _make_open(self, kind: type[Snapshot] | type[UserEventIndex], state: DatasetState) -> _OpenSnapshot:
        began = time.monotonic()
        try:
            while (opened := self._open_or_make(kind, state)) is None:
                found = self._find_state(kind, state.dataset.arn)
                if found is None:
                    raise SnapshotUnreadable(f"{state.dataset.arn} was deleted.")
                state = found
        except (ArtifactDamaged, DataRefused, OSError, ValueError) as error:
            raise SnapshotUnreadable(f"{state.dataset.arn} can't be read: {error}") from error
        seconds = time.monotonic() - began
        return _OpenSnapshot(opened=opened, name=state.name, purges=state.purges, began=began, seconds=seconds)

    def _open_or_make(
        self, kind: type[Snapshot] | type[UserEventIndex], state: DatasetState
    ) -> Snapshot | UserEventIndex | None:
        """Open the file of this state; make it where it is missing or incomplete.

        None, and no file, where users were deleted from the group in the meantime.
        """
        family = _FILE_PREFIXES[kind]
        target = self._artifacts.create_workspace(state.dataset.arn) / f"{family}{state.name}"
        with contextlib.suppress(OSError, ValueError):
            return kind.open(target)
        if not self._make_file(target, self._write_rows if kind is Snapshot else self._write_event_index, state):
            return None
        for older in target.parent.glob(f"{family}*"):
            if older != target:
                older.unlink(missing_ok=True)  # processes that have mapped it still read it
        return kind.open(target)

    def _make_file(
        self, target: Path, write: Callable[[Path, DatasetState, DuckDBSession], None], state: DatasetState
    ) -> bool:
        """Make the file; return False, and leave none, where users were deleted from the group in the meantime."""
        for draft in target.parent.glob(f"{_DRAFTS}*"):
            if draft.stat().st_mtime < time.time() - _STALE_SECONDS:
                shutil.rmtree(draft, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=_DRAFTS, dir=target.parent) as draft_folder:
            scratch = Path(draft_folder)
            memory_mb = self._reader.settings.import_memory_mb
            with DuckDBSession(memory_mb=memory_mb, scratch=scratch, on_step=self._on_step) as database:
                write(scratch / "made", state, database)
            sync_to_disk(scratch / "made")
            if self._was_purged(state):
                return False
            (scratch / "made").rename(target)
        # The deletion of users removes older files once; this one may have appeared after that.
        if self._was_purged(state):
            target.unlink(missing_ok=True)
            return False
        log.info("snapshot made", dataset=state.dataset.arn, mib=target.stat().st_size >> 20)
        return True

    def _was_purged(self, state: DatasetState) -> bool:
        return self._count_purges(state.dataset) != state.purges

    def _count_purges(self, dataset: Record) -> int | None:
        if dataset.body["datasetType"] in WITHOUT_USERS:
            return None
        return count_purges(dataset.body.get("datasetGroupArn", ""), self._store)

    def _write_rows(self, target: Path, state: DatasetState, database: DuckDBSession) -> None:
        """Write the newest row of each id, imported or put."""
        text, domain = state.schema["schema"], state.schema.get("domain")
        between = streamed_records.write_records(
            self._store.iter_put_records(state.dataset.arn),
            schemas.parse_schema(text, domain=domain),
            database.scratch / "put",
            [job.created for job in state.jobs],
        )
        imported = [*self._list_files(state), None]
        files = [file for pair in zip(between, imported, strict=True) for file in pair if file is not None]
        dataset_snapshot.write_snapshot(target, text, domain, files, database)

    def _write_event_index(self, target: Path, state: DatasetState, database: DuckDBSession) -> None:
        dataset_type = state.dataset.body["datasetType"]
        item = "ACTION_ID" if dataset_type == "ACTION_INTERACTIONS" else "ITEM_ID"
        imported = max((job.updated for job in state.jobs), default=0.0)
        user_event_index.write_index(
            target, self._list_files(state), item, MOST_EVENTS[dataset_type], imported, database
        )

    def _list_files(self, state: DatasetState) -> list[Path]:
        return [self._artifacts.open_artifact(job.arn) / ROWS for job in state.jobs]
