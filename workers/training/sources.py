"""What a solution version trains on: the bulk data as it was when the version was made, and the live events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.artifacts import ArtifactDamaged, Artifacts
from shared.data.events import EventParameters
from shared.data.rewards import Objective
from shared.data.training_data import Sources, Table
from shared.job import WorkFailed
from shared.recipes import Recipe
from shared.resources import Reading
from shared.resources.dataset.requests import arn_of, columns_of, schema_of
from shared.resources.dataset_import_job import ROWS
from shared.resources.solution.columns import left_out
from shared.resources.solution_version.requests import imports
from shared.store import Interactions, Record
from workers.training.live import frozen


@dataclass(frozen=True)
class Finding:
    """``on_step`` is called at each file and each live event; what it raises comes out of ``sources``."""

    version: Record
    recipe: Recipe
    reading: Reading
    store: Interactions
    artifacts: Artifacts
    workspace: Path
    on_step: Callable[[], None]

    def sources(self, parameters: Mapping[str, str]) -> Sources:
        """Raises WorkFailed with what to do, and InvalidInput where a dataset was made anew with other columns."""
        config = self.version.body.get("solutionConfig") or {}
        threshold = config.get("eventValueThreshold")
        interactions = self._interactions()
        if interactions is None:
            raise WorkFailed("The dataset group has no interactions: import some, or send events.")
        bulk = {table: self._bulk(table) if self.recipe.metadata else None for table in ("ITEMS", "USERS")}
        for table in bulk.keys() & set(self.recipe.datasets):
            if bulk[table] is None:
                raise WorkFailed(
                    f"{self.recipe.name} needs the {table} dataset, and nothing has been imported into it."
                )
        return Sources(
            interactions=interactions,
            items=bulk["ITEMS"],
            users=bulk["USERS"],
            excluded=left_out(config, self.reading.find(self._group, "dataset_group"), self.reading),
            event_type=self.version.body.get("eventType") or self.recipe.event_type,
            event_value_threshold=None if threshold is None else float(threshold),
            events=events(config),
            min_percentile=float(parameters.get("min_user_history_length_percentile", 0.0)),
            max_percentile=float(parameters.get("max_user_history_length_percentile", 1.0)),
            metadata=self.recipe.metadata,
            all_items=self.recipe.cold_items,
            objective=objective(config),
        )

    @property
    def _group(self) -> str:
        return str(self.version.body["datasetGroupArn"])

    def _interactions(self) -> Table | None:
        return self._table("INTERACTIONS", [*self._files("INTERACTIONS"), *self._live()])

    def _bulk(self, dataset_type: str) -> Table | None:
        return self._table(dataset_type, self._files(dataset_type))

    def _table(self, dataset_type: str, files: list[Path]) -> Table | None:
        """None where the group has no such dataset, or nothing in it."""
        schema = schema_of(self._group, dataset_type, self.reading)
        return Table(files=files, schema=schema["schema"], domain=schema.get("domain")) if files and schema else None

    def _files(self, dataset_type: str) -> list[Path]:
        """The older ones first."""
        files = []
        try:
            for job_arn in imports(self.version, dataset_type):
                self.on_step()
                files.append(self.artifacts.opened(job_arn) / ROWS)
        except ArtifactDamaged as error:
            raise WorkFailed(f"{error} Import the data again.") from error
        return files

    def _live(self) -> list[Path]:
        columns = columns_of(self._group, "INTERACTIONS", self.reading) or {}
        events = self.store.stream(arn_of(self._group, "INTERACTIONS", self.reading))
        written = frozen(events, columns, self.workspace / "live.parquet", self.on_step)
        return [written] if written else []


def events(config: Mapping[str, Any]) -> list[EventParameters]:
    """The eventParametersList of a solutionConfig's eventsConfig."""
    wanted = (config.get("eventsConfig") or {}).get("eventParametersList") or ()
    return [
        EventParameters(
            event_type=each.get("eventType"),
            value_threshold=each.get("eventValueThreshold"),
            weight=1.0 if each.get("weight") is None else float(each["weight"]),
        )
        for each in wanted
    ]


def objective(config: Mapping[str, Any]) -> Objective | None:
    """The optimizationObjective of a solutionConfig."""
    wanted = config.get("optimizationObjective")
    if not wanted or not wanted.get("itemAttribute"):
        return None
    return Objective(column=wanted["itemAttribute"], sensitivity=wanted.get("objectiveSensitivity") or "OFF")
