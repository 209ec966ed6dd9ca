"""Next-Best-Action as AWS documents it: the HRNN's network over interactions with actions."""

from __future__ import annotations

from shared.recipes.declaration import Recipe, ServingTraits, TrainingTraits
from shared.recipes.hyperparameters import HyperParameter

TAKEN = "taken"
"""The event type, in lower case, of interactions with an action that the user took."""

ACTION_OPTIMIZATION_PERIOD = HyperParameter(
    name="action_optimization_period",  # in days
    kind="featurization",
    type="integer",
    default="14",
    minimum=7,
    maximum=28,
)

RECIPES = (
    Recipe(
        name="aws-next-best-action",
        description=(
            "Predicts the actions that a user will take within the next days, from the actions that the user has "
            "taken, viewed and declined."
        ),
        recipe_type="PERSONALIZED_ACTIONS",
        algorithm="aws-next-best-action",
        feature_transformation=None,
        module=__name__,
        hyperparameters=(ACTION_OPTIMIZATION_PERIOD,),
        interactions="ACTION_INTERACTIONS",
        catalogue="ACTIONS",
        training=TrainingTraits(datasets=("ACTION_INTERACTIONS", "ACTIONS"), uses_metadata=True, cold_items=True),
        serving=ServingTraits(shows_scores=True, reads_live_events=True),
    ),
)
