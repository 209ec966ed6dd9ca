"""The job process of a data deletion job: deletes the users that CSV files name from a dataset group.

1. The ids are read once. Imports and deletions that were requested earlier end first.
2. The users' records are counted, and only then deleted: so each attempt reports the same number.
3. Trainings and other jobs that may have read the records by then end; later ones can't read them any more.
4. The users are removed from the models, and the runtimes read these again.
5. Files that may still hold the ids are removed, and Redis rewrites its log.

Every step may be repeated. A step that waits gives the worker back (WorkPostponed).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson
import structlog

from shared import settings
from shared.data.arrays.histories import DataRefused
from shared.data.live_files import WriterReplaced
from shared.jobs.entrypoint import ReportProgress, WorkFailed, WorkPostponed, WorkStopped, run_jobs
from shared.observability import logging
from shared.recipes.user_removal import knows_any_user, write_without_users
from shared.resources import ResourceReader
from shared.resources.dataset_group.purges import raise_purges
from shared.resources.resource_type import is_terminal
from shared.serving.snapshots import remove_older_files
from shared.settings import Settings
from shared.state.lifecycle import ACTIVE
from shared.state.messages import DeleteUsers
from shared.storage.artifacts import ArtifactDamaged, Artifacts, replace_file
from shared.storage.bucket_locations import BucketError
from shared.storage.buckets import open_buckets
from shared.store import Record, Store
from shared.store.redis import RedisStore
from shared.store.user_removal import LogNotRewritten
from workers.importing.named_users import NamedUsers, UserListLimits, read_named_users
from workers.importing.running_work import list_group_records, list_running_work
from workers.importing.user_data import EVENT_TYPES, USERS, UserData

log = structlog.get_logger()

#: How long this process waits for the runtimes before it gives its worker back (seconds).
PATIENCE = 5.0
POLL_SECONDS = 0.2
MODELS = ("solution_version", "recommender_version")


def delete_users(
    arn: str, _attempt: int, progress: ReportProgress, should_stop: Callable[[], bool]
) -> Mapping[str, Any]:
    """``shared.jobs.entrypoint.Job``: delete the users, and return the number of records deleted."""
    configured = settings.load()
    store = RedisStore(configured.redis_url)

    def on_step() -> None:
        if should_stop():
            raise WorkStopped

    artifacts = Artifacts(configured.artifacts, on_block=on_step)
    reader = ResourceReader(store, configured)
    job = reader.find_record(arn, "data_deletion_job")
    try:
        return {"numDeleted": Deletion(job, reader, store, artifacts, configured, progress, on_step).run()}
    except (ArtifactDamaged, BucketError, DataRefused, LogNotRewritten) as error:
        raise WorkFailed(str(error)) from error
    except WriterReplaced as error:
        # A compaction of live events has begun: after it the rest is done.
        raise WorkPostponed from error


@dataclass(frozen=True)
class Deletion:
    """One data deletion job. ``on_step`` is called during the work, and may raise to end it."""

    job: Record
    reader: ResourceReader
    store: Store
    artifacts: Artifacts
    configured: Settings
    progress: ReportProgress
    on_step: Callable[[], None]

    def run(self) -> int:
        """Return the number of records deleted. Raises WorkPostponed, WorkFailed and the errors of the data."""
        if (ended := self._read_note("ended")) is None:
            ended = {"deleted": self._delete()}
            self._write_note("ended", ended)
        self._forget_users()
        return int(ended["deleted"])

    def _delete(self) -> int:
        self._wait_for_earlier_requests()
        deleted = self._count_records()
        self._run_once("records", self._delete_records)
        self._wait_for_readers()
        self._run_once("models", self._rewrite_models)
        self._wait_for_runtimes(self._raise_purges())
        self._run_once("files", self._remove_files)
        self._report("rewriting the log")
        self.store.rewrite_log(self.on_step)
        return deleted

    @property
    def _group(self) -> str:
        return str(self.job.body["datasetGroupArn"])

    @property
    def _workspace(self) -> Path:
        return self.artifacts.create_workspace(self.job.arn)

    @cached_property
    def _users(self) -> NamedUsers:
        self._report("reading the users")
        return read_named_users(
            self.job.body["dataSource"]["dataLocation"],
            open_buckets(self.configured),
            self._workspace / "named",
            UserListLimits(memory_mb=self.configured.import_memory_mb, megabytes=self.configured.data_deletion_mb),
            self.on_step,
        )

    # Notes: the results of steps that have ended, which later attempts read

    def _read_note(self, name: str) -> dict[str, Any] | None:
        path = self._workspace / f"{name}.json"
        note: dict[str, Any] | None = orjson.loads(path.read_bytes()) if path.exists() else None
        return note

    def _write_note(self, name: str, note: Mapping[str, Any]) -> None:
        replace_file(self._workspace / f"{name}.json", orjson.dumps(note))

    def _run_once(self, name: str, step: Callable[[], None]) -> None:
        if self._read_note(name) is None:
            self._report(name)
            step()
            self._write_note(name, {})

    def _report(self, phase: str) -> None:
        self.on_step()
        self.progress({"phase": phase})

    def _postpone(self, reason: str, waiting: list[str]) -> None:
        log.info("a deletion of users waits", reason=reason, waiting=waiting[:5])
        self._report(f"waiting for {reason}")
        raise WorkPostponed

    # Steps

    def _wait_for_earlier_requests(self) -> None:
        """Wait for the imports, whose rows become part of the data, and for the deletions that came before this job."""
        earlier = [
            record.arn
            for record in list_group_records(("dataset_import_job", "data_deletion_job"), self._group, self.reader)
            if not is_terminal(record) and (record.created, record.arn) < (self.job.created, self.job.arn)
        ]
        if earlier:
            self._postpone("earlier imports and deletions", earlier)

    def _iter_data(self) -> Iterator[UserData]:
        for dataset in self.reader.iter_children("dataset", self._group):
            if dataset.status == ACTIVE and dataset.body["datasetType"] in (*EVENT_TYPES, USERS):
                workspace = self._workspace / dataset.body["datasetType"].lower()
                workspace.mkdir(exist_ok=True)
                yield UserData(
                    dataset=dataset,
                    users=self._users,
                    requested=self.job.created,
                    reader=self.reader,
                    store=self.store,
                    artifacts=self.artifacts,
                    workspace=workspace,
                    on_step=self.on_step,
                )

    def _count_records(self) -> int:
        counted = self._read_note("counted")
        if counted is None:
            log.info("users to delete", count=len(self._users.ids))
            self._report("counting")
            counted = {"records": sum(data.count_records() for data in self._iter_data())}
            self._write_note("counted", counted)
        return int(counted["records"])

    def _delete_records(self) -> None:
        for data in self._iter_data():
            data.delete_records()

    def _wait_for_readers(self) -> None:
        """Wait for the work that may have read the records before they were deleted."""
        readers = self._read_note("readers")
        if readers is None:
            readers = {"running": list_running_work(self._group, self.reader, self.store, self.artifacts)}
            self._write_note("readers", readers)
        running = [arn for arn in readers["running"] if (found := self.store.get(arn)) and not is_terminal(found)]
        if running:
            self._postpone("trainings and jobs that read the data", running)

    def _rewrite_models(self) -> None:
        for version in list_group_records(MODELS, self._group, self.reader):
            try:
                self._rewrite_model(version)
            except (ArtifactDamaged, OSError, ValueError) as error:
                found = self.store.get(version.arn)
                if found is not None and found.status == ACTIVE:
                    raise WorkFailed(
                        f"The model of {version.arn} can't be read: {error} Delete its solution, and create a new data "
                        "deletion job."
                    ) from error
                self.artifacts.discard_drafts(version.arn)  # it was deleted in the meantime

    def _rewrite_model(self, version: Record) -> None:
        self.artifacts.restore_artifact(version.arn)
        folder = self.artifacts.get_folder(version.arn)
        if folder.exists() and knows_any_user(folder, self._users.ids, self.on_step):
            self.artifacts.open_artifact(version.arn)
            with self.artifacts.fill_replacement(version.arn) as replacement:
                write_without_users(folder, replacement, self._users.ids, self.on_step)
            self.artifacts.swap_replacement(version.arn)

    def _raise_purges(self) -> int:
        """Tell the runtimes to read models and data again; return the group's count of deletions."""
        raised = self._read_note("purged")
        if raised is None:
            raised = {"count": raise_purges(self._group, self.store), "at": time.time()}
            self._write_note("purged", raised)
        return int(raised["count"])

    def _wait_for_runtimes(self, count: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while behind := [
            name
            for name in self.store.list_live_processes()
            if name.startswith("runtime@") and self.store.get_reported_purges(name).get(self._group, 0) < count
        ]:
            if time.monotonic() > deadline:
                self._postpone("runtimes", behind)
            self._report("waiting for runtimes")
            time.sleep(POLL_SECONDS)

    def _remove_files(self) -> None:
        """Remove the files that may hold the ids and that nothing needs: snapshots, and what dead work has left."""
        marker = self._workspace / "purged.json"
        for dataset in self.reader.iter_children("dataset", self._group):
            remove_older_files(self.artifacts.create_workspace(dataset.arn), marker.stat().st_mtime)
        for data in self._iter_data():
            data.remove_replaced_files()
        for record in list_group_records(None, self._group, self.reader):
            if is_terminal(record) and record.kind != "dataset":
                self.artifacts.discard_workspace(record.arn)
                self.artifacts.discard_drafts(record.arn)

    def _forget_users(self) -> None:
        """Remove the ids from the workspace: a worker that dies now leaves only notes there."""
        for path in self._workspace.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)


if __name__ == "__main__":
    logging.configure_logging(settings.load(), "importing")
    run_jobs({DeleteUsers.wire: delete_users})
