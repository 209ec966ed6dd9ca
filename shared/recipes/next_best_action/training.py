"""Training of Next-Best-Action: the HRNN's training, with taken actions as targets and all interactions as inputs.

E events, I actions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial

import numpy as np
import numpy.typing as npt

from shared.data.arrays.histories import Histories, TooLittleData
from shared.data.training.training_data import TrainingData
from shared.recipes.declaration import Recipe
from shared.recipes.evaluation import Split
from shared.recipes.hrnn import training
from shared.recipes.hrnn.trainer import HrnnTrainer
from shared.recipes.next_best_action import ACTION_OPTIMIZATION_PERIOD, TAKEN
from shared.recipes.next_best_action.evaluation import evaluate_actions
from shared.recipes.next_best_action.rules import DAY_SECONDS, ActionRules
from shared.recipes.training_api import Trained, TrainingContext


def train(data: TrainingData, recipe: Recipe, parameters: Mapping[str, str], context: TrainingContext) -> Trained:
    """``shared.recipes.training_api.Train``."""
    period = int(parameters[ACTION_OPTIMIZATION_PERIOD.name]) * DAY_SECONDS
    targets_E = find_targets(data.histories, period)

    def measure(trainer: HrnnTrainer, split: Split) -> training.Measurement:
        return training.Measurement(*evaluate_actions(trainer.recommend, data.histories, split, targets_E, period))

    learn = partial(training.train_in_full, measure=measure)
    ActionRules.from_data(data).save(context.artifact)
    weighed = dataclasses.replace(data, event_weights=targets_E.astype(np.float32))
    return training.train(weighed, recipe, parameters, context, learn)


def find_targets(histories: Histories, period: int) -> npt.NDArray[np.bool_]:
    """bool[E]: actions taken within ``period`` seconds of the user's previous event, or as the user's first event.

    An event is predicted from the events before it: an action taken after the period is not one that the user takes
    within it. Raises TooLittleData where no event is left.
    """
    names = histories.event_type_names
    if TAKEN not in names:
        raise TooLittleData("No action was taken: Next-Best-Action learns from interactions of event type Taken.")
    since_E = np.diff(histories.timestamps, prepend=histories.timestamps[:1])
    since_E[histories.offsets[:-1]] = 0
    targets_E: npt.NDArray[np.bool_] = (histories.event_types == names.index(TAKEN)) & (since_E <= period)
    if not targets_E.any():
        raise TooLittleData(
            f"No action was taken within {period // DAY_SECONDS} days of the user's previous event: "
            f"raise {ACTION_OPTIMIZATION_PERIOD.name}, or import more action interactions."
        )
    return targets_E
