"""Trending-Now and its use case, as AWS documents them."""

from __future__ import annotations

import dataclasses

from shared.recipes.declaration import Recipe, ServingTraits
from shared.recipes.hyperparameters import HyperParameter

TREND_DISCOVERY_FREQUENCY = HyperParameter(
    name="trend_discovery_frequency",
    kind="featurization",
    type="categorical",
    default="2 hours",
    choices=("30 minutes", "1 hour", "2 hours", "3 hours", "1 day"),
)

TRENDING_NOW = Recipe(
    name="aws-trending-now",
    description="Recommends the items whose popularity rises fastest, the same for every user.",
    recipe_type="POPULAR_ITEMS",
    algorithm="aws-trending-now-custom",
    feature_transformation=None,
    module=__name__,
    hyperparameters=(TREND_DISCOVERY_FREQUENCY,),
    serving=ServingTraits(required_members=()),
)
VOD_TRENDING_NOW = dataclasses.replace(
    TRENDING_NOW,
    name="aws-vod-trending-now",
    description="Trending now: the videos whose popularity rises fastest.",
    domain="VIDEO_ON_DEMAND",
)
RECIPES = (TRENDING_NOW, VOD_TRENDING_NOW)
