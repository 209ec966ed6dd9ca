"""The recipe that a request names by its ARN."""

from __future__ import annotations

from shared import recipes
from shared.aws.errors import ResourceNotFound


def find_recipe(arn: str) -> recipes.Recipe:
    """Return the recipe of an ARN. Raises ResourceNotFound."""
    recipe = recipes.find_recipe(arn)
    if recipe is None:
        raise ResourceNotFound(f"The given recipe does not exist: {arn}. ListRecipes shows those that do.")
    return recipe
