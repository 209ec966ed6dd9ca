"""Themes in the output of batch inference jobs with batchInferenceJobMode THEME_GENERATION."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from shared.jobs.entrypoint import WorkFailed
from shared.resources.batch_inference_job.requests import THEMES
from shared.resources.dataset.requests import build_dataset_arn
from shared.resources.locations import INVALID_INPUT
from shared.serving.snapshots import SnapshotCache, SnapshotUnreadable
from shared.serving.themes import (
    GeneratorUnusable,
    SnapshotCatalogue,
    ThemeGenerator,
    ThemeRefused,
    generate_checked,
    load_generator,
)
from workers.inference.batch_run import BatchJob
from workers.inference.json_lines import LineError

AddTheme = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]
"""Returns the output of the line of an item with the theme of its list. Raises LineError."""


class ThemeWriter:
    """Adds the theme of a list to the output of its line."""

    def __init__(self, catalogue: SnapshotCatalogue, generator: ThemeGenerator) -> None:
        self._catalogue = catalogue
        self._generator = generator

    def add_theme(self, item_id: str, output: Mapping[str, Any]) -> dict[str, Any]:
        """``AddTheme``."""
        listed = [self._catalogue.find_item(each) for each in output["recommendedItems"]]
        try:
            theme = generate_checked(self._generator, self._catalogue.find_item(item_id), listed)
        except ThemeRefused as error:
            raise LineError(str(error)) from error
        return {"theme": theme.text, **output, "itemsThemeRelevanceScores": list(theme.relevance)}


def open_themes(job: BatchJob) -> AddTheme | None:
    """Return the function that adds themes to the lists of a job; None for a job without themes. Raises WorkFailed."""
    if job.body.get("batchInferenceJobMode") != THEMES:
        return None
    _check_count(job)
    group_arn = job.reader.find_record(job.body["solutionVersionArn"], "solution_version").body["datasetGroupArn"]
    snapshots = SnapshotCache(job.reader, job.store, job.artifacts, job.check_stop)
    try:
        rows = snapshots.open_rows(build_dataset_arn(group_arn, "ITEMS", job.reader))
        create = load_generator(job.settings.theme_generator)
    except (SnapshotUnreadable, GeneratorUnusable) as error:
        raise WorkFailed(str(error)) from error
    if rows is None:
        raise WorkFailed("The dataset group has no Items dataset any more, from which themes are made.")
    name_column = job.body["themeGenerationConfig"]["fieldsForThemeGeneration"]["itemName"]
    catalogue = SnapshotCatalogue(rows, name_column, job.check_stop)
    return ThemeWriter(catalogue, create(catalogue)).add_theme


def _check_count(job: BatchJob) -> None:
    """Raise WorkFailed for a file with more lines than AWS allows."""
    most, plan = job.settings.quota_theme_lines, job.get_shard_folder().read_plan()
    if most is None or plan is None:
        return
    for file, name in enumerate(plan.files):
        lines = sum(shard.records for shard in plan.list_file_shards(file))
        if lines > most:
            raise WorkFailed(
                f"{INVALID_INPUT}. {name} has {lines} lines; a file of a job with themes may have {most}. Divide them "
                "among several files, or raise FORETASTE_QUOTA_THEME_LINES."
            )
