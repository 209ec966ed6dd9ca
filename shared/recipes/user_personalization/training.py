"""Training of User-Personalization: the HRNN's training, and the ages of the items for exploration."""

from __future__ import annotations

from collections.abc import Mapping

from shared.data.training.training_data import TrainingData
from shared.recipes.declaration import Recipe
from shared.recipes.hrnn import training
from shared.recipes.training_api import Trained, TrainingContext
from shared.recipes.user_personalization.exploration import ItemNovelty


def train(data: TrainingData, recipe: Recipe, parameters: Mapping[str, str], context: TrainingContext) -> Trained:
    """``shared.recipes.training_api.Train``."""
    ItemNovelty.from_data(data).save(context.artifact)
    return training.train(data, recipe, parameters, context)


validate = training.validate
