"""Training of Similar-Items, and its trials: fit, evaluate, continue with all users, write."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from functools import partial

import numpy as np
from safetensors.numpy import save_file

from shared.data.training.training_data import TrainingData
from shared.recipes.artifact import WEIGHTS, ModelDescription, summarize_training, write_artifact
from shared.recipes.baskets import Baskets
from shared.recipes.declaration import Recipe
from shared.recipes.evaluation import Split, compute_report, evaluate_recommender, measure_next_item, split_for_trials
from shared.recipes.hrnn.training import compute_fingerprint
from shared.recipes.progress import Phase, ProgressReporter
from shared.recipes.similar_items.fit import RETRAINING_EPOCHS
from shared.recipes.similar_items.trainer import VectorTrainer
from shared.recipes.single_pass_training import NDCG
from shared.recipes.training_api import Trained, TrainingContext, Validated


def train(
    data: TrainingData,
    recipe: Recipe,
    parameters: Mapping[str, str],
    context: TrainingContext,
) -> Trained:
    """``shared.recipes.training_api.Train``."""
    started = time.monotonic()
    data = without_users(data)
    histories = data.histories
    split = Split.draw(histories, context.seed)
    more = RETRAINING_EPOCHS if context.options.retrain_on_all_users else 0
    reporter = ProgressReporter.for_training(context)
    checkpoints = context.workspace / compute_fingerprint(data, recipe, parameters, context)
    checkpoints.mkdir(parents=True, exist_ok=True)
    trainer = VectorTrainer(data, parameters, context, reporter, checkpoints)
    epochs = trainer.fit(split, more)
    reporter.expect_epochs(epochs + more)
    reporter.report("evaluating", epochs)
    recommend = partial(trainer.find_similar, on_block=lambda: reporter.report_if_due("evaluating", epochs))
    metrics, baseline = measured = evaluate_recommender(recommend, histories, split)
    views = compute_report(recommend, histories, split, measured)
    learnt_users = np.union1d(split.train, split.validation)
    if context.options.retrain_on_all_users:
        learnt_users = np.flatnonzero(histories.in_training)
        epochs += trainer.continue_fit(learnt_users, epochs)
    reporter.report("writing", epochs)
    trained = Trained(
        metrics=metrics,
        baseline=baseline,
        epochs=epochs,
        seconds=round(time.monotonic() - started, 3),
        report=views,
    )
    takers_I = Baskets.collect(histories, learnt_users, reporter.stop_if_asked).takers
    save_file({"vectors": trainer.get_vectors().numpy()}, context.artifact / WEIGHTS)
    described = ModelDescription(
        recipe=recipe.name,
        parameters=parameters,
        popularity=takers_I / takers_I.sum(),
        form=dataclasses.asdict(trainer.form),
        report=summarize_training(trained, histories, len(split.test)),
    )
    write_artifact(context.artifact, data, described)
    return trained


def validate(
    data: TrainingData,
    recipe: Recipe,
    parameters: Mapping[str, str],
    context: TrainingContext,
) -> Validated:
    """``shared.recipes.training_api.Validate``.

    The loss of the validation users ends the fit, as in training; the NDCG reported after each epoch counts the events
    by which all trials are compared.
    """
    started = time.monotonic()
    data = without_users(data)
    histories = data.histories
    of_training = Split.draw(histories, context.seed)
    split, users = split_for_trials(of_training, histories)
    reporter = ProgressReporter.for_training(context)
    name = compute_fingerprint(data, recipe, parameters, context)
    # The checkpoints of a trial on fewer users must not be taken up by the training.
    checkpoints = context.workspace / (name if split is of_training else f"{name}.trial")
    checkpoints.mkdir(parents=True, exist_ok=True)
    trainer = VectorTrainer(data, parameters, context, reporter, checkpoints)

    def measure(phase: Phase, epochs: int) -> tuple[dict[str, float], dict[str, float]]:
        recommend = partial(trainer.find_similar, on_block=lambda: reporter.report_if_due(phase, epochs))
        return measure_next_item(recommend, histories, users)

    def on_epoch(done: int) -> None:
        metrics, _ = measure("training", done)
        reporter.ndcg = metrics[NDCG]
        reporter.report("training", done)
        reporter.ndcg = None

    epochs = trainer.fit(split, on_epoch=on_epoch)
    reporter.expect_epochs(epochs)
    reporter.report("evaluating", epochs)
    metrics, errors = measure("evaluating", epochs)
    return Validated(metrics=metrics, errors=errors, epochs=epochs, seconds=round(time.monotonic() - started, 3))


def without_users(data: TrainingData) -> TrainingData:
    """Remove user and context features: this recipe's answers depend on items alone."""
    return dataclasses.replace(data, users=None, contexts=None)
