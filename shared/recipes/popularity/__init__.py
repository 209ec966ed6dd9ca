"""Popularity-Count and the use cases that run it, as AWS documents them."""

from __future__ import annotations

import dataclasses

from shared.recipes.declaration import Recipe, ServingTraits, TrainingTraits

POPULARITY_COUNT = Recipe(
    name="aws-popularity-count",
    description="Recommends the items that the most users interacted with, the same for every user.",
    recipe_type="POPULAR_ITEMS",
    algorithm="aws-popularity-count",
    feature_transformation="sims",
    module=__name__,
    serving=ServingTraits(required_members=()),
)
MOST_POPULAR = dataclasses.replace(
    POPULARITY_COUNT,
    name="aws-vod-most-popular",
    description="Most popular: the videos that the most users watched.",
    domain="VIDEO_ON_DEMAND",
    training=TrainingTraits(event_type="Watch"),
)
MOST_VIEWED = dataclasses.replace(
    POPULARITY_COUNT,
    name="aws-ecomm-popular-items-by-views",
    description="Most viewed: the items that the most users viewed.",
    domain="ECOMMERCE",
    training=TrainingTraits(event_type="View"),
    serving=ServingTraits(required_members=("userId",)),
)
BEST_SELLERS = dataclasses.replace(
    MOST_VIEWED,
    name="aws-ecomm-popular-items-by-purchases",
    description="Best sellers: the items that the most users bought.",
    training=TrainingTraits(event_type="Purchase"),
)
RECIPES = (POPULARITY_COUNT, MOST_POPULAR, MOST_VIEWED, BEST_SELLERS)
