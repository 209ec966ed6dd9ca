"""The child process of a batch inference job: answers each line as a campaign would, from the trained state alone.

Events after the training do not count, as at AWS. Filters read the datasets and events as they are now. The time of
every query is that of the job's creation, and the random part of exploration is seeded by job and line, so that each
worker and attempt gives a line the same answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from shared import settings
from shared.aws.errors import InvalidInput, PersonalizeError, ResourceNotFound
from shared.jobs.entrypoint import ReportProgress, WorkFailed, run_jobs
from shared.observability import logging
from shared.recipes.scoring_api import Query
from shared.serving import block_pipeline, pipeline
from shared.serving.candidate_mask import CandidateSelection
from shared.serving.filters import FilterCache
from shared.serving.model_cache import LoadedModel, ModelCache, NotDeployable
from shared.serving.snapshots import SnapshotCache
from shared.state.messages import HelpBatchJob, RunBatchInference
from workers.inference import batch_run, queries
from workers.inference.batch_run import BatchJob
from workers.inference.json_lines import Answer, Line, LineError
from workers.inference.pinned_records import PinnedRecords
from workers.inference.queries import build_output, check_query
from workers.inference.themes import AddTheme, open_themes

NOUN = "batch_inference_job"
#: How long a helper works on one job before its worker looks for other messages (seconds).
HELP_SECONDS = 120.0
#: How long a line waits for the data of a filter (seconds): a job can wait, as no request can.
PATIENCE = 86_400.0

#: The members of a line that its filter reads. Others, such as promotions, belong to requests alone.
_SELECTING = ("userId", "itemId", "filterValues")

Rows = list[dict[str, Any]]


class LineQuery(NamedTuple):
    """A line as the pipeline takes it."""

    members: Mapping[str, Any]
    query: Query
    selection: CandidateSelection


class InferenceAnswerer:
    """``workers.inference.shard_worker.LineAnswerer`` of a solution version."""

    def __init__(
        self, job: BatchJob, model: LoadedModel, filters: FilterCache, add_theme: AddTheme | None = None
    ) -> None:
        #: As many as fit into the memory of FORETASTE_BATCH_MEMORY_MB.
        self.block_lines = block_pipeline.choose_block_size(model, job.settings.batch_memory_mb)
        self._job = job
        self._model = model
        self._filters = filters
        self._add_theme = add_theme
        self._config: Mapping[str, Any] = job.body.get("batchInferenceJobConfig") or {}

    def answer_lines(self, lines: Sequence[Line]) -> list[Answer]:
        """Return the output or error of each line. Raises WorkFailed where the data of the filter can't be read."""
        built = [self._build_query(line) for line in lines]
        rows = iter(self._answer_queries([each for each in built if isinstance(each, LineQuery)]))
        return [self._build_answer(each, next(rows)) if isinstance(each, LineQuery) else each for each in built]

    def _build_query(self, line: Line) -> LineQuery | LineError:
        recipe, members = self._model.recipe, line.input
        try:
            check_query(members, recipe)
        except LineError as error:
            return error
        trained = (
            self._model.get_stored_history(members.get("userId") or "") if recipe.serving.reads_live_events else ()
        )
        query = pipeline.build_query(
            recipe, members, self._config, now=self._job.record.created, history=trained, seed=self._seed_line(line)
        )
        request = {member: members.get(member) for member in _SELECTING}
        request["filterArn"] = self._job.body.get("filterArn")
        return LineQuery(members, query, CandidateSelection(self._filters, self._model, request))

    def _seed_line(self, line: Line) -> int:
        job = self._job.record
        named = f"{job.arn} {job.created} {line.file} {line.number}".encode()
        return int.from_bytes(hashlib.blake2b(named, digest_size=8).digest(), "big")

    def _answer_queries(self, lines: Sequence[LineQuery]) -> list[Rows | LineError]:
        """Score the queries of all lines together. Raises WorkFailed where the data of the filter can't be read."""
        model, wanted = self._model, self._job.body["numResults"]
        asked, selections = [line.query for line in lines], [line.selection for line in lines]
        match model.recipe.recipe_type:
            case queries.RANKING:
                given = [list(dict.fromkeys(line.members["itemList"])) for line in lines]
                answers = block_pipeline.rank_block(model, asked, selections, given)
            case queries.ACTIONS:
                answers = block_pipeline.recommend_actions_block(model, asked, selections, wanted)
            case _:
                answers = block_pipeline.recommend_block(model, asked, selections, wanted)
        return [_convert_error(each) if isinstance(each, PersonalizeError) else each for each in answers]

    def _build_answer(self, line: LineQuery, rows: Rows | LineError) -> Answer:
        if isinstance(rows, LineError):
            return rows
        output = build_output(rows, self._model.recipe)
        if self._add_theme is None:
            return output
        try:
            return self._add_theme(line.members["itemId"], output)
        except LineError as error:
            return error


def _convert_error(error: PersonalizeError) -> LineError:
    """Return the error of one line. Raises WorkFailed for one that all lines would have."""
    if isinstance(error, InvalidInput | ResourceNotFound):
        return LineError(str(error))
    raise WorkFailed(f"The filter can't be applied: {error}") from error


def build_answerer(job: BatchJob) -> InferenceAnswerer:
    """Load the model and compile the filter of a job. Raises WorkFailed."""
    # Every line looks up the filter: its record counts as it is when the work begins.
    reader = PinnedRecords.create_reader(job.reader)
    try:
        model = ModelCache(job.reader, job.artifacts).load_model(job.body["solutionVersionArn"])
    except NotDeployable as error:
        raise WorkFailed(str(error)) from error
    filters = FilterCache(reader, job.store, SnapshotCache(job.reader, job.store, job.artifacts, job.check_stop))
    filters.patience = PATIENCE
    if filter_arn := job.body.get("filterArn"):
        try:
            filters.get_compiled(model, filter_arn)
        except PersonalizeError as error:
            raise WorkFailed(str(error)) from error
    return InferenceAnswerer(job, model, filters, open_themes(job))


def run_batch_inference(
    arn: str, _attempt: int, progress: ReportProgress, should_stop: Callable[[], bool]
) -> Mapping[str, Any]:
    """``shared.jobs.entrypoint.Job``: answer the lines of a job's input."""
    job = batch_run.open_batch_job(NOUN, arn, should_stop)
    return batch_run.run_batch_job(job, progress, build_answerer)


def help_batch_inference(
    arn: str, _attempt: int, _progress: ReportProgress, should_stop: Callable[[], bool]
) -> Mapping[str, Any]:
    """``shared.jobs.entrypoint.Job``: answer lines of a job that another worker has claimed."""
    job = batch_run.open_batch_job(NOUN, arn, should_stop)
    return batch_run.help_batch_job(job, build_answerer, seconds=HELP_SECONDS)


if __name__ == "__main__":
    logging.configure_logging(settings.load(), "inference")
    run_jobs({RunBatchInference.wire: run_batch_inference, HelpBatchJob.wire: help_batch_inference})
