"""Run a batch job: read and split the input, answer the shards with the help of other workers, write the results.

A job module gives the noun of its jobs and a function that builds their ``LineAnswerer``; all else is common to them.
Nothing is done twice after a crash: the plan and the parts outlive the attempt that wrote them.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from shared import settings
from shared.data.csv.csv_errors import trim_text
from shared.jobs.entrypoint import ReportProgress, WorkFailed, WorkStopped
from shared.resources import ResourceReader
from shared.resources.locations import INVALID_DATA, INVALID_INPUT, INVALID_OUTPUT
from shared.settings import Settings
from shared.storage.artifacts import Artifacts
from shared.storage.bucket_locations import JSON_LINES_FILES, BucketError
from shared.storage.buckets import open_buckets
from shared.store import Record, Store
from shared.store.redis import RedisStore
from workers.inference.help_requests import HelpRequests
from workers.inference.shard_worker import LineAnswerer, ShardWorker
from workers.inference.shards import InputSplitter, InputUnusable, Plan, ShardFolder

log = structlog.get_logger()

#: How often progress is reported, and other workers are asked for help (seconds).
REPORT_EVERY = 1.0
#: Skipped files that the remarks name, at most.
MOST_NAMED = 10


@dataclass(frozen=True, kw_only=True)
class BatchJob:
    """A batch job in progress, in the process that holds its lease or in one that helps."""

    record: Record
    settings: Settings
    store: Store
    reader: ResourceReader
    artifacts: Artifacts
    should_stop: Callable[[], bool]

    @property
    def body(self) -> Mapping[str, Any]:
        return self.record.body

    def check_stop(self, *_: object) -> None:
        """Show that the job gets on. Raises WorkStopped."""
        if self.should_stop():
            raise WorkStopped

    def get_shard_folder(self) -> ShardFolder:
        """Return the folder of this job's shards, which may not exist yet. A later job of its ARN has another one."""
        workspace = self.artifacts.get_workspace(self.record.arn)
        return ShardFolder(workspace / f"{self.record.created * 1e6:.0f}")


BuildAnswerer = Callable[[BatchJob], LineAnswerer]


def open_batch_job(noun: str, arn: str, should_stop: Callable[[], bool]) -> BatchJob:
    """Return the job of an ARN. Raises ResourceNotFound."""
    configured = settings.load()
    store = RedisStore(configured.redis_url)
    reader = ResourceReader(store, configured)
    return BatchJob(
        record=reader.find_record(arn, noun),
        settings=configured,
        store=store,
        reader=reader,
        artifacts=Artifacts(configured.artifacts, on_block=should_stop),
        should_stop=should_stop,
    )


def run_batch_job(
    job: BatchJob, progress: ReportProgress, build_answerer: BuildAnswerer, *, shard_lines: int | None = None
) -> Mapping[str, Any]:
    """Do the whole job, and return the numbers of lines and of those that failed, and the remarks.

    ``shard_lines`` replaces the setting for jobs whose lines take long. Raises WorkFailed and WorkStopped.
    """
    folder = job.get_shard_folder()
    folder.create_folders()
    plan = folder.read_plan() or _read_input(job, folder, shard_lines or job.settings.batch_shard_lines, progress)
    answerer = build_answerer(job)
    watch = _ProgressWatch(job, folder, plan, progress)
    _create_worker(job, folder, plan, answerer).finish_all_shards(watch.note_answered)
    failed = _write_results(job, folder, plan, progress)
    remarks: dict[str, Any] = {"lines": plan.count_records(), "failed": failed}
    if plan.skipped:
        remarks["skipped"] = plan.skipped
    log.info("batch job done", **remarks)
    return {"remarks": remarks}


def help_batch_job(job: BatchJob, build_answerer: BuildAnswerer, *, seconds: float) -> Mapping[str, Any]:
    """Work on free shards of a job for about so many seconds. Raises WorkFailed and WorkStopped."""
    folder = job.get_shard_folder()
    deadline = time.monotonic() + seconds
    try:
        plan = folder.read_plan()
        if plan is not None and len(folder.list_parts()) < len(plan.shards):
            worker = _create_worker(job, folder, plan, build_answerer(job))
            worker.work_on_free_shards(until=deadline)
            log.info("shards answered for another worker", shards=worker.answered_shards)
    except FileNotFoundError:
        log.info("the job that was helped has ended")
    return {}


def _create_worker(job: BatchJob, folder: ShardFolder, plan: Plan, answerer: LineAnswerer) -> ShardWorker:
    return ShardWorker(
        folder,
        plan,
        answerer,
        job.store,
        lock_name=f"shard:{job.record.arn}:{job.record.created}",
        lock_seconds=job.settings.lease_seconds,
        should_stop=job.should_stop,
    )


# Input


def _read_input(job: BatchJob, folder: ShardFolder, shard_lines: int, progress: ReportProgress) -> Plan:
    """Copy and split the input files, write the plan and return it."""
    location = job.body["jobInput"]["s3DataSource"]["path"]
    skipped: list[str] = []
    reported_at = 0.0

    def on_lines(lines: int) -> None:
        nonlocal reported_at
        job.check_stop()
        if time.monotonic() - reported_at >= REPORT_EVERY:
            reported_at = time.monotonic()
            progress({"phase": "reading", "rows": lines})

    with _convert_bucket_errors(INVALID_OUTPUT):
        open_buckets(job.settings).check_writable(job.body["jobOutput"]["s3DataDestination"]["path"])
    splitter = InputSplitter(folder, shard_lines, on_lines, most_records=job.settings.quota_batch_input_records)
    # Downloads of an attempt that was killed are removed with the workspace.
    with _convert_bucket_errors(INVALID_INPUT), tempfile.TemporaryDirectory(dir=folder.root) as downloads:
        fetched = open_buckets(job.settings).fetch_files(
            location, Path(downloads), job.check_stop, skipped.append, selection=JSON_LINES_FILES
        )
        with fetched as files:
            _check_size(files, job.settings)
            for path in files:
                splitter.add_file(path)
    plan = splitter.build_plan([trim_text(name, 100) for name in skipped[:MOST_NAMED]])
    if not plan.count_records():
        raise WorkFailed(f"{INVALID_INPUT}. {location} holds no line. Give a JSON object on each line.")
    folder.write_plan(plan)
    return plan


def _check_size(files: Sequence[Path], configured: Settings) -> None:
    most_files, most_mb = configured.quota_batch_input_files, configured.quota_batch_input_mb
    if most_files is not None and len(files) > most_files:
        raise WorkFailed(f"{INVALID_INPUT}. It has {len(files)} files; a batch job takes at most {most_files}.")
    size_mb = sum(path.stat().st_size for path in files) / (1 << 20)
    if most_mb is not None and size_mb > most_mb:
        raise WorkFailed(f"{INVALID_INPUT}. It has {size_mb:.1f} MiB; a batch job takes at most {most_mb}.")


@contextmanager
def _convert_bucket_errors(text: str) -> Iterator[None]:
    """Convert errors of a location to WorkFailed, with AWS's text for batch jobs."""
    try:
        yield
    except BucketError as error:
        raise WorkFailed(str(error).replace(f"{INVALID_DATA}.", f"{text}.", 1)) from error
    except InputUnusable as error:
        raise WorkFailed(f"{text}. {error}") from error


# Progress


class _ProgressWatch:
    """Reports the lines that all workers have answered, and asks further workers for help."""

    def __init__(self, job: BatchJob, folder: ShardFolder, plan: Plan, progress: ReportProgress) -> None:
        self._folder = folder
        self._plan = plan
        self._progress = progress
        self._help = HelpRequests(job.record.arn, job.store, job.settings)
        self._reported_at = 0.0

    def note_answered(self, lines: int) -> None:
        """Note how many lines of its current shard this worker has answered."""
        if time.monotonic() - self._reported_at < REPORT_EVERY:
            return
        self._reported_at = time.monotonic()
        parts = self._folder.list_parts()
        done = sum(shard.records for shard in self._plan.shards if shard.number in parts)
        self._progress({"phase": "answering", "rows": done + lines})
        # One of the missing parts is this worker's own.
        self._help.request_help(len(self._plan.shards) - len(parts) - 1)


# Results


def _write_results(job: BatchJob, folder: ShardFolder, plan: Plan, progress: ReportProgress) -> int:
    """Write the results of each file, and return how many lines have failed."""
    destination = job.body["jobOutput"]["s3DataDestination"]["path"].rstrip("/")
    buckets, failed, written = open_buckets(job.settings), 0, 0
    for file, name in enumerate(plan.files):
        shards = plan.list_file_shards(file)
        merged, failed_here = folder.merge_parts(shards, job.check_stop)
        with _convert_bucket_errors(INVALID_OUTPUT):
            buckets.write_file(f"{destination}/{name}.out", merged, job.check_stop)
        failed += failed_here
        written += sum(shard.records for shard in shards)
        progress({"phase": "writing", "rows": written})
    return failed
