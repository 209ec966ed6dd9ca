"""ListRecipes, DescribeRecipe, DescribeAlgorithm, DescribeFeatureTransformation: read from the recipes' folders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from services.api import page_tokens
from services.api.operations import Desk
from shared import recipes
from shared.aws.errors import ResourceNotFound
from shared.http.app import Call
from shared.state.lifecycle import ACTIVE


def list_recipes(_desk: Desk, call: Call) -> Mapping[str, Any]:
    domain = call.request.get("domain")
    offered = [recipe for recipe in recipes.RECIPES.values() if domain in (None, recipe.domain)]
    listed, following = page_tokens.part(offered, call)
    return {"recipes": [_described(recipe) for recipe in listed], "nextToken": following}


def describe_recipe(_desk: Desk, call: Call) -> Mapping[str, Any]:
    return {"recipe": _described(_found(recipes.find_recipe, call.request["recipeArn"], "recipe"))}


def describe_algorithm(_desk: Desk, call: Call) -> Mapping[str, Any]:
    recipe = _found(recipes.find_recipe_by_algorithm, call.request["algorithmArn"], "algorithm")
    return {
        "algorithm": {
            "name": recipe.algorithm,
            "algorithmArn": recipe.algorithm_arn,
            "defaultHyperParameters": recipe.default_hyperparameters,
            "defaultHyperParameterRanges": recipe.default_ranges,
            **_dates(recipe),
        }
    }


def describe_feature_transformation(_desk: Desk, call: Call) -> Mapping[str, Any]:
    recipe = _found(
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
            **_dates(recipe),
        }
    }


def _found(find: Callable[[str], recipes.Recipe | None], arn: str, noun: str) -> recipes.Recipe:
    recipe = find(arn)
    if recipe is None:
        raise ResourceNotFound(f"The given {noun} does not exist: {arn}")
    return recipe


def _described(recipe: recipes.Recipe) -> dict[str, Any]:
    return {
        "name": recipe.name,
        "recipeArn": recipe.arn,
        "algorithmArn": recipe.algorithm_arn,
        "featureTransformationArn": recipe.feature_transformation_arn,
        "description": recipe.description,
        "recipeType": recipe.recipe_type,
        "domain": recipe.domain,
        "status": ACTIVE,
        **_dates(recipe),
    }


def _dates(recipe: recipes.Recipe) -> dict[str, Any]:
    return {"creationDateTime": recipe.created, "lastUpdatedDateTime": recipe.created}
