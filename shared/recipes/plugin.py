"""The stable names for a package of recipes outside this tree: all else in ``shared`` may change with any release.

Importing this module loads neither torch nor NumPy, so that a package may import it where it declares ``RECIPES``. The
names that need NumPy are loaded at their first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from shared.recipes.declaration import Recipe, ServingTraits, TrainingTraits
from shared.recipes.hyperparameters import HyperParameter
from shared.recipes.progress import ProgressReporter
from shared.recipes.scoring_api import (
    ArtifactError,
    ExplainedScores,
    ExplainingScorer,
    Exploration,
    Past,
    Query,
    Scorer,
)
from shared.recipes.training_api import (
    Train,
    Trained,
    TrainingContext,
    TrainingOptions,
    TrainingProgress,
    TrainingStopped,
    Validate,
    Validated,
)

if TYPE_CHECKING:
    from shared.data.arrays.histories import Histories, TooLittleData
    from shared.data.training.training_data import TrainingData
    from shared.recipes.artifact import WEIGHTS, Artifact, ModelDescription, summarize_training, write_artifact
    from shared.recipes.evaluation import Split, evaluate_recommender, measure_next_item
    from shared.recipes.single_pass_training import OnBlock, SinglePassModel, create_train_and_validate

__all__ = [
    "WEIGHTS",
    "Artifact",
    "ArtifactError",
    "ExplainedScores",
    "ExplainingScorer",
    "Exploration",
    "Histories",
    "HyperParameter",
    "ModelDescription",
    "OnBlock",
    "Past",
    "ProgressReporter",
    "Query",
    "Recipe",
    "Scorer",
    "ServingTraits",
    "SinglePassModel",
    "Split",
    "TooLittleData",
    "Train",
    "Trained",
    "TrainingContext",
    "TrainingData",
    "TrainingOptions",
    "TrainingProgress",
    "TrainingStopped",
    "TrainingTraits",
    "Validate",
    "Validated",
    "create_train_and_validate",
    "evaluate_recommender",
    "measure_next_item",
    "summarize_training",
    "write_artifact",
]

_LOADED_AT_FIRST_USE = {
    "Histories": "shared.data.arrays.histories",
    "TooLittleData": "shared.data.arrays.histories",
    "TrainingData": "shared.data.training.training_data",
    "Artifact": "shared.recipes.artifact",
    "ModelDescription": "shared.recipes.artifact",
    "WEIGHTS": "shared.recipes.artifact",
    "summarize_training": "shared.recipes.artifact",
    "write_artifact": "shared.recipes.artifact",
    "Split": "shared.recipes.evaluation",
    "evaluate_recommender": "shared.recipes.evaluation",
    "measure_next_item": "shared.recipes.evaluation",
    "OnBlock": "shared.recipes.single_pass_training",
    "SinglePassModel": "shared.recipes.single_pass_training",
    "create_train_and_validate": "shared.recipes.single_pass_training",
}


def __getattr__(name: str) -> Any:
    """Load a name that needs NumPy (PEP 562). Raises AttributeError for a name that is not offered."""
    if name not in _LOADED_AT_FIRST_USE:
        raise AttributeError(f"{__name__} has no {name}: it offers {', '.join(__all__)}.")
    return getattr(importlib.import_module(_LOADED_AT_FIRST_USE[name]), name)
