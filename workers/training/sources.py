"""Finds the data of a solution version: the imports that it was created with, and the records sent one by one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.data import live_events, schemas, streamed_records
from shared.data.schemas import DatasetSchema
from shared.data.training.event_tables import EventParameters
from shared.data.training.rewards import Objective
from shared.data.training.training_data import DatasetFiles, TrainingSources
from shared.jobs.entrypoint import WorkFailed
from shared.recipes import Recipe
from shared.resources import ResourceReader
from shared.resources.dataset.requests import TYPES, build_dataset_arn, find_columns_added_since, find_schema
from shared.resources.dataset_import_job import ROWS
from shared.resources.solution.columns import find_excluded_columns
from shared.resources.solution_version.requests import list_imports
from shared.storage.artifacts import ArtifactDamaged, Artifacts
from shared.store import Record, Store


class SourcesChanged(Exception):
    """Users were deleted from an import while it was read: what was read is inconsistent."""


@dataclass(frozen=True)
class SourceFinder:
    """Finds a version's data. ``on_step`` is called for each file, event and record; it may raise to end the work."""

    version: Record
    recipe: Recipe
    reading: ResourceReader
    store: Store
    artifacts: Artifacts
    workspace: Path
    on_step: Callable[[], None]

    def find_sources(self, parameters: Mapping[str, str]) -> TrainingSources:
        """Return the sources of the training.

        Raises WorkFailed with advice, and InvalidInput where a dataset was recreated with other columns.
        """
        config = self.version.body.get("solutionConfig") or {}
        threshold = config.get("eventValueThreshold")
        interactions = self._collect_interactions()
        needs_interactions = self.recipe.interactions in self.recipe.training.datasets
        if interactions is None and needs_interactions:
            events = self.recipe.interactions.lower().replace("_", " ")
            raise WorkFailed(f"The dataset group has no {events}: import some, or send events.")
        described = (self.recipe.catalogue, "USERS")
        traits = self.recipe.training
        bulk = {
            table: self._collect_described(table)
            if traits.uses_metadata or (traits.uses_texts and table == self.recipe.catalogue)
            else None
            for table in described
        }
        for table in bulk.keys() & set(self.recipe.training.datasets):
            if bulk[table] is None:
                raise WorkFailed(f"{self.recipe.name} needs the {table} dataset, which is empty: import or put some.")
        return TrainingSources(
            interactions=interactions,
            items=bulk[self.recipe.catalogue],
            users=bulk["USERS"],
            excluded=self._find_excluded(config),
            event_type=self.version.body.get("eventType") or self.recipe.training.event_type,
            event_value_threshold=None if threshold is None else float(threshold),
            events=parse_event_parameters(config),
            min_percentile=float(parameters.get("min_user_history_length_percentile", 0.0)),
            max_percentile=float(parameters.get("max_user_history_length_percentile", 1.0)),
            metadata=self.recipe.training.uses_metadata,
            impressions=self.recipe.training.uses_impressions,
            all_items=self.recipe.training.cold_items,
            objective=parse_objective(config),
            texts=traits.uses_texts,
            needs_interactions=needs_interactions,
        )

    def compute_digests(self) -> dict[str, str | None]:
        """Return ARN -> digest of the version's imports, None for a missing one: others where users were deleted."""
        found: dict[str, str | None] = {}
        for arn in (arn for dataset_type in TYPES for arn in list_imports(self.version, dataset_type)):
            found[arn] = None
            with contextlib.suppress(OSError):
                found[arn] = self.artifacts.compute_digest(arn)
        return found

    @property
    def _group(self) -> str:
        return str(self.version.body["datasetGroupArn"])

    def _find_excluded(self, config: Mapping[str, Any]) -> dict[str, frozenset[str]]:
        """Return by dataset type the columns that the configuration excludes, and those added after it was made."""
        chosen = find_excluded_columns(config, self.reading.find_record(self._group, "dataset_group"), self.reading)
        for dataset_type, columns in find_columns_added_since(
            self._group, self._find_configuration_time(), self.reading
        ).items():
            chosen[dataset_type] = chosen.get(dataset_type, frozenset()) | columns
        return chosen

    def _find_configuration_time(self) -> float:
        """Return when the solution, or the recommender's configuration, was created, in seconds since the epoch."""
        owner = self.reading.records.get(self.version.parents[0])
        if owner is None:
            return self.version.created
        # UpdateRecommender chooses the columns again, UpdateSolution does not.
        if owner.kind == "recommender" and owner.update is not None:
            return owner.update.created
        return owner.created

    def _collect_interactions(self) -> DatasetFiles | None:
        dataset_type = self.recipe.interactions
        schema = self._find_schema(dataset_type)
        live = self._write_live_events(dataset_type, schema) if schema else None
        return self._build_table(dataset_type, [*self._list_files(dataset_type), live])

    def _write_live_events(self, dataset_type: str, schema: DatasetSchema) -> Path | None:
        dataset = build_dataset_arn(self._group, dataset_type, self.reading)
        events = live_events.iter_live_events(self.store, self.artifacts, dataset, self.on_step)
        try:
            return streamed_records.write_events(events, schema, self.workspace / "live.parquet", self.on_step)
        except ArtifactDamaged as error:
            raise WorkFailed(str(error)) from error

    def _collect_described(self, dataset_type: str) -> DatasetFiles | None:
        """Return the files of items or users, oldest first: of rows with one id the newest counts."""
        schema = self._find_schema(dataset_type)
        if schema is None:
            return None
        jobs = [self.reading.find_record(arn, "dataset_import_job") for arn in list_imports(self.version, dataset_type)]
        between = streamed_records.write_records(
            self.store.iter_put_records(build_dataset_arn(self._group, dataset_type, self.reading)),
            schema,
            self.workspace / f"put_{dataset_type.lower()}",
            [job.created for job in jobs],
            self.on_step,
        )
        imported = [*self._list_files(dataset_type), None]
        return self._build_table(dataset_type, [file for pair in zip(between, imported, strict=True) for file in pair])

    def _find_schema(self, dataset_type: str) -> DatasetSchema | None:
        declared = find_schema(self._group, dataset_type, self.reading)
        return schemas.parse_schema(declared["schema"], domain=declared.get("domain")) if declared else None

    def _build_table(self, dataset_type: str, files: Sequence[Path | None]) -> DatasetFiles | None:
        """Return the files that exist, with their schema; None where the group has no such dataset, or an empty one."""
        schema = find_schema(self._group, dataset_type, self.reading)
        there = [file for file in files if file is not None]
        return (
            DatasetFiles(files=there, schema=schema["schema"], domain=schema.get("domain"))
            if there and schema
            else None
        )

    def _list_files(self, dataset_type: str) -> list[Path]:
        """Return the imported files of a dataset, oldest first. Raises WorkFailed where one is damaged."""
        files = []
        try:
            for job_arn in list_imports(self.version, dataset_type):
                self.on_step()
                files.append(self.artifacts.open_artifact(job_arn) / ROWS)
        except ArtifactDamaged as error:
            raise WorkFailed(f"{error} Import the data again.") from error
        return files


def parse_event_parameters(config: Mapping[str, Any]) -> list[EventParameters]:
    """Return the eventParametersList of a solutionConfig's eventsConfig."""
    wanted = (config.get("eventsConfig") or {}).get("eventParametersList") or ()
    return [
        EventParameters(
            event_type=each.get("eventType"),
            value_threshold=each.get("eventValueThreshold"),
            weight=1.0 if each.get("weight") is None else float(each["weight"]),
        )
        for each in wanted
    ]


def parse_objective(config: Mapping[str, Any]) -> Objective | None:
    """Return the optimizationObjective of a solutionConfig; None without one."""
    wanted = config.get("optimizationObjective")
    if not wanted or not wanted.get("itemAttribute"):
        return None
    return Objective(column=wanted["itemAttribute"], sensitivity=wanted.get("objectiveSensitivity") or "OFF")
