"""The child process of a training worker: a recipe's trainer between the data and the artifact, or a trial's result."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from shared import recipes, settings
from shared.aws.errors import PersonalizeError
from shared.data.arrays.histories import DataRefused
from shared.data.training import training_data
from shared.data.training.training_data import TrainingData
from shared.jobs.entrypoint import ReportProgress, WorkFailed, WorkStopped, run_jobs
from shared.observability import logging
from shared.recipes import Recipe
from shared.recipes.scoring_api import ArtifactError
from shared.recipes.training_api import TrainingContext, TrainingOptions, TrainingProgress, TrainingStopped
from shared.resources import ResourceReader
from shared.resources.solution_version.requests import tuned
from shared.resources.trial import requests as trials
from shared.settings import Settings
from shared.state.messages import RunTrial, TrainSolutionVersion
from shared.storage.artifacts import ArtifactDamaged, Artifacts
from shared.store import Record
from shared.store.redis import RedisStore
from shared.system.cpu_quota import available_cpus
from workers.training import devices
from workers.training.sources import SourceFinder

UPDATE = "UPDATE"

#: Who prepares data for others looks after it at least so often (seconds).
PREPARING_SECONDS = 10.0


@dataclass(frozen=True)
class TrainingRun:
    """What a training of a solution version, or a trial of it, has before it. Raises WorkFailed."""

    version: Record
    recipe: Recipe
    store: RedisStore
    configured: Settings
    should_stop: Callable[[], bool]

    @classmethod
    def for_version(cls, version: Record, recipe_arn: str, store: RedisStore, should_stop: Callable[[], bool]) -> Self:
        recipe = recipes.find_recipe(recipe_arn)
        if recipe is None:
            raise WorkFailed(f"The recipe {recipe_arn} is not offered by this release.")
        if version.body.get("performAutoML"):
            # "AutoML ... all other solutionConfig members are ignored."
            version = replace(version, body={**version.body, "solutionConfig": {}})
        return cls(version, recipe, store, settings.load(), should_stop)

    @property
    def artifacts(self) -> Artifacts:
        return Artifacts(self.configured.artifacts, on_block=self.should_stop)

    @property
    def workspace(self) -> Path:
        return self.artifacts.create_workspace(self.version.arn)

    @property
    def parameters(self) -> dict[str, str]:
        return self.recipe.resolve_parameters(self.version.body.get("solutionConfig"))

    def load_data(self) -> TrainingData:
        """Prepared once for all trials of the recipe and the training that follows them. Raises DataRefused."""
        folder = self.workspace / f"data-{self.recipe.name}"
        name = f"data:{folder.parent.name}:{folder.name}"
        owner = f"{os.uname().nodename}:{os.getpid()}:{time.monotonic_ns()}"
        while not folder.exists():
            self.stop_if_asked()
            if self.store.acquire_lock(name, owner, PREPARING_SECONDS):
                return self._prepare_data(folder, lambda: self.store.acquire_lock(name, owner, PREPARING_SECONDS))
            time.sleep(0.1)
        return TrainingData.open(folder)

    def _prepare_data(self, folder: Path, keep_lock: Callable[[], object]) -> TrainingData:
        looked = time.monotonic()

        def on_step() -> None:
            nonlocal looked
            self.stop_if_asked()
            if time.monotonic() - looked > 1.0:
                looked = time.monotonic()
                keep_lock()

        reading = ResourceReader(self.store, self.configured)
        beside = folder.with_name(f"{folder.name}.sources")
        beside.mkdir(exist_ok=True)
        finding = SourceFinder(self.version, self.recipe, reading, self.store, self.artifacts, beside, on_step)
        return training_data.prepare_training_data(
            folder,
            finding.find_sources(self.parameters),
            memory_mb=self.configured.import_memory_mb,
            on_step=on_step,
        )

    def stop_if_asked(self) -> None:
        if self.should_stop():
            raise TrainingStopped

    @contextlib.contextmanager
    def open_context(
        self,
        workspace: Path,
        artifact: Path,
        report_progress: Callable[[TrainingProgress], object],
        base: Path | None = None,
    ) -> Iterator[TrainingContext]:
        """Hold this training's GPUs within the block, on a machine that has any.

        Raises WorkFailed, and TrainingStopped while it waits for a GPU.
        """
        with devices.grant_devices(self.configured, self.stop_if_asked) as gpus:
            yield TrainingContext(
                workspace=workspace,
                artifact=artifact,
                report_progress=report_progress,
                should_stop=self.should_stop,
                options=choose_options(self.configured, count_workers_here(self.store)),
                gpus=gpus,
                base=base,
            )

    @property
    def trainer(self) -> Any:
        return importlib.import_module(f"{self.recipe.module}.training")


def train_solution_version(
    arn: str, attempt: int, progress: ReportProgress, should_stop: Callable[[], bool]
) -> Mapping[str, Any]:
    configured = settings.load()
    store = RedisStore(configured.redis_url)
    version = ResourceReader(store, configured).find_record(arn, "solution_version", "recommender_version")
    won = tuned(version)
    bench = TrainingRun.for_version(version, won["recipeArn"] if won else version.body["recipeArn"], store, should_stop)
    progress({"phase": "loading"})
    with _translate_errors(), bench.artifacts.fill_artifact(arn, attempt) as folder:
        data, trainer = bench.load_data(), bench.trainer
        parameters = won["parameters"] if won else bench.parameters
        # The winning trial has learnt already: training continues from its checkpoints.
        workspace = trials.workspace(bench.workspace, won["trial"]) if won else bench.workspace
        base = find_base(version, bench.artifacts)
        with bench.open_context(workspace, folder, lambda made: progress(made.as_message()), base) as context:
            trained = trainer.train(data, bench.recipe, parameters, context)
    return {
        "metrics": trained.metrics,
        "baseline": trained.baseline,
        "report": trained.report,
        "epochs": trained.epochs,
        "seconds": trained.seconds,
    }


def run_trial(arn: str, _attempt: int, progress: ReportProgress, should_stop: Callable[[], bool]) -> Mapping[str, Any]:
    configured = settings.load()
    store = RedisStore(configured.redis_url)
    reading = ResourceReader(store, configured)
    trial = reading.find_record(arn, "trial")
    lease = store.get_lease(arn)
    bench = TrainingRun.for_version(
        reading.find_record(trial.parents[0], "solution_version"), trial.body["recipeArn"], store, should_stop
    )
    curve = {epoch: (gain, seconds) for epoch, gain, seconds in trials.curve(trial)}
    before = max((seconds for _, seconds in curve.values()), default=0.0)
    began = time.monotonic()

    def say(made: Mapping[str, Any]) -> Mapping[str, Any]:
        """All that was said before with it, in case that was lost on the way."""
        seconds = round(before + time.monotonic() - began, 3)
        if made.get("gain") is not None:
            curve[made["epoch"]] = (round(made["gain"], 6), seconds)
        told = {
            **made,
            "curve": [[epoch, *point] for epoch, point in sorted(curve.items())],
            "worker": lease.worker if lease else None,
            "seconds": seconds,
        }
        progress(told)
        return told

    say({"phase": "loading"})
    workspace = trials.workspace(bench.workspace, trial.body["number"])
    workspace.mkdir(parents=True, exist_ok=True)
    with _translate_errors():
        data, trainer = bench.load_data(), bench.trainer
        with bench.open_context(workspace, workspace / "artifact", lambda made: say(made.as_message())) as context:
            tried = trainer.validate(data, bench.recipe, trial.body["parameters"], context)
    return {
        "metrics": tried.metrics,
        "errors": tried.errors,
        "epochs": tried.epochs,
        "progress": say({"phase": "finished", "epoch": tried.epochs, "epochs": tried.epochs}),
    }


@contextlib.contextmanager
def _translate_errors() -> Iterator[None]:
    """What trainers raise, in the words of a job."""
    try:
        yield
    except (DataRefused, PersonalizeError) as error:
        raise WorkFailed(str(error)) from error
    except (ArtifactDamaged, ArtifactError) as error:
        raise WorkFailed(f"{error} Create a solution version with trainingMode FULL.") from error
    except TrainingStopped as stopped:
        raise WorkStopped from stopped


def find_base(version: Record, artifacts: Artifacts) -> Path | None:
    """Return the artifact of the version from which a training in mode UPDATE continues; None in other modes.

    Raises WorkFailed and ArtifactDamaged.
    """
    if version.body["trainingMode"] != UPDATE:
        return None
    base = version.state.get("base")
    if not base:
        raise WorkFailed("The solution has no active version that was trained in mode FULL, to go on from.")
    return artifacts.open_artifact(base)


def count_workers_here(store: RedisStore) -> int:
    """How many training workers of this machine, or container, share its cores: at least 1."""
    here = f"training@{os.uname().nodename}:"
    return max(sum(name.startswith(here) for name in store.list_live_processes()), 1)


def choose_options(configured: Settings, workers: int = 1) -> TrainingOptions:
    """Read the operator's options for a training on a machine that ``workers`` training workers share.

    Raises WorkFailed where this machine cannot train so.
    """
    if configured.training_logger == "tensorboard" and importlib.util.find_spec("tensorboard") is None:
        raise WorkFailed(
            "FORETASTE_TRAINING_LOGGER is tensorboard, which is not installed on the training worker: "
            "install foretaste[tensorboard] there, or choose csv."
        )
    options = TrainingOptions.from_settings(configured)
    if options.strategy == "ddp" and options.num_nodes > 1 and not options.master:
        raise WorkFailed("FORETASTE_TRAINING_NUM_NODES is above 1: FORETASTE_TRAINING_MASTER must say where they meet.")
    # One worker may use as many threads as the cgroup grants; several share these.
    threads = options.threads or (max(available_cpus() // workers, 1) if workers > 1 else 0)
    return replace(options, threads=threads)


if __name__ == "__main__":
    logging.configure_logging(settings.load(), "training")
    run_jobs({TrainSolutionVersion.wire: train_solution_version, RunTrial.wire: run_trial})
