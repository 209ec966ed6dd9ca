"""ListRecipes, DescribeRecipe, DescribeAlgorithm, DescribeFeatureTransformation."""

from __future__ import annotations

from typing import Any

from tests.operations.conftest import HRNN, refused


def test_recipes_are_listed_by_name(personalize: Any) -> None:
    listed = personalize.list_recipes()["recipes"]
    assert [recipe["name"] for recipe in listed] == sorted(recipe["name"] for recipe in listed)
    [hrnn] = [recipe for recipe in listed if recipe["recipeArn"] == HRNN]
    assert hrnn["status"] == "ACTIVE"
    assert "domain" not in hrnn


def test_pages_of_recipes_meet_all(personalize: Any) -> None:
    paginator = personalize.get_paginator("list_recipes").paginate(PaginationConfig={"PageSize": 1})
    assert paginator.build_full_result()["recipes"] == personalize.list_recipes()["recipes"]


def test_a_recipe_leads_to_its_algorithm_and_transformation(personalize: Any) -> None:
    recipe = personalize.describe_recipe(recipeArn=HRNN)["recipe"]
    assert recipe["recipeType"] == "USER_PERSONALIZATION"
    algorithm = personalize.describe_algorithm(algorithmArn=recipe["algorithmArn"])["algorithm"]
    assert algorithm["defaultHyperParameters"] == {"hidden_dimension": "43", "bptt": "32", "recency_mask": "true"}
    ranges = algorithm["defaultHyperParameterRanges"]["integerHyperParameterRanges"]
    assert {"name": "hidden_dimension", "minValue": 32, "maxValue": 256, "isTunable": True} in ranges
    transformation = personalize.describe_feature_transformation(
        featureTransformationArn=recipe["featureTransformationArn"]
    )["featureTransformation"]
    assert transformation["name"] == "JSON-percentile-filtering"
    assert transformation["defaultParameters"]["max_user_history_length_percentile"] == "0.99"


def test_unknown_ones_are_not_found(personalize: Any) -> None:
    with refused("ResourceNotFoundException", "recipe"):
        personalize.describe_recipe(recipeArn="arn:aws:personalize:::recipe/none")
    with refused("ResourceNotFoundException", "algorithm"):
        personalize.describe_algorithm(algorithmArn="arn:aws:personalize:::algorithm/none")
    with refused("ResourceNotFoundException", "feature transformation"):
        personalize.describe_feature_transformation(
            featureTransformationArn="arn:aws:personalize:::feature-transformation/none"
        )
