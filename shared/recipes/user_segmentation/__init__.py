"""Item-Affinity and Item-Attribute-Affinity as AWS documents them: the HRNN's network, asked for users of items."""

from __future__ import annotations

import dataclasses

from shared.recipes.declaration import Recipe, ServingTraits, TrainingTraits
from shared.recipes.hrnn import HIDDEN_DIMENSION

ITEM_AFFINITY = Recipe(
    name="aws-item-affinity",
    description="Finds the users that are most likely to interact with an item. For batch segment jobs alone.",
    recipe_type="USER_SEGMENTATION",
    algorithm="aws-item-affinity",
    feature_transformation="item-affinity",
    module=__name__,
    hyperparameters=(dataclasses.replace(HIDDEN_DIMENSION, default="149", tunable=False),),
    training=TrainingTraits(uses_metadata=True, cold_items=True),
    serving=ServingTraits(required_members=("itemId",), reads_live_events=True),
)
ITEM_ATTRIBUTE_AFFINITY = dataclasses.replace(
    ITEM_AFFINITY,
    name="aws-item-attribute-affinity",
    description=(
        "Finds the users that are most likely to interact with the items that have an attribute. For batch segment "
        "jobs alone."
    ),
    algorithm="aws-item-attribute-affinity",
    feature_transformation="item-attribute-affinity",
    training=TrainingTraits(datasets=("INTERACTIONS", "ITEMS"), uses_metadata=True, cold_items=True),
    serving=ServingTraits(required_members=("itemAttributes",), reads_live_events=True),
)
RECIPES = (ITEM_AFFINITY, ITEM_ATTRIBUTE_AFFINITY)
