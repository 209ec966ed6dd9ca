"""``validate`` sleeps for ``milliseconds``; ``train`` is Popularity-Count's."""

from __future__ import annotations

import time
from collections.abc import Mapping

from shared.recipes.plugin import Recipe, TrainingContext, TrainingData, TrainingStopped, Validated
from shared.recipes.popularity.training import train
from shared.resources.solution.tuning import METRICS

__all__ = ["train", "validate"]


def validate(data: TrainingData, recipe: Recipe, parameters: Mapping[str, str], context: TrainingContext) -> Validated:
    """``shared.recipes.training_api.Validate``: every metric has the value of the hyperparameter ``worth``."""
    del data, recipe
    began = time.monotonic()
    while (left := int(parameters["milliseconds"]) / 1000 - (time.monotonic() - began)) > 0:
        if context.should_stop():
            raise TrainingStopped
        time.sleep(min(left, 0.05))
    worth = float(parameters["worth"])
    return Validated(
        metrics=dict.fromkeys(METRICS, worth),
        errors=dict.fromkeys(METRICS, 0.0),
        epochs=1,
        seconds=round(time.monotonic() - began, 3),
    )
