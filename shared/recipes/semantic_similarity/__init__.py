"""Semantic-Similarity as AWS documents it: related items by the meaning of their texts."""

from __future__ import annotations

from datetime import UTC, datetime

from shared.recipes.declaration import Recipe, ServingTraits, TrainingTraits

RECIPES = (
    Recipe(
        name="aws-semantic-similarity",
        description=(
            "Recommends items whose names, descriptions and attributes have a meaning similar to a given item's. Needs "
            "no interactions; a campaign may prefer new or popular items among the similar ones."
        ),
        recipe_type="RELATED_ITEMS",
        algorithm="aws-semantic-similarity",
        feature_transformation="aws-semantic-similarity",
        module=__name__,
        training=TrainingTraits(datasets=("ITEMS",), uses_texts=True, cold_items=True),
        serving=ServingTraits(
            required_members=("itemId",),
            always_shows_metadata=True,
            takes_new_items=True,
            takes_ranking_influence=True,
        ),
        created=datetime(2025, 11, 30, tzinfo=UTC),
    ),
)
