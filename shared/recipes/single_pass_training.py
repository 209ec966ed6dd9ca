"""Training in one pass, for recipes that count: learn from 90 % of the users, evaluate, learn from all, write.

A trial learns from fewer users and writes nothing. Networks train elsewhere: their fits run for epochs and continue
from checkpoints.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from shared.data.training.training_data import TrainingData
from shared.recipes.artifact import ModelDescription, summarize_training, write_artifact
from shared.recipes.declaration import Recipe
from shared.recipes.evaluation import Split, compute_report, evaluate_recommender, measure_next_item, split_for_trials
from shared.recipes.progress import Phase, ProgressReporter
from shared.recipes.training_api import Train, Trained, TrainingContext, Validate, Validated

OnBlock = Callable[[], None]
"""Called at least once a second; an exception that it raises ends the work."""

NDCG = "normalized_discounted_cumulative_gain_at_25"
"""The metric that ``TrainingProgress.ndcg`` holds."""


class SinglePassModel(Protocol):
    """A model learnt from some users."""

    @property
    def popularity(self) -> npt.NDArray[np.floating[Any]]:
        """[I] The distribution that answers a query in which the model knows nothing."""
        ...

    def recommend(self, events_Q: npt.NDArray[np.int64], count: int, on_block: OnBlock) -> npt.NDArray[np.int64]:
        """``shared.recipes.evaluation.Recommend``."""
        ...

    def save(self, artifact: Path) -> None:
        """Write the files of this recipe alone."""
        ...


class LearnUsers(Protocol):
    """The learning of one recipe."""

    def __call__(
        self, data: TrainingData, parameters: Mapping[str, str], users: npt.NDArray[np.int64], on_block: OnBlock
    ) -> SinglePassModel:
        """Learn from these users, given by number. Raises TooLittleData."""
        ...


MoreMetrics = Callable[[TrainingData, Mapping[str, str], OnBlock], Mapping[str, float]]
"""(data, parameters, on_block) -> further metrics of a training, by name."""


def create_train_and_validate(learn: LearnUsers, more_metrics: MoreMetrics = lambda *_: {}) -> tuple[Train, Validate]:
    """Return ``train`` and ``validate`` of a recipe that learns by ``learn``."""
    training = SinglePassTraining(learn, more_metrics)
    return training.train, training.validate


@dataclass(frozen=True)
class SinglePassTraining:
    """Training and trials of one recipe. Each call of ``learn`` counts as an epoch."""

    learn: LearnUsers
    more_metrics: MoreMetrics

    def train(
        self,
        data: TrainingData,
        recipe: Recipe,
        parameters: Mapping[str, str],
        context: TrainingContext,
    ) -> Trained:
        """``shared.recipes.training_api.Train``."""
        started = time.monotonic()
        histories = data.histories
        split = Split.draw(histories, context.seed)
        epochs = 2 if context.options.retrain_on_all_users else 1
        reporter = ProgressReporter.for_training(context, epochs)
        users = np.union1d(split.train, split.validation)
        model = self.learn(data, parameters, users, start_phase(reporter, "training", 0))
        on_block = start_phase(reporter, "evaluating", 1)
        recommend = partial(model.recommend, on_block=on_block)
        metrics, baseline = measured = evaluate_recommender(recommend, histories, split)
        views = compute_report(recommend, histories, split, measured)
        metrics |= self.more_metrics(data, parameters, on_block)
        if context.options.retrain_on_all_users:
            users = np.flatnonzero(histories.in_training)
            model = self.learn(data, parameters, users, start_phase(reporter, "retraining", 1))
        start_phase(reporter, "writing", epochs)()
        trained = Trained(
            metrics=metrics,
            baseline=baseline,
            epochs=epochs,
            seconds=round(time.monotonic() - started, 3),
            report=views,
        )
        model.save(context.artifact)
        described = ModelDescription(
            recipe=recipe.name,
            parameters=parameters,
            popularity=model.popularity,
            report=summarize_training(trained, histories, len(split.test)),
        )
        write_artifact(context.artifact, data, described)
        return trained

    def validate(
        self,
        data: TrainingData,
        recipe: Recipe,  # noqa: ARG002 - all recipes learn by their parameters alone
        parameters: Mapping[str, str],
        context: TrainingContext,
    ) -> Validated:
        """``shared.recipes.training_api.Validate``."""
        started = time.monotonic()
        histories = data.histories
        split, users = split_for_trials(Split.draw(histories, context.seed), histories)
        reporter = ProgressReporter.for_training(context, epochs=1)
        model = self.learn(data, parameters, split.train, start_phase(reporter, "training", 0))
        on_block = start_phase(reporter, "evaluating", 1)
        metrics, errors = measure_next_item(partial(model.recommend, on_block=on_block), histories, users)
        reporter.ndcg = metrics[NDCG]
        reporter.report("evaluating", 1)
        return Validated(metrics=metrics, errors=errors, epochs=1, seconds=round(time.monotonic() - started, 3))


def start_phase(reporter: ProgressReporter, phase: Phase, done: int) -> OnBlock:
    """Report the start of a phase; return the function to call during it, which may raise TrainingStopped."""
    reporter.report(phase, done)
    reporter.start_clock(done)
    return lambda: reporter.report_if_due(phase, done)
