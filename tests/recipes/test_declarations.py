"""Every hyperparameter of every recipe beside AWS's tables: its map, type, default, range, and whether HPO tunes it.

Source: the developer guide's page on each recipe, copied by hand. A use case has none at AWS; what it has here is how
it runs a custom recipe, and is not looked at.
"""

from __future__ import annotations

from typing import Any

import pytest

from shared.recipes import RECIPES
from shared.recipes.hyperparameters import HyperParameter

Row = tuple[str, str, str, Any, bool]
"""kind, type, default, range, tunable"""

SHARE = (0.0, 1.0)
TRUTH = ("true", "false")
MANY = "above 0"


def network(hidden_dimension: str) -> dict[str, Row]:
    return {
        "hidden_dimension": ("algorithm", "integer", hidden_dimension, (32, 256), True),
        "bptt": ("algorithm", "integer", "32", (2, 32), True),
        "recency_mask": ("algorithm", "categorical", "true", TRUTH, True),
        "min_user_history_length_percentile": ("featurization", "float", "0.0", SHARE, False),
        "max_user_history_length_percentile": ("featurization", "float", "0.99", SHARE, False),
    }


SECOND: dict[str, Row] = {"apply_recency_bias": ("algorithm", "categorical", "true", TRUTH, False)}
AFFINITY: dict[str, Row] = {"hidden_dimension": ("algorithm", "integer", "149", (32, 256), False)}
TABLE: dict[str, dict[str, Row]] = {
    "aws-hrnn": network("43"),
    "aws-hrnn-metadata": network("43"),
    "aws-hrnn-coldstart": {
        **network("149"),
        "cold_start_max_interactions": ("featurization", "integer", "15", MANY, False),
        "cold_start_max_duration": ("featurization", "float", "5.0", MANY, False),
        "cold_start_relative_from": ("featurization", "string", "latestItem", ("currentTime", "latestItem"), False),
    },
    "aws-user-personalization": network("149"),
    "aws-user-personalization-v2": SECOND,
    "aws-personalized-ranking": network("149"),
    "aws-personalized-ranking-v2": SECOND,
    "aws-sims": {
        "popularity_discount_factor": ("algorithm", "float", "0.5", SHARE, True),
        "min_cointeraction_count": ("algorithm", "integer", "3", (0, 10), True),
        "min_user_history_length_percentile": ("featurization", "float", "0.005", SHARE, False),
        "max_user_history_length_percentile": ("featurization", "float", "0.995", SHARE, False),
        "min_item_interaction_count_percentile": ("featurization", "float", "0.01", SHARE, False),
        "max_item_interaction_count_percentile": ("featurization", "float", "0.9", SHARE, False),
    },
    "aws-similar-items": {
        "popularity_discount_factor": ("algorithm", "float", "0.0", SHARE, False),
        "item_id_hidden_dim": ("algorithm", "integer", "100", (30, 200), True),
        "item_metadata_hidden_dim": ("algorithm", "integer", "100", (30, 200), True),
    },
    "aws-popularity-count": {},
    "aws-trending-now": {
        "trend_discovery_frequency": (
            "featurization",
            "categorical",
            "2 hours",
            ("30 minutes", "1 hour", "2 hours", "3 hours", "1 day"),
            False,
        ),
    },
    "aws-next-best-action": {"action_optimization_period": ("featurization", "integer", "14", (7, 28), False)},
    "aws-item-affinity": AFFINITY,
    "aws-item-attribute-affinity": AFFINITY,
    "aws-semantic-similarity": {},
}
TRANSFORMATIONS = {
    "aws-hrnn": "JSON-percentile-filtering",
    "aws-hrnn-metadata": "featurize_metadata",
    "aws-hrnn-coldstart": "featurize_coldstart",
    "aws-personalized-ranking": "JSON-percentile-filtering",
    "aws-sims": "sims",
    "aws-popularity-count": "sims",
    "aws-item-affinity": "item-affinity",
    "aws-item-attribute-affinity": "item-attribute-affinity",
    "aws-semantic-similarity": "aws-semantic-similarity",
}


def row(declared: HyperParameter) -> Row:
    range_: Any = (declared.minimum, declared.maximum)
    if declared.choices:
        range_ = declared.choices
    elif declared.positive:
        range_ = MANY
    return declared.kind, declared.type, declared.default, range_, declared.tunable


def test_every_custom_recipe_stands_in_the_table() -> None:
    assert {name for name, recipe in RECIPES.items() if recipe.domain is None} == TABLE.keys()


@pytest.mark.parametrize("name", TABLE)
def test_a_recipe_has_awss_hyperparameters(name: str) -> None:
    recipe = RECIPES[name]
    assert {declared.name: row(declared) for declared in recipe.hyperparameters} == TABLE[name]
    assert recipe.feature_transformation == TRANSFORMATIONS.get(name)
    assert recipe.algorithm == {"aws-trending-now": "aws-trending-now-custom"}.get(name, name)


@pytest.mark.parametrize(
    "name", [name for name, table in TABLE.items() if "max_user_history_length_percentile" in table]
)
def test_the_percentiles_have_the_names_too_that_awss_console_writes(name: str) -> None:
    given = {"min_hist_length_percentile": "0.01", "max_hist_length_percentile": "0.98"}
    for map_name in ("featureTransformationParameters", "algorithmHyperParameters"):
        values = RECIPES[name].resolve_parameters({map_name: given})
        assert values.keys() == TABLE[name].keys()
        assert (values["min_user_history_length_percentile"], values["max_user_history_length_percentile"]) == (
            "0.01",
            "0.98",
        )
    with pytest.raises(ValueError, match=r"max_hist_length_percentile must lie in \[0, 1\]"):
        RECIPES[name].resolve_parameters({"featureTransformationParameters": {"max_hist_length_percentile": "1.5"}})
    twice = {"max_user_history_length_percentile": "0.9", "max_hist_length_percentile": "0.9"}
    with pytest.raises(ValueError, match="two names of one hyperparameter: give one of them"):
        RECIPES[name].resolve_parameters({"featureTransformationParameters": twice})


def test_user_personalization_takes_what_awss_console_writes_of_cold_items() -> None:
    given = {
        "cold_start_max_duration": "1",
        "cold_start_max_interactions": "15",
        "cold_start_relative_from": "currentTime",
    }
    recipe = RECIPES["aws-user-personalization"]
    assert recipe.resolve_parameters({"featureTransformationParameters": given}) == recipe.resolve_parameters({})
    with pytest.raises(ValueError, match="cold_start_max_duration must be above 0"):
        recipe.resolve_parameters({"featureTransformationParameters": {"cold_start_max_duration": "-1"}})


def test_only_the_dimensions_of_similar_items_are_set_by_hpo_alone() -> None:
    only_tuned = {one.name for recipe in RECIPES.values() for one in recipe.hyperparameters if one.only_tuned}
    assert only_tuned == {"item_id_hidden_dim", "item_metadata_hidden_dim"}


def test_scores_are_told_by_the_recipes_that_tell_them_at_aws() -> None:
    """The developer guide, Getting recommendations; of actions it shows scores as well."""
    assert {name for name, recipe in RECIPES.items() if recipe.serving.shows_scores} == {
        "aws-hrnn",
        "aws-hrnn-coldstart",
        "aws-hrnn-metadata",
        "aws-next-best-action",
        "aws-personalized-ranking",
        "aws-personalized-ranking-v2",
        "aws-user-personalization",
        "aws-user-personalization-v2",
    }
