"""ListRecipes, DescribeRecipe, DescribeAlgorithm, DescribeFeatureTransformation."""

from __future__ import annotations

from typing import Any

import pytest

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


@pytest.mark.parametrize(
    ("name", "hidden_dimension", "transformation", "parameters"),
    [
        ("aws-hrnn-metadata", "43", "featurize_metadata", {}),
        (
            "aws-hrnn-coldstart",
            "149",
            "featurize_coldstart",
            {
                "cold_start_max_interactions": "15",
                "cold_start_max_duration": "5.0",
                "cold_start_relative_from": "latestItem",
            },
        ),
    ],
)
def test_the_siblings_are_described(
    personalize: Any, name: str, hidden_dimension: str, transformation: str, parameters: dict[str, str]
) -> None:
    recipe = personalize.describe_recipe(recipeArn=f"arn:aws:personalize:::recipe/{name}")["recipe"]
    assert recipe["name"] in {listed["name"] for listed in personalize.list_recipes()["recipes"]}
    assert (recipe["recipeType"], recipe["status"]) == ("USER_PERSONALIZATION", "ACTIVE")
    algorithm = personalize.describe_algorithm(algorithmArn=recipe["algorithmArn"])["algorithm"]
    assert algorithm["name"] == name
    assert algorithm["defaultHyperParameters"] == {
        "hidden_dimension": hidden_dimension,
        "bptt": "32",
        "recency_mask": "true",
    }
    described = personalize.describe_feature_transformation(
        featureTransformationArn=recipe["featureTransformationArn"]
    )["featureTransformation"]
    assert described["name"] == transformation
    assert described["defaultParameters"] == {
        "min_user_history_length_percentile": "0.0",
        "max_user_history_length_percentile": "0.99",
        **parameters,
    }


def test_unknown_ones_are_not_found(personalize: Any) -> None:
    with refused("ResourceNotFoundException", "recipe"):
        personalize.describe_recipe(recipeArn="arn:aws:personalize:::recipe/none")
    with refused("ResourceNotFoundException", "algorithm"):
        personalize.describe_algorithm(algorithmArn="arn:aws:personalize:::algorithm/none")
    with refused("ResourceNotFoundException", "feature transformation"):
        personalize.describe_feature_transformation(
            featureTransformationArn="arn:aws:personalize:::feature-transformation/none"
        )
