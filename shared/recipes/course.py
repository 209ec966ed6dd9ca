"""The course of a training that is over in one pass: learn of nine tenths, be evaluated, learn of everybody, write.

Not for networks, whose fits go by epochs and continue from checkpoints.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from shared.data.training_data import TrainingData
from shared.recipes import artifact as artifacts
from shared.recipes.contract import Options, Progress, Recipe, Trained
from shared.recipes.evaluation import Split, evaluate
from shared.recipes.watch import Phase, Watch

OnBlock = Callable[[], None]
"""Called at least each second; what it raises ends the learning."""


class Model(Protocol):
    """What is learnt of some users."""

    @property
    def popularity(self) -> npt.NDArray[np.floating[Any]]:
        """[I] The distribution that is answered to who asks with nothing that the model knows."""
        ...

    def recommend(self, events_Q: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
        """``shared.recipes.evaluation.Recommend``."""
        ...

    def save(self, artifact: Path) -> None:
        """Writes what is its own."""
        ...


Learn = Callable[[npt.NDArray[np.int64], OnBlock], Model]
"""The numbers of users -> what is learnt of them."""


def follow(
    learn: Learn,
    data: TrainingData,
    recipe: Recipe,
    parameters: Mapping[str, str],
    *,
    artifact: Path,
    progress: Callable[[Progress], None],
    should_stop: Callable[[], bool],
    options: Options,
    seed: int,
    more_metrics: Callable[[OnBlock], Mapping[str, float]] = lambda _: {},
) -> Trained:
    """``shared.recipes.contract.Train``, of what ``learn`` makes. The epochs are its calls."""
    started = time.monotonic()
    histories = data.histories
    split = Split.of(histories, seed)
    epochs = 2 if options.retrain_on_all_users else 1
    watch = Watch(progress, should_stop, epochs)

    def in_phase(phase: Phase, done: int) -> OnBlock:
        watch.say(phase, done)
        watch.begin(done)
        return lambda: watch.step(phase, done)

    model = learn(np.union1d(split.train, split.validation), in_phase("training", 0))
    on_block = in_phase("evaluating", 1)

    def recommend(events_Q: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
        on_block()
        return model.recommend(events_Q, count)

    metrics, baseline = evaluate(recommend, histories, split)
    metrics |= more_metrics(on_block)
    if options.retrain_on_all_users:
        model = learn(np.flatnonzero(histories.in_training), in_phase("retraining", 1))
    in_phase("writing", epochs)()
    trained = Trained(metrics=metrics, baseline=baseline, epochs=epochs, seconds=round(time.monotonic() - started, 3))
    model.save(artifact)
    artifacts.write(
        artifact,
        data,
        recipe=recipe.name,
        parameters=parameters,
        form={},
        popularity=model.popularity,
        report={
            **dataclasses.asdict(trained),
            "users": len(histories.user_ids),
            "test_users": len(split.test),
            "interactions": len(histories.items),
        },
    )
    return trained
