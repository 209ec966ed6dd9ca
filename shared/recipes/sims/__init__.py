"""SIMS and the use cases that run it, as AWS documents them."""

from __future__ import annotations

import dataclasses

from shared.recipes.declaration import Recipe, ServingTraits, TrainingTraits
from shared.recipes.hrnn import MAX_USER_HISTORY_LENGTH_PERCENTILE, MIN_USER_HISTORY_LENGTH_PERCENTILE
from shared.recipes.hyperparameters import HyperParameter

POPULARITY_DISCOUNT_FACTOR = HyperParameter(
    name="popularity_discount_factor",
    kind="algorithm",
    type="float",
    default="0.5",
    minimum=0.0,
    maximum=1.0,
    tunable=True,
)
MIN_COINTERACTION_COUNT = HyperParameter(
    name="min_cointeraction_count",
    kind="algorithm",
    type="integer",
    default="3",
    minimum=0,
    maximum=10,
    tunable=True,
)
MIN_ITEM_INTERACTION_COUNT_PERCENTILE = HyperParameter(
    name="min_item_interaction_count_percentile",
    kind="featurization",
    type="float",
    default="0.01",
    minimum=0.0,
    maximum=1.0,
)
MAX_ITEM_INTERACTION_COUNT_PERCENTILE = dataclasses.replace(
    MIN_ITEM_INTERACTION_COUNT_PERCENTILE,
    name="max_item_interaction_count_percentile",
    default="0.9",
)

SIMS = Recipe(
    name="aws-sims",
    description="Recommends the items that users of a given item also took: item-to-item collaborative filtering.",
    recipe_type="RELATED_ITEMS",
    algorithm="aws-sims",
    feature_transformation="sims",
    module=__name__,
    hyperparameters=(
        POPULARITY_DISCOUNT_FACTOR,
        MIN_COINTERACTION_COUNT,
        dataclasses.replace(MIN_USER_HISTORY_LENGTH_PERCENTILE, default="0.005"),
        dataclasses.replace(MAX_USER_HISTORY_LENGTH_PERCENTILE, default="0.995"),
        MIN_ITEM_INTERACTION_COUNT_PERCENTILE,
        MAX_ITEM_INTERACTION_COUNT_PERCENTILE,
    ),
    serving=ServingTraits(required_members=("itemId",)),
)

BECAUSE_YOU_WATCHED_X = dataclasses.replace(
    SIMS,
    name="aws-vod-because-you-watched-x",
    description="Because you watched X: the videos that viewers of a given video also watched.",
    hyperparameters=(
        POPULARITY_DISCOUNT_FACTOR,
        MIN_COINTERACTION_COUNT,
        dataclasses.replace(MIN_USER_HISTORY_LENGTH_PERCENTILE, default="0.005"),
        dataclasses.replace(MAX_USER_HISTORY_LENGTH_PERCENTILE, default="0.995"),
        # A use case covers the whole catalogue, and all interactions.
        dataclasses.replace(MIN_ITEM_INTERACTION_COUNT_PERCENTILE, default="0.0"),
        dataclasses.replace(MAX_ITEM_INTERACTION_COUNT_PERCENTILE, default="1.0"),
    ),
    domain="VIDEO_ON_DEMAND",
    training=TrainingTraits(event_type="Watch"),
    serving=ServingTraits(required_members=("userId", "itemId"), hidden_event_type="Watch"),
)
ALSO_VIEWED = dataclasses.replace(
    BECAUSE_YOU_WATCHED_X,
    name="aws-ecomm-customers-who-viewed-x-also-viewed",
    description="Customers who viewed X also viewed: the items that viewers of a given item also viewed.",
    domain="ECOMMERCE",
    training=TrainingTraits(event_type="View"),
    serving=ServingTraits(required_members=("userId", "itemId"), hidden_event_type="Purchase"),
)
BOUGHT_TOGETHER = dataclasses.replace(
    ALSO_VIEWED,
    name="aws-ecomm-frequently-bought-together",
    description="Frequently bought together: the items that buyers of a given item also bought.",
    training=TrainingTraits(event_type="Purchase"),
    serving=ServingTraits(required_members=("itemId",)),
)
RECIPES = (SIMS, BECAUSE_YOU_WATCHED_X, ALSO_VIEWED, BOUGHT_TOGETHER)
