"""Similar-Items and the use case that runs it, as AWS documents them."""

from __future__ import annotations

import dataclasses

from shared.recipes.declaration import Recipe, ServingTraits, TrainingTraits
from shared.recipes.hyperparameters import HyperParameter
from shared.recipes.sims import POPULARITY_DISCOUNT_FACTOR

ITEM_ID_HIDDEN_DIM = HyperParameter(
    name="item_id_hidden_dim",
    kind="algorithm",
    type="integer",
    default="100",
    minimum=30,
    maximum=200,
    tunable=True,
    only_tuned=True,
)
ITEM_METADATA_HIDDEN_DIM = dataclasses.replace(ITEM_ID_HIDDEN_DIM, name="item_metadata_hidden_dim")

SIMILAR_ITEMS = Recipe(
    name="aws-similar-items",
    description="Recommends items similar to a given item: taken near it by the same users, or with similar metadata.",
    recipe_type="RELATED_ITEMS",
    algorithm="aws-similar-items",
    feature_transformation=None,
    module=__name__,
    hyperparameters=(
        dataclasses.replace(POPULARITY_DISCOUNT_FACTOR, default="0.0", tunable=False),
        ITEM_ID_HIDDEN_DIM,
        ITEM_METADATA_HIDDEN_DIM,
    ),
    training=TrainingTraits(uses_metadata=True, cold_items=True),
    serving=ServingTraits(required_members=("itemId",)),
)
MORE_LIKE_X = dataclasses.replace(
    SIMILAR_ITEMS,
    name="aws-vod-more-like-x",
    description="More like X: videos similar to a given video, without the videos that the user has watched.",
    domain="VIDEO_ON_DEMAND",
    training=TrainingTraits(datasets=("INTERACTIONS", "ITEMS"), uses_metadata=True, cold_items=True),
    serving=ServingTraits(required_members=("itemId",), hidden_event_type="Watch"),
)
RECIPES = (SIMILAR_ITEMS, MORE_LIKE_X)
