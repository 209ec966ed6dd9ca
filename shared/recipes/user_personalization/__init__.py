"""User-Personalization as AWS documents it, and the use cases that run it: the HRNN's network, and exploration."""

from __future__ import annotations

import dataclasses

from shared.recipes.declaration import Recipe, ServingTraits, TrainingTraits
from shared.recipes.hrnn import (
    BPTT,
    COLD_START,
    HIDDEN_DIMENSION,
    MAX_USER_HISTORY_LENGTH_PERCENTILE,
    MIN_USER_HISTORY_LENGTH_PERCENTILE,
    RECENCY_MASK,
)
from shared.recipes.hyperparameters import HyperParameter

NETWORK = (
    dataclasses.replace(HIDDEN_DIMENSION, default="149"),
    BPTT,
    RECENCY_MASK,
    MIN_USER_HISTORY_LENGTH_PERCENTILE,
    MAX_USER_HISTORY_LENGTH_PERCENTILE,
)
"""The hyperparameters of the first version, here and of Personalized-Ranking."""

APPLY_RECENCY_BIAS = HyperParameter(
    name="apply_recency_bias",
    kind="algorithm",
    type="categorical",
    default="true",
    choices=("true", "false"),
)

USER_PERSONALIZATION = Recipe(
    name="aws-user-personalization",
    description=(
        "Predicts the items that a user will interact with, from interactions, metadata and context, and explores: "
        "it shows new items, to learn about them."
    ),
    recipe_type="USER_PERSONALIZATION",
    algorithm="aws-user-personalization",
    feature_transformation=None,
    module=__name__,
    hyperparameters=NETWORK,
    # AWS's console wrote these into its configurations: it came after aws-hrnn-coldstart.
    inert=COLD_START,
    training=TrainingTraits(
        modes=("FULL", "UPDATE"), uses_metadata=True, cold_items=True, uses_impressions=True, takes_objective=True
    ),
    serving=ServingTraits(shows_scores=True, reads_live_events=True, explores=True),
)
SECOND = dataclasses.replace(
    USER_PERSONALIZATION,
    name="aws-user-personalization-v2",
    description=(
        "Predicts the items that a user will interact with, from interactions, metadata and context. It shows a few "
        "new items by itself, and event types may count differently."
    ),
    algorithm="aws-user-personalization-v2",
    hyperparameters=(APPLY_RECENCY_BIAS,),
    inert=(),
    training=TrainingTraits(uses_metadata=True, cold_items=True, uses_impressions=True, takes_events_config=True),
    serving=ServingTraits(shows_scores=True, always_shows_metadata=True, gives_reasons=True, reads_live_events=True),
)
TOP_PICKS = dataclasses.replace(
    USER_PERSONALIZATION,
    name="aws-vod-top-picks",
    description="Top picks for you: the videos that a user is likely to watch next, without those already watched.",
    hyperparameters=(),
    inert=(),
    domain="VIDEO_ON_DEMAND",
    training=TrainingTraits(uses_metadata=True, cold_items=True, uses_impressions=True),
    serving=ServingTraits(reads_live_events=True, explores=True, hidden_event_type="Watch"),
)
RECOMMENDED_FOR_YOU = dataclasses.replace(
    TOP_PICKS,
    name="aws-ecomm-recommended-for-you",
    description="Recommended for you: the items that a user is likely to buy next, without those already bought.",
    domain="ECOMMERCE",
    serving=dataclasses.replace(TOP_PICKS.serving, hidden_event_type="Purchase"),
)
RECIPES = (USER_PERSONALIZATION, SECOND, TOP_PICKS, RECOMMENDED_FOR_YOU)
