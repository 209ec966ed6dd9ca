"""Find the data of a batch segment job: its users with their events up to now, and what its filter reads.

Source: "Batch segment jobs" in AWS's developer guide: a job uses all events that were sent, also those after the
training, and of imported ones those of FULL imports. What has been read stays in the job's folder, so that a later
attempt reads the same.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from shared.data import live_events, schemas, streamed_records
from shared.data.arrays.histories import DataRefused
from shared.data.duckdb_session import DuckDBSession
from shared.data.training.event_tables import EventParameters, EventSelection
from shared.filters import Filter, FilterError, check_filter, parse_filter
from shared.filters.checking import Schemas
from shared.jobs.entrypoint import WorkFailed
from shared.recipes import Recipe
from shared.recipes.scoring_api import SegmentScorer
from shared.resources.dataset.requests import build_dataset_arn, find_schema
from shared.resources.dataset_import_job import ROWS, iter_current_jobs
from shared.resources.dataset_import_job.requests import FULL
from shared.resources.filter.requests import find_schemas
from shared.resources.solution_version.requests import list_imports
from shared.serving.dataset_snapshot import Snapshot
from shared.serving.segment_filter import ActiveUsers, ActivitySources, SegmentFilter, write_active_users
from shared.serving.segment_users import SegmentUsers
from shared.serving.snapshots import SnapshotCache, SnapshotUnreadable
from shared.serving.user_events import UserEvents, write_user_events
from shared.storage.artifacts import ArtifactDamaged, sync_to_disk
from shared.store import Record
from workers.inference.batch_run import BatchJob

INTERACTIONS = "INTERACTIONS"


class SegmentSources:
    """The data of one job. Its methods raise WorkFailed with advice, and WorkStopped."""

    def __init__(self, job: BatchJob, recipe: Recipe, scorer: SegmentScorer) -> None:
        self._job = job
        self._recipe = recipe
        self._scorer = scorer
        self._version = job.reader.find_record(job.body["solutionVersionArn"], "solution_version")
        self._group: str = self._version.body["datasetGroupArn"]
        self._dataset = build_dataset_arn(self._group, INTERACTIONS, job.reader)
        self._folder = job.get_shard_folder().root
        self._snapshots = SnapshotCache(job.reader, job.store, job.artifacts, job.check_stop)

    @cached_property
    def schemas(self) -> Schemas:
        """The columns of the dataset group as they are now."""
        return find_schemas(self._group, self._job.reader)

    def open_rows(self, dataset_type: str) -> Snapshot | None:
        """Return the rows of Items or Users as they are now; None without such a dataset."""
        try:
            return self._snapshots.open_rows(build_dataset_arn(self._group, dataset_type, self._job.reader))
        except SnapshotUnreadable as error:
            raise WorkFailed(str(error)) from error

    @cached_property
    def _imports(self) -> list[Record]:
        """The jobs whose rows are the bulk interactions now, oldest first."""
        return list(reversed(list(iter_current_jobs(self._dataset, self._job.reader))))

    @cached_property
    def _full_import_since(self) -> Record | None:
        """The FULL import that has replaced the interactions trained on; None: they are still those of the dataset."""
        oldest = next(iter(self._imports), None)
        trained = list_imports(self._version, INTERACTIONS)
        is_new = oldest is not None and oldest.body["importMode"] == FULL and oldest.arn not in trained
        return oldest if is_new else None

    def open_users(self) -> SegmentUsers:
        """Return the users that a segment may list, with their events up to now."""
        events = self._write_once("events", self._write_events)
        return SegmentUsers(self._scorer, UserEvents.open(events), replaced=self._full_import_since is not None)

    def _write_events(self, target: Path, database: DuckDBSession) -> None:
        imported = self._full_import_since
        files = [*([self._open_import(imported)] if imported else []), *self._write_live_events()]
        config = self._version.body.get("solutionConfig") or {}
        threshold = config.get("eventValueThreshold")
        counting = EventParameters(
            event_type=self._version.body.get("eventType") or self._recipe.training.event_type,
            value_threshold=None if threshold is None else float(threshold),
        )
        write_user_events(target, EventSelection(files=files, parameters=[counting]), database)

    def _write_live_events(self) -> list[Path]:
        """Write the events that clients have sent; return the file, or no file where there is no event."""
        declared = find_schema(self._group, INTERACTIONS, self._job.reader)
        if declared is None:
            return []
        schema = schemas.parse_schema(declared["schema"], domain=declared.get("domain"))
        job = self._job
        sent = live_events.iter_live_events(job.store, job.artifacts, self._dataset, job.check_stop)
        try:
            file = streamed_records.write_events(sent, schema, self._folder / "live.parquet", job.check_stop)
        except ArtifactDamaged as error:
            raise WorkFailed(f"{error} Restore the backup of the data folder.") from error
        return [file] if file else []

    def _open_import(self, job: Record) -> Path:
        try:
            return self._job.artifacts.open_artifact(job.arn) / ROWS
        except ArtifactDamaged as error:
            raise WorkFailed(f"{error} Import the data again.") from error

    def open_filter(self, users: SegmentUsers) -> SegmentFilter | None:
        """Return the job's filter, for these users; None without one."""
        filter_arn = self._job.body.get("filterArn")
        if not filter_arn:
            return None
        filter_ = self._check_filter(filter_arn)
        active = self._write_once("active", self._write_active_users) if filter_.tests_events else None
        rows = self.open_rows("USERS") if filter_.tests_columns else None
        return SegmentFilter(filter_, users, rows, ActiveUsers.open(active) if active else None)

    def _check_filter(self, filter_arn: str) -> Filter:
        record = self._job.reader.find_record(filter_arn, "filter")
        try:
            return check_filter(parse_filter(record.body["filterExpression"]), self.schemas)
        except FilterError as error:
            raise WorkFailed(
                f"The filter {filter_arn} does not fit the datasets as they are now. {error} Create another filter."
            ) from error

    def _write_active_users(self, target: Path, database: DuckDBSession) -> None:
        sources = ActivitySources(
            imported=[self._open_import(job) for job in self._imports],
            last_import=max((job.updated for job in self._imports), default=0.0),
            live=next(iter(self._write_live_events()), None),
            now=self._job.record.created,
        )
        write_active_users(target, sources, database)

    def _write_once(self, name: str, write: Callable[[Path, DuckDBSession], None]) -> Path:
        """Return the file of this name; write it where an earlier attempt has not."""
        target = self._folder / name
        if target.exists():
            return target
        memory_mb, on_step = self._job.settings.import_memory_mb, self._job.check_stop
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            scratch = Path(folder)
            try:
                with DuckDBSession(memory_mb=memory_mb, scratch=scratch, on_step=on_step) as database:
                    write(scratch / name, database)
            except DataRefused as error:
                raise WorkFailed(str(error)) from error
            sync_to_disk(scratch / name)
            (scratch / name).rename(target)
        return target
