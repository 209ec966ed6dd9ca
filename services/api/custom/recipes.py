"""ListRecipes, DescribeRecipe, DescribeAlgorithm, DescribeFeatureTransformation: from the recipes' declarations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from services.api import page_tokens
from services.api.context import ApiContext
from shared import recipes
from shared.aws.errors import ResourceNotFound
from shared.http.app import Call
from shared.state.lifecycle import ACTIVE


def list_recipes(_context: ApiContext, call: Call) -> Mapping[str, Any]:
    domain = call.request.get("domain")
    offered = [recipe for recipe in recipes.RECIPES.values() if domain in (None, recipe.domain)]
    listed, following = page_tokens.slice_page(offered, call)
    return {"recipes": [_describe_recipe(recipe) for recipe in listed], "nextToken": following}


def describe_recipe(_context: ApiContext, call: Call) -> Mapping[str, Any]:
    return {"recipe": _describe_recipe(_find_recipe(recipes.find_recipe, call.request["recipeArn"], "recipe"))}


def describe_algorithm(_context: ApiContext, call: Call) -> Mapping[str, Any]:
    recipe = _find_recipe(recipes.find_recipe_by_algorithm, call.request["algorithmArn"], "algorithm")
    return {
        "algorithm": {
            "name": recipe.algorithm,
            "algorithmArn": recipe.algorithm_arn,
            "defaultHyperParameters": recipe.default_hyperparameters,
            "defaultHyperParameterRanges": recipe.default_ranges,
            **_get_dates(recipe),
        }
    }


def describe_feature_transformation(_context: ApiContext, call: Call) -> Mapping[str, Any]:
    recipe = _find_recipe(
        recipes.find_recipe_by_feature_transformation,
        call.request["featureTransformationArn"],
        "feature transformation",
    )
    return {
        "featureTransformation": {
            "name": recipe.feature_transformation,
            "featureTransformationArn": recipe.feature_transformation_arn,
            "defaultParameters": recipe.default_parameters,
            "status": ACTIVE,
            **_get_dates(recipe),
        }
    }


def _find_recipe(find: Callable[[str], recipes.Recipe | None], arn: str, noun: str) -> recipes.Recipe:
    recipe = find(arn)
    if recipe is None:
        raise ResourceNotFound(f"The given {noun} does not exist: {arn}")
    return recipe


def _describe_recipe(recipe: recipes.Recipe) -> dict[str, Any]:
    return {
        "name": recipe.name,
        "recipeArn": recipe.arn,
        "algorithmArn": recipe.algorithm_arn,
        "featureTransformationArn": recipe.feature_transformation_arn,
        "description": recipe.description,
        "recipeType": recipe.recipe_type,
        "domain": recipe.domain,
        "status": ACTIVE,
        **_get_dates(recipe),
    }


def _get_dates(recipe: recipes.Recipe) -> dict[str, Any]:
    return {"creationDateTime": recipe.created, "lastUpdatedDateTime": recipe.created}
