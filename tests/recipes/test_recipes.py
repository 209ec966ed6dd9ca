"""What the recipes declare: AWS's names, ranges and defaults, and what CreateSolution may set."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from shared import recipes
from shared.recipes import RECIPES

HRNN = RECIPES["aws-hrnn"]


def test_it_works() -> None:
    assert HRNN.arn == "arn:aws:personalize:::recipe/aws-hrnn"
    assert HRNN.algorithm_arn == "arn:aws:personalize:::algorithm/aws-hrnn"
    expected = "arn:aws:personalize:::feature-transformation/JSON-percentile-filtering"
    assert HRNN.feature_transformation_arn == expected
    assert HRNN.recipe_type == "USER_PERSONALIZATION"
    assert HRNN.resolve_parameters(None) == {
        "hidden_dimension": "43",
        "bptt": "32",
        "recency_mask": "true",
        "min_user_history_length_percentile": "0.0",
        "max_user_history_length_percentile": "0.99",
    }


@pytest.mark.parametrize(
    ("name", "hidden_dimension", "transformation", "more"),
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
def test_its_siblings_are_declared_as_aws_does(
    name: str, hidden_dimension: str, transformation: str, more: dict[str, str]
) -> None:
    recipe = RECIPES[name]
    assert recipe.algorithm_arn == f"arn:aws:personalize:::algorithm/{name}"
    assert recipe.feature_transformation_arn == f"arn:aws:personalize:::feature-transformation/{transformation}"
    assert recipe.recipe_type == "USER_PERSONALIZATION"
    assert recipe.resolve_parameters(None) == {
        **HRNN.resolve_parameters(None),
        "hidden_dimension": hidden_dimension,
        **more,
    }
    assert recipe.default_ranges == HRNN.default_ranges
    assert recipe.default_parameters.keys() - HRNN.default_parameters.keys() == more.keys()


def test_only_the_siblings_learn_from_metadata_and_only_coldstart_knows_cold_items() -> None:
    family = [
        recipe for recipe in RECIPES.values() if recipe.module == HRNN.module and recipe.recipe_type == HRNN.recipe_type
    ]
    flags = {recipe.name: (recipe.training.uses_metadata, recipe.training.cold_items) for recipe in family}
    assert flags == {
        "aws-hrnn": (False, False),
        "aws-hrnn-coldstart": (True, True),
        "aws-hrnn-metadata": (True, False),
    }


def test_a_recipe_is_found_by_its_arn_in_any_partition() -> None:
    assert recipes.find_recipe("arn:aws:personalize:::recipe/aws-hrnn") is HRNN
    assert recipes.find_recipe("arn:aws-cn:personalize:::recipe/aws-hrnn") is HRNN
    assert recipes.find_recipe_by_algorithm(HRNN.algorithm_arn) is HRNN
    assert recipes.find_recipe_by_feature_transformation(str(HRNN.feature_transformation_arn)) is HRNN


@pytest.mark.parametrize(
    "arn",
    [
        "",
        "aws-hrnn",
        "arn:aws:personalize:::algorithm/aws-hrnn",
        "arn:aws:personalize:::recipe/aws-none",
        "arn:aws:personalize:us-east-1:000000000000:recipe/aws-hrnn",
        "arn:aws:personalize:::recipe/aws-hrnn/x",
    ],
)
def test_what_is_not_a_recipes_arn_finds_none(arn: str) -> None:
    assert recipes.find_recipe(arn) is None


def test_declaring_costs_no_torch_and_no_arrays() -> None:
    loaded = "import sys, shared.recipes; print([m for m in ('torch', 'numpy', 'duckdb') if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_the_ranges_of_describe_algorithm() -> None:
    assert HRNN.default_ranges == {
        "integerHyperParameterRanges": [
            {"name": "hidden_dimension", "isTunable": True, "minValue": 32, "maxValue": 256},
            {"name": "bptt", "isTunable": True, "minValue": 2, "maxValue": 32},
        ],
        "continuousHyperParameterRanges": [],
        "categoricalHyperParameterRanges": [{"name": "recency_mask", "isTunable": True, "values": ["true", "false"]}],
    }
    assert HRNN.default_hyperparameters == {"hidden_dimension": "43", "bptt": "32", "recency_mask": "true"}
    assert HRNN.default_parameters["max_user_history_length_percentile"] == "0.99"


def test_either_map_may_hold_either_kind() -> None:
    percentile = {"max_user_history_length_percentile": "0.5"}
    for config in (
        {"algorithmHyperParameters": percentile},
        {"featureTransformationParameters": percentile},
    ):
        assert HRNN.resolve_parameters(config)["max_user_history_length_percentile"] == "0.5"


def test_a_truth_value_may_be_written_as_the_guide_writes_it() -> None:
    settings = HRNN.resolve_parameters({"algorithmHyperParameters": {"recency_mask": "False", "bptt": "40"}})
    assert settings["recency_mask"] == "false"
    assert settings["bptt"] == "40"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hidden_dim": "64"}, "hidden_dim is not a hyperparameter of aws-hrnn, which has: bptt,"),
        ({"hidden_dimension": "31"}, r"hidden_dimension must lie in \[32, 256\]; it is 31"),
        ({"hidden_dimension": "257"}, r"must lie in \[32, 256\]"),
        ({"hidden_dimension": "64.5"}, "hidden_dimension must be of type integer; it is '64.5'"),
        ({"bptt": "41"}, r"bptt must lie in \[2, 40\]"),
        ({"bptt": ""}, "bptt must be of type integer"),
        ({"recency_mask": "yes"}, "recency_mask must be one of true, false; it is 'yes'"),
        ({"max_user_history_length_percentile": "nan"}, "must lie in"),
        ({"max_user_history_length_percentile": "1.1"}, r"must lie in \[0, 1\]"),
        (
            {"min_user_history_length_percentile": "0.9", "max_user_history_length_percentile": "0.1"},
            r"min_user_history_length_percentile 0\.9 is above the maximum, 0\.1",
        ),
    ],
)
def test_refused_values(values: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HRNN.resolve_parameters({"algorithmHyperParameters": values})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"cold_start_max_interactions": "0"}, "cold_start_max_interactions must be above 0; it is 0"),
        ({"cold_start_max_interactions": "1.5"}, "must be of type integer"),
        ({"cold_start_max_interactions": "9" * 400}, "must be of type integer"),
        ({"cold_start_max_duration": "-1"}, "cold_start_max_duration must be above 0"),
        ({"cold_start_max_duration": "inf"}, "cold_start_max_duration must be above 0"),
        ({"cold_start_max_duration": "nan"}, "cold_start_max_duration must be above 0"),
        ({"cold_start_relative_from": "latestitem"}, "must be one of currentTime, latestItem; it is 'latestitem'"),
    ],
)
def test_refused_values_of_coldstart(values: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RECIPES["aws-hrnn-coldstart"].resolve_parameters({"featureTransformationParameters": values})


def test_values_of_coldstart_in_either_map() -> None:
    values = {
        "cold_start_max_interactions": "1000000",
        "cold_start_max_duration": "0.25",
        "cold_start_relative_from": "currentTime",
    }
    for map_name in ("algorithmHyperParameters", "featureTransformationParameters"):
        settings = RECIPES["aws-hrnn-coldstart"].resolve_parameters({map_name: values})
        assert values.items() <= settings.items()


def ranges(**lists: list[dict[str, Any]]) -> dict[str, Any]:
    return {"hpoConfig": {"algorithmHyperParameterRanges": lists}}


def test_ranges_to_tune_in_change_no_value() -> None:
    wanted = ranges(
        integerHyperParameterRanges=[
            {"name": "bptt", "minValue": 20, "maxValue": 40},
            {"name": "training.hidden_dimension", "minValue": 32, "maxValue": 64},
        ],
        continuousHyperParameterRanges=[],
        categoricalHyperParameterRanges=[{"name": "data.recency_mask", "values": ["true", "false"]}],
    )
    assert HRNN.resolve_parameters(wanted) == HRNN.resolve_parameters(None)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (ranges(integerHyperParameterRanges=[{"name": "depth"}]), "depth is not a hyperparameter"),
        (
            ranges(integerHyperParameterRanges=[{"name": "bptt", "minValue": 30, "maxValue": 20}]),
            "bptt has minValue 30 above maxValue 20",
        ),
        (
            ranges(integerHyperParameterRanges=[{"name": "bptt", "minValue": 1, "maxValue": 20}]),
            "bptt must lie in",
        ),
        (
            ranges(continuousHyperParameterRanges=[{"name": "bptt", "minValue": 2.0, "maxValue": 4.0}]),
            "bptt belongs in integerHyperParameterRanges",
        ),
        (
            ranges(categoricalHyperParameterRanges=[{"name": "recency_mask", "values": ["maybe"]}]),
            "recency_mask must be one of",
        ),
        (
            ranges(
                continuousHyperParameterRanges=[
                    {"name": "max_user_history_length_percentile", "minValue": 0.1, "maxValue": 0.9}
                ]
            ),
            "max_user_history_length_percentile is not tunable",
        ),
    ],
)
def test_refused_ranges(wanted: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HRNN.resolve_parameters(wanted)


@pytest.mark.parametrize("list_name", ["integerHyperParameterRanges", "categoricalHyperParameterRanges"])
def test_what_is_no_number_and_no_category_has_no_range(list_name: str) -> None:
    wanted = ranges(**{list_name: [{"name": "cold_start_relative_from", "values": ["currentTime"]}]})
    with pytest.raises(ValueError, match="cold_start_relative_from is not tunable"):
        RECIPES["aws-hrnn-coldstart"].resolve_parameters(wanted)
