"""Training of the HRNN recipes, in modes FULL and UPDATE: fit, evaluate, retrain on all users, write."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from safetensors.torch import save_file

from shared.data.training.training_data import TrainingData
from shared.recipes import artifact as artifacts
from shared.recipes.declaration import Recipe
from shared.recipes.evaluation import Split, compute_report, count_interactions, evaluate_recommender, split_for_trials
from shared.recipes.hrnn.counters import COUNTERS
from shared.recipes.hrnn.plan import RETRAINING_EPOCHS, TrainingPlan
from shared.recipes.hrnn.trainer import HrnnTrainer, TrainingTask, complete_parameters
from shared.recipes.hrnn.warm_start import WarmStart, save_warm_start
from shared.recipes.progress import ProgressReporter
from shared.recipes.training_api import Trained, TrainingContext, Validated


class TrainingResult(NamedTuple):
    """The results of a training, before they are written."""

    trainer: HrnnTrainer
    metrics: dict[str, float]
    baseline: dict[str, float]
    epochs: int
    test_users: int
    report: Mapping[str, Any] = MappingProxyType({})


class Measurement(NamedTuple):
    """The metrics of a trainer on the test users, for ``Trained``."""

    metrics: dict[str, float]
    baseline: dict[str, float]
    report: Mapping[str, Any] = MappingProxyType({})


Measure = Callable[[HrnnTrainer, Split], Measurement]

Learn = Callable[[TrainingTask], TrainingResult]
"""The training and evaluation of a recipe in mode FULL: ``train_in_full``, or a replacement."""


def train(
    data: TrainingData,
    recipe: Recipe,
    parameters: Mapping[str, str],
    context: TrainingContext,
    learn: Learn | None = None,
) -> Trained:
    """Train, evaluate and write a model: ``shared.recipes.training_api.Train``, in mode UPDATE too.

    Raises ArtifactError if the base cannot be read. ``learn`` replaces ``train_in_full`` for recipes that AWS evaluates
    in another way.
    """
    started = time.monotonic()
    reporter = ProgressReporter.for_training(context)
    checkpoints = context.workspace / compute_fingerprint(data, recipe, parameters, context)
    checkpoints.mkdir(parents=True, exist_ok=True)
    if context.base is None:
        run = (learn or train_in_full)(TrainingTask(data, recipe, parameters, context, reporter, checkpoints))
    else:
        before = WarmStart.open(context.base)
        parameters = before.parameters
        run = train_update(TrainingTask(data, recipe, parameters, context, reporter, checkpoints), before)
    trainer, histories, artifact = run.trainer, data.histories, context.artifact
    reporter.report("writing", run.epochs)
    trained = Trained(
        metrics=run.metrics,
        baseline=run.baseline,
        epochs=run.epochs,
        seconds=round(time.monotonic() - started, 3),
        report=dict(run.report),
    )
    network = trainer.build_final_network()
    if trainer.blend is not None:
        trainer.blend.counters.save(artifact / COUNTERS)
    save_file(
        {name: tensor.contiguous() for name, tensor in network.state_dict().items()}, artifact / artifacts.WEIGHTS
    )
    if context.base is None and "UPDATE" in recipe.training.modes:
        save_warm_start(trainer.network, trainer.items, artifact)
    counts_I = np.bincount(histories.items, trainer.weights_E, minlength=len(histories.item_ids)).astype(np.float64)
    shares_I = counts_I / counts_I.sum()
    described = artifacts.ModelDescription(
        recipe=recipe.name,
        parameters=parameters,
        popularity=shares_I if data.rewards is None else data.rewards.scale_probabilities(shares_I),
        form=dataclasses.asdict(network.config),
        report=artifacts.summarize_training(trained, histories, run.test_users),
    )
    artifacts.write_artifact(artifact, data, described)
    return trained


def train_in_full(task: TrainingTask, measure: Measure | None = None) -> TrainingResult:
    """Fit on the training users, evaluate on the test users, then retrain on all users."""
    options, reporter = task.context.options, task.reporter
    more = RETRAINING_EPOCHS if options.retrain_on_all_users else 0
    split = Split.draw(task.data.histories, task.context.seed)
    trainer, epochs = fit_network(task, split, task.context.artifact / "logs", more)
    reporter.expect_epochs(epochs + more)
    reporter.report("evaluating", epochs)
    found = (measure or evaluate_trainer)(trainer, split)
    if options.retrain_on_all_users:
        all_users = np.concatenate([split.train, split.validation, split.test])
        epochs += trainer.continue_training(np.sort(all_users), epochs, task.checkpoints / "retraining.ckpt")
    return TrainingResult(trainer, found.metrics, found.baseline, epochs, len(split.test), found.report)


def fit_network(task: TrainingTask, split: Split, logs: Path | None = None, more: int = 0) -> tuple[HrnnTrainer, int]:
    """Fit a trainer to the training users, with early stopping on the validation users; return it and its epochs."""
    histories = task.data.histories
    events = int(histories.lengths[split.train].sum())
    task.reporter.expect_epochs(
        TrainingPlan.from_data(complete_parameters(task.parameters), events, len(histories.item_ids)).epochs + more
    )
    task.reporter.report("training", 0)
    trainer = HrnnTrainer(task, events)
    return trainer, trainer.fit(split.train, split.validation, task.checkpoints / "training.ckpt", logs)


def validate(
    data: TrainingData,
    recipe: Recipe,
    parameters: Mapping[str, str],
    context: TrainingContext,
) -> Validated:
    """Run a trial: ``shared.recipes.training_api.Validate``."""
    started = time.monotonic()
    of_training = Split.draw(data.histories, context.seed)
    split, users = split_for_trials(of_training, data.histories)
    reporter = ProgressReporter.for_training(context)
    name = compute_fingerprint(data, recipe, parameters, context)
    # Checkpoints of a trial on fewer users are not the training's.
    checkpoints = context.workspace / (name if split is of_training else f"{name}.trial")
    checkpoints.mkdir(parents=True, exist_ok=True)
    trainer, epochs = fit_network(TrainingTask(data, recipe, parameters, context, reporter, checkpoints), split)
    reporter.report("evaluating", epochs)
    metrics, errors = trainer.measure_next_items(users)
    return Validated(metrics=metrics, errors=errors, epochs=epochs, seconds=round(time.monotonic() - started, 3))


def train_update(task: TrainingTask, base: WarmStart) -> TrainingResult:
    """Continue from ``base`` on the new events, and evaluate on the newest of these: the base has seen the rest.

    If fewer than two users with new events can be tested, the weights and the metrics stay those of the base, but new
    items and users are added.
    """
    histories, options, reporter = task.data.histories, task.context.options, task.reporter
    more = RETRAINING_EPOCHS if options.retrain_on_all_users else 0
    reporter.expect_epochs(RETRAINING_EPOCHS + more)
    reporter.report("training", 0)
    new_E = base.find_new_events(histories)
    new_U = np.add.reduceat(new_E, histories.offsets[:-1], dtype=np.int64)
    events = int(new_E.sum())
    trainer = HrnnTrainer(task, events, base, new_E)
    knowing = np.flatnonzero(histories.in_training)
    with_news = np.flatnonzero(histories.in_training & (new_U > 0))
    newest_U = count_trailing_new(new_E, histories.offsets)
    testable_U = histories.in_training & (newest_U > 0)
    if (testable_U & (histories.lengths >= 2)).sum() < 2:
        trainer.create_sampler(count_interactions(histories, knowing))
        return TrainingResult(trainer, base.metrics, base.baseline, 0, 0)
    split = Split.draw(dataclasses.replace(histories, in_training=testable_U), task.context.seed)
    trainer.plan = trainer.plan.with_target_share(int(histories.lengths[with_news].sum()) / events)
    users = np.setdiff1d(with_news, split.test)
    epochs = trainer.continue_training(
        users, 0, task.checkpoints / "training.ckpt", phase="training", knowing=knowing, tested=split.test
    )
    reporter.report("evaluating", epochs)
    found = evaluate_trainer(trainer, split, newest_U)
    if options.retrain_on_all_users:
        epochs += trainer.continue_training(with_news, epochs, task.checkpoints / "retraining.ckpt", knowing=knowing)
    return TrainingResult(trainer, found.metrics, found.baseline, epochs, len(split.test), found.report)


def count_trailing_new(new_E: npt.NDArray[np.bool_], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """int64[U]: count each user's new events after the last one that is not new."""
    old_E = np.where(new_E, -1, np.arange(len(new_E)))
    last_old_U = np.maximum.reduceat(old_E, offsets[:-1])
    newest_U: npt.NDArray[np.int64] = offsets[1:] - np.maximum(last_old_U + 1, offsets[:-1])
    return newest_U


def evaluate_trainer(trainer: HrnnTrainer, split: Split, newest_U: npt.NDArray[np.int64] | None = None) -> Measurement:
    """Evaluate on the test users by ``shared.recipes.evaluation``, with its report."""
    data = trainer.data
    found = evaluate_recommender(
        trainer.recommend,
        data.histories,
        split,
        rewards_I=None if data.rewards is None else data.rewards.values,
        weights_E=data.event_weights,
        newest_U=newest_U,
    )
    return Measurement(*found, compute_report(trainer.recommend, data.histories, split, found, newest_U))


def compute_fingerprint(
    data: TrainingData,
    recipe: Recipe,
    parameters: Mapping[str, str],
    context: TrainingContext,
) -> str:
    """Return a name for the run's inputs, so that a checkpoint of other data or parameters is never resumed."""
    histories = data.histories
    base = context.base and context.base.name
    inputs = (recipe.name, sorted(parameters.items()), context.options.cell, context.seed, artifacts.FORMAT, base)
    digest = hashlib.sha256(repr(inputs).encode())
    digest.update("\0".join(histories.item_ids).encode())
    arrays = [getattr(histories, name) for name in ("offsets", "items", "timestamps", "event_types", "in_training")]
    for features in (data.items, data.users, data.contexts):
        arrays += [] if features is None else [features.offsets, features.values, features.weights]
    if data.rewards is not None:
        arrays.append(data.rewards.compute_log_factors())
    if data.event_weights is not None:
        arrays.append(data.event_weights)
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]
