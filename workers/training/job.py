"""The child process of one solution version: the recipe's trainer between the data and the artifact."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from shared import recipes, settings, telemetry
from shared.artifacts import ArtifactDamaged, Artifacts
from shared.aws.errors import PersonalizeError
from shared.data import training_data
from shared.data.histories import DataRefused
from shared.job import Progress, WorkFailed, WorkStopped, child
from shared.recipes.contract import ArtifactError, Options, Stopped
from shared.resources import Reading
from shared.settings import Settings
from shared.store import Record
from shared.store.redis import RedisStore
from workers.training.sources import Finding

UPDATE = "UPDATE"


def train_solution_version(
    arn: str, attempt: int, progress: Progress, should_stop: Callable[[], bool]
) -> Mapping[str, Any]:
    configured = settings.load()
    store = RedisStore(configured.redis_url)
    reading = Reading(store, configured)
    version = reading.find(arn, "solution_version", "recommender_version")
    recipe = recipes.by_arn(version.body["recipeArn"])
    if recipe is None:
        raise WorkFailed(f"The recipe {version.body['recipeArn']} is not offered by this release.")
    options = chosen(configured)
    artifacts = Artifacts(configured.artifacts)
    workspace = artifacts.workspace(arn)
    progress({"phase": "loading"})
    parameters = recipe.settings(version.body.get("solutionConfig"))

    def stop_if_asked() -> None:
        if should_stop():
            raise Stopped

    try:
        data = training_data.prepare(
            workspace / "data",
            Finding(version, recipe, reading, store, artifacts, workspace, stop_if_asked).sources(parameters),
            memory_mb=configured.import_memory_mb,
            on_step=stop_if_asked,
        )
        trainer = importlib.import_module(f"{recipe.module}.training")
        with artifacts.filling(arn, attempt) as folder:
            trained = trainer.train(
                data,
                recipe,
                parameters,
                workspace=workspace,
                artifact=folder,
                progress=lambda made: progress(asdict(made)),
                should_stop=should_stop,
                options=options,
                **going_on(version, artifacts),
            )
    except (DataRefused, PersonalizeError) as error:
        raise WorkFailed(str(error)) from error
    except (ArtifactDamaged, ArtifactError) as error:
        raise WorkFailed(f"{error} Create a solution version with trainingMode FULL.") from error
    except Stopped as stopped:
        raise WorkStopped from stopped
    return {
        "metrics": trained.metrics,
        "baseline": trained.baseline,
        "epochs": trained.epochs,
        "seconds": trained.seconds,
    }


def going_on(version: Record, artifacts: Artifacts) -> dict[str, Path]:
    """What a training in mode UPDATE is told beside: the artifact of the version that it goes on from.

    Raises WorkFailed and ArtifactDamaged.
    """
    if version.body["trainingMode"] != UPDATE:
        return {}
    base = version.state.get("base")
    if not base:
        raise WorkFailed("The solution has no active version that was trained in mode FULL, to go on from.")
    return {"base": artifacts.opened(base)}


def chosen(configured: Settings) -> Options:
    """What the operator has decided about training. Raises WorkFailed where the machine can't do it."""
    if configured.training_logger == "tensorboard" and importlib.util.find_spec("tensorboard") is None:
        raise WorkFailed(
            "FORETASTE_TRAINING_LOGGER is tensorboard, which is not installed on the training worker: "
            "install foretaste[tensorboard] there, or choose csv."
        )
    return Options(
        threads=configured.training_threads,
        retrain_on_all_users=configured.retrain_on_all_users,
        cell=configured.training_cell,
        precision=configured.training_precision,
        compile=configured.training_compile,
        logger=configured.training_logger,
        checkpoint_seconds=configured.checkpoint_seconds,
    )


if __name__ == "__main__":
    telemetry.configure(settings.load(), "training")
    child(train_solution_version)
