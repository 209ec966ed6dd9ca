"""Personalized-Ranking as AWS documents it: the HRNN, asked for the order of given items. All else is ``hrnn``'s."""

from __future__ import annotations

import dataclasses

from shared.recipes.declaration import Recipe
from shared.recipes.user_personalization import APPLY_RECENCY_BIAS, NETWORK

PERSONALIZED_RANKING = Recipe(
    name="aws-personalized-ranking",
    description="Puts given items into the order of how likely a user is to interact with each of them.",
    recipe_type="PERSONALIZED_RANKING",
    algorithm="aws-personalized-ranking",
    feature_transformation="JSON-percentile-filtering",
    module="shared.recipes.hrnn",
    hyperparameters=NETWORK,
    metadata=True,
    shows_scores=True,
    live=True,
    objective=True,
)
SECOND = dataclasses.replace(
    PERSONALIZED_RANKING,
    name="aws-personalized-ranking-v2",
    description=(
        "Puts given items into the order of how likely a user is to interact with each of them. It knows new items by "
        "their metadata, and event types may count differently."
    ),
    algorithm="aws-personalized-ranking-v2",
    feature_transformation=None,
    hyperparameters=(APPLY_RECENCY_BIAS,),
    cold_items=True,
    objective=False,
    events_config=True,
    metadata_unasked=True,
)
RECIPES = (PERSONALIZED_RANKING, SECOND)
