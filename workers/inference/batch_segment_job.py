"""The child process of a batch segment job: the users that are most likely to take each line's items.

All users are scored once for all lines (``shared.serving.segment_scores``), and the lines are answered from the scores.
The time of every query is that of the job's creation, and what the job has read stays in its folder: each attempt gives
a line the same answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import orjson
import structlog

from shared import settings
from shared.jobs.entrypoint import ReportProgress, WorkFailed, run_jobs
from shared.observability import logging
from shared.resources.locations import INVALID_INPUT
from shared.serving.block_pipeline import choose_block_size
from shared.serving.model_cache import LoadedModel, ModelCache, NotDeployable
from shared.serving.segment_scores import SegmentScores
from shared.serving.segment_users import SegmentUsers
from shared.state.messages import RunBatchSegment
from workers.inference import batch_run
from workers.inference.batch_run import REPORT_EVERY, BatchJob
from workers.inference.json_lines import Answer, Line, LineError, iter_lines
from workers.inference.segment_queries import ATTRIBUTES, ItemFinder, SegmentPlan, SegmentPlanner, open_plan
from workers.inference.segment_sources import SegmentSources
from workers.inference.shards import Plan, ShardFolder

log = structlog.get_logger()

NOUN = "batch_segment_job"
#: Ids of users that are written as JSON at a time.
IDS_AT_ONCE = 2**14


class SegmentAnswerer:
    """``workers.inference.shard_worker.LineAnswerer`` of a job whose users have been scored."""

    #: A segment of five million users takes about 100 MB.
    block_lines = 1

    def __init__(self, job: BatchJob, users: SegmentUsers, scores: SegmentScores, plan: SegmentPlan) -> None:
        self._job = job
        self._users = users
        self._scores = scores
        self._plan = plan

    def answer_lines(self, lines: Sequence[Line]) -> Iterator[Answer]:
        for line in lines:
            found = self._plan.lines[line.file, line.number]
            yield LineError(found) if isinstance(found, str) else self._format_segment(found)

    def _format_segment(self, segment: int) -> orjson.Fragment:
        return orjson.Fragment(b'{"usersList":[' + b",".join(self._iter_ids(segment)) + b"]}")

    def _iter_ids(self, segment: int) -> Iterator[bytes]:
        """Yield the ids of a segment's users as JSON, some at a time."""
        places = self._scores.find_users(segment)
        for first in range(0, len(places), IDS_AT_ONCE):
            self._job.check_stop()
            ids = [self._users[place] for place in places[first : first + IDS_AT_ONCE].tolist()]
            yield orjson.dumps(ids)[1:-1]


def build_answerer(job: BatchJob, progress: ReportProgress) -> SegmentAnswerer:
    """Read the users, plan the segments and score all users for them. Raises WorkFailed and WorkStopped."""
    model = _load_model(job)
    folder = job.get_shard_folder()
    input_plan = folder.read_plan()
    if input_plan is None:
        raise WorkFailed("The input of the job has been removed while the job was running.")
    _check_count(input_plan, model, job)
    progress({"phase": "reading"})
    sources = SegmentSources(job, model.recipe, model.segment_scorer)
    users = sources.open_users()
    plan_path = folder.root / "segments"
    if not plan_path.exists():
        items = ItemFinder(model.item_ids, sources)
        planner = SegmentPlanner(model.recipe, items, sources.open_filter(users))
        planner.write_plan(plan_path, _iter_queries(folder, input_plan, job))
    plan = open_plan(plan_path, len(users))
    scores = _score_users(job, model, users, plan, progress)
    return SegmentAnswerer(job, users, scores, plan)


def _load_model(job: BatchJob) -> LoadedModel:
    try:
        return ModelCache(job.reader, job.artifacts).load_model(job.body["solutionVersionArn"])
    except NotDeployable as error:
        raise WorkFailed(str(error)) from error


def _check_count(plan: Plan, model: LoadedModel, job: BatchJob) -> None:
    """Raise WorkFailed for more lines than AWS allows."""
    by_attributes = ATTRIBUTES in model.recipe.serving.required_members
    name = "quota_segment_attribute_lines" if by_attributes else "quota_segment_item_lines"
    most, lines = getattr(job.settings, name), plan.count_records()
    if most is not None and lines > most:
        raise WorkFailed(
            f"{INVALID_INPUT}. It has {lines} lines; a batch segment job of {model.recipe.name} takes at most {most}. "
            f"Divide them among several jobs, or raise FORETASTE_{name.upper()}."
        )


def _iter_queries(folder: ShardFolder, plan: Plan, job: BatchJob) -> Iterator[Line]:
    """Yield the lines of all input files that are queries."""
    for shard in plan.shards:
        with folder.get_input(shard.file).open("rb") as reading:
            reading.seek(shard.begin)
            for line in iter_lines(reading, shard.end, plan.files[shard.file], shard.first_line):
                job.check_stop()
                if line.error is None:
                    yield line


def _score_users(
    job: BatchJob, model: LoadedModel, users: SegmentUsers, plan: SegmentPlan, progress: ReportProgress
) -> SegmentScores:
    folder = job.get_shard_folder().root / "scores"
    folder.mkdir(exist_ok=True)
    scores = SegmentScores(
        folder=folder,
        scorer=model.segment_scorer,
        users=users,
        segments=plan.segments,
        wanted=job.body["numResults"],
        now=job.record.created,
        block_users=choose_block_size(model, job.settings.batch_memory_mb),
    )
    reported_at = 0.0

    def on_users(scored: int) -> None:
        nonlocal reported_at
        job.check_stop()
        if time.monotonic() - reported_at >= REPORT_EVERY:
            reported_at = time.monotonic()
            progress({"phase": "scoring", "rows": scored})

    scores.compute_scores(on_users)
    log.info("users scored", users=len(users), segments=len(plan.segments))
    return scores


def run_batch_segment(
    arn: str, _attempt: int, progress: ReportProgress, should_stop: Callable[[], bool]
) -> Mapping[str, Any]:
    """``shared.jobs.entrypoint.Job``: list the users of each line's segment."""
    job = batch_run.open_batch_job(NOUN, arn, should_stop)
    return batch_run.run_batch_job(job, progress, partial(build_answerer, progress=progress))


if __name__ == "__main__":
    logging.configure_logging(settings.load(), "inference")
    run_jobs({RunBatchSegment.wire: run_batch_segment})
