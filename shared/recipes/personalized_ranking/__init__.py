"""Personalized-Ranking as AWS documents it: the HRNN ranks given items. Training and scoring are in ``hrnn``."""

from __future__ import annotations

import dataclasses

from shared.recipes.declaration import Recipe, ServingTraits, TrainingTraits
from shared.recipes.user_personalization import APPLY_RECENCY_BIAS, NETWORK

PERSONALIZED_RANKING = Recipe(
    name="aws-personalized-ranking",
    description="Puts given items into the order of how likely a user is to interact with each of them.",
    recipe_type="PERSONALIZED_RANKING",
    algorithm="aws-personalized-ranking",
    feature_transformation="JSON-percentile-filtering",
    module="shared.recipes.hrnn",
    hyperparameters=NETWORK,
    training=TrainingTraits(uses_metadata=True, takes_objective=True),
    serving=ServingTraits(shows_scores=True, reads_live_events=True),
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
    training=TrainingTraits(uses_metadata=True, cold_items=True, takes_events_config=True),
    serving=ServingTraits(shows_scores=True, always_shows_metadata=True, reads_live_events=True),
)
RECIPES = (PERSONALIZED_RANKING, SECOND)
