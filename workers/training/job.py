"""The child process of one solution version: the recipe's trainer between the data and the artifact."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from shared import recipes, settings, telemetry
from shared.artifacts import ArtifactDamaged, Artifacts
from shared.data import histories
from shared.job import Progress, WorkFailed, WorkStopped, child
from shared.recipes.contract import Stopped
from shared.resources import Reading
from shared.resources.dataset.requests import arn_of
from shared.resources.dataset_import_job import ROWS
from shared.store import Record
from shared.store.redis import RedisStore
from workers.training.live import frozen


def train_solution_version(
    arn: str, attempt: int, progress: Progress, should_stop: Callable[[], bool]
) -> Mapping[str, Any]:
    configured = settings.load()
    store = RedisStore(configured.redis_url)
    reading = Reading(store, configured)
    version = reading.find(arn, "solution_version")
    recipe = recipes.by_arn(version.body["recipeArn"])
    if recipe is None:
        raise WorkFailed(f"The recipe {version.body['recipeArn']} is not offered by this release.")
    artifacts = Artifacts(configured.artifacts)
    workspace = artifacts.workspace(arn)
    progress({"phase": "loading"})
    config = version.body.get("solutionConfig") or {}
    parameters = recipe.settings(config)
    threshold = config.get("eventValueThreshold")
    try:
        loaded = histories.load(
            _interactions(version, reading, store, artifacts, workspace),
            event_type=version.body.get("eventType"),
            event_value_threshold=None if threshold is None else float(threshold),
            min_percentile=float(parameters["min_user_history_length_percentile"]),
            max_percentile=float(parameters["max_user_history_length_percentile"]),
            memory_mb=configured.import_memory_mb,
        )
        trainer = importlib.import_module(f"{recipe.module}.training")
        with artifacts.filling(arn, attempt) as folder:
            trained = trainer.train(
                loaded,
                parameters,
                workspace=workspace,
                artifact=folder,
                progress=lambda made: progress(asdict(made)),
                should_stop=should_stop,
                threads=configured.training_threads,
                retrain_on_all_users=configured.retrain_on_all_users,
            )
    except histories.TooLittleData as error:
        raise WorkFailed(str(error)) from error
    except Stopped as stopped:
        raise WorkStopped from stopped
    return {
        "metrics": trained.metrics,
        "baseline": trained.baseline,
        "epochs": trained.epochs,
        "seconds": trained.seconds,
    }


def _interactions(
    version: Record, reading: Reading, store: RedisStore, artifacts: Artifacts, workspace: Path
) -> list[Path]:
    """The Parquet files of the group's interactions: what was imported, and what came as live events."""
    dataset_arn = arn_of(version.body["datasetGroupArn"], "INTERACTIONS", reading)
    try:
        bulk = [artifacts.opened(job_arn) / ROWS for job_arn in version.state["imports"]]
    except ArtifactDamaged as error:
        raise WorkFailed(f"{error} Import the data again.") from error
    live = frozen(store.stream(dataset_arn), workspace / "live.parquet")
    if not bulk and live is None:
        raise WorkFailed("The dataset group has no interactions: import some, or send events.")
    return [*bulk, *([live] if live else [])]


if __name__ == "__main__":
    telemetry.configure(settings.load(), "training")
    child(train_solution_version)
