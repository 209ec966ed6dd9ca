"""The child process of a training worker: prepares the data, runs the recipe's trainer, writes the artifact."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import structlog

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
from shared.resources.solution_version.requests import get_tuning_result
from shared.resources.trial import requests as trials
from shared.settings import Settings
from shared.state.messages import RunTrial, TrainSolutionVersion
from shared.storage.artifacts import ArtifactDamaged, Artifacts
from shared.store import Record
from shared.store.redis import RedisStore
from shared.system.cpu_quota import available_cpus
from workers.training import devices
from workers.training.sources import SourceFinder, SourcesChanged

log = structlog.get_logger()

UPDATE = "UPDATE"

#: The lock on the preparation of data expires after this time; its holder renews it about each second.
PREPARING_SECONDS = 10.0


@dataclass(frozen=True)
class TrainingRun:
    """The inputs of a training of a solution version, or of one of its trials."""

    version: Record
    recipe: Recipe
    store: RedisStore
    configured: Settings
    should_stop: Callable[[], bool]

    @classmethod
    def for_version(cls, version: Record, recipe_arn: str, store: RedisStore, should_stop: Callable[[], bool]) -> Self:
        """Find the recipe. Raises WorkFailed where it is not offered."""
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
        """Open the data, prepared once for all trials of the recipe and the training after them. Raises DataRefused."""
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
        renewed = time.monotonic()

        def on_step() -> None:
            nonlocal renewed
            self.stop_if_asked()
            if time.monotonic() - renewed > 1.0:
                renewed = time.monotonic()
                keep_lock()

        while True:
            try:
                return self._read_sources(folder, on_step)
            except SourcesChanged:
                log.info("users were deleted while the data were read: they are read again", folder=folder.name)

    def _read_sources(self, folder: Path, on_step: Callable[[], None]) -> TrainingData:
        """Write the data to ``folder``. Raises SourcesChanged, and then leaves nothing of what it has read."""
        drafts = folder.with_name(f"{folder.name}.sources")
        drafts.mkdir(exist_ok=True)
        reader = ResourceReader(self.store, self.configured)
        finder = SourceFinder(self.version, self.recipe, reader, self.store, self.artifacts, drafts, on_step)
        digests = finder.compute_digests()

        def check_sources() -> None:
            if finder.compute_digests() != digests:
                shutil.rmtree(drafts)
                raise SourcesChanged

        return training_data.prepare_training_data(
            folder,
            finder.find_sources(self.parameters),
            memory_mb=self.configured.import_memory_mb,
            on_step=on_step,
            check_sources=check_sources,
        )

    def stop_if_asked(self) -> None:
        """Raise TrainingStopped if the worker asks for it."""
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
        """The recipe's module with ``train``, and ``validate`` where it may be tuned."""
        return importlib.import_module(f"{self.recipe.module}.training")


def train_solution_version(
    arn: str, attempt: int, progress: ReportProgress, should_stop: Callable[[], bool]
) -> Mapping[str, Any]:
    """``shared.jobs.entrypoint.Job``: train, and return the metrics."""
    configured = settings.load()
    store = RedisStore(configured.redis_url)
    version = ResourceReader(store, configured).find_record(arn, "solution_version", "recommender_version")
    won = get_tuning_result(version)
    run = TrainingRun.for_version(version, won["recipeArn"] if won else version.body["recipeArn"], store, should_stop)
    progress({"phase": "loading"})
    with _translate_errors(), run.artifacts.fill_artifact(arn, attempt) as folder:
        data, trainer = run.load_data(), run.trainer
        parameters = won["parameters"] if won else run.parameters
        # The winning trial has learnt already: training continues from its checkpoints.
        workspace = trials.get_workspace(run.workspace, won["trial"]) if won else run.workspace
        base = find_base(version, run.artifacts)
        with run.open_context(workspace, folder, lambda made: progress(made.as_message()), base) as context:
            trained = trainer.train(data, run.recipe, parameters, context)
    return {
        "metrics": trained.metrics,
        "baseline": trained.baseline,
        "report": trained.report,
        "epochs": trained.epochs,
        "seconds": trained.seconds,
    }


def run_trial(arn: str, _attempt: int, progress: ReportProgress, should_stop: Callable[[], bool]) -> Mapping[str, Any]:
    """``shared.jobs.entrypoint.Job``: run one trial of HPO or AutoML, and return its metrics."""
    configured = settings.load()
    store = RedisStore(configured.redis_url)
    reader = ResourceReader(store, configured)
    trial = reader.find_record(arn, "trial")
    lease = store.get_lease(arn)
    run = TrainingRun.for_version(
        reader.find_record(trial.parents[0], "solution_version"), trial.body["recipeArn"], store, should_stop
    )
    curve = {epoch: (gain, seconds) for epoch, gain, seconds in trials.read_curve(trial)}
    before = max((seconds for _, seconds in curve.values()), default=0.0)
    began = time.monotonic()

    def report(made: Mapping[str, Any]) -> Mapping[str, Any]:
        """Report the progress with the whole curve, since earlier reports may have been lost."""
        seconds = round(before + time.monotonic() - began, 3)
        if made.get("gain") is not None:
            curve[made["epoch"]] = (round(made["gain"], 6), seconds)
        message = {
            **made,
            "curve": [[epoch, *point] for epoch, point in sorted(curve.items())],
            "worker": lease.worker if lease else None,
            "seconds": seconds,
        }
        progress(message)
        return message

    report({"phase": "loading"})
    workspace = trials.get_workspace(run.workspace, trial.body["number"])
    workspace.mkdir(parents=True, exist_ok=True)
    with _translate_errors():
        data, trainer = run.load_data(), run.trainer
        with run.open_context(workspace, workspace / "artifact", lambda made: report(made.as_message())) as context:
            tried = trainer.validate(data, run.recipe, trial.body["parameters"], context)
    return {
        "metrics": tried.metrics,
        "errors": tried.errors,
        "epochs": tried.epochs,
        "progress": report({"phase": "finished", "epoch": tried.epochs, "epochs": tried.epochs}),
    }


@contextlib.contextmanager
def _translate_errors() -> Iterator[None]:
    """Translate the exceptions of trainers into those of a job."""
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
        raise WorkFailed("The solution has no active version trained in mode FULL to continue from.")
    return artifacts.open_artifact(base)


def count_workers_here(store: RedisStore) -> int:
    """Count the training workers that share the cores of this machine, or container: at least 1."""
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
    # 0 lets a single worker use all cores that the cgroup grants; several workers share them.
    threads = options.threads or (max(available_cpus() // workers, 1) if workers > 1 else 0)
    return replace(options, threads=threads)


if __name__ == "__main__":
    logging.configure_logging(settings.load(), "training")
    run_jobs({TrainSolutionVersion.wire: train_solution_version, RunTrial.wire: run_trial})
