"""What the recipes of related and popular items declare, and the use cases: AWS's names, types and needs."""

from __future__ import annotations

import pytest

from shared import recipes
from shared.recipes import RECIPES

USER, ITEM, BOTH = ("userId",), ("itemId",), ("userId", "itemId")


@pytest.mark.parametrize(
    ("name", "type_", "algorithm", "transformation", "parameters"),
    [
        ("aws-popularity-count", "POPULAR_ITEMS", "aws-popularity-count", "sims", {}),
        (
            "aws-trending-now",
            "POPULAR_ITEMS",
            "aws-trending-now-custom",
            None,
            {"trend_discovery_frequency": "2 hours"},
        ),
        (
            "aws-sims",
            "RELATED_ITEMS",
            "aws-sims",
            "sims",
            {
                "popularity_discount_factor": "0.5",
                "min_cointeraction_count": "3",
                "min_user_history_length_percentile": "0.005",
                "max_user_history_length_percentile": "0.995",
                "min_item_interaction_count_percentile": "0.01",
                "max_item_interaction_count_percentile": "0.9",
            },
        ),
        (
            "aws-similar-items",
            "RELATED_ITEMS",
            "aws-similar-items",
            None,
            {
                "popularity_discount_factor": "0.0",
                "item_id_hidden_dim": "100",
                "item_metadata_hidden_dim": "100",
            },
        ),
    ],
)
def test_recipes_are_declared_as_aws_does(
    name: str, type_: str, algorithm: str, transformation: str | None, parameters: dict[str, str]
) -> None:
    recipe = RECIPES[name]
    assert (recipe.recipe_type, recipe.algorithm, recipe.feature_transformation) == (type_, algorithm, transformation)
    assert recipe.resolve_parameters(None) == parameters
    assert not any(
        (recipe.serving.shows_scores, recipe.serving.reads_live_events, recipe.serving.explores, recipe.domain)
    )
    assert recipe.serving.required_members == (ITEM if type_ == "RELATED_ITEMS" else ())


def test_what_may_be_tuned() -> None:
    tunable = {name: [p.name for p in RECIPES[name].hyperparameters if p.tunable] for name in RECIPES}
    assert tunable["aws-sims"] == ["popularity_discount_factor", "min_cointeraction_count"]
    assert tunable["aws-similar-items"] == ["item_id_hidden_dim", "item_metadata_hidden_dim"]
    assert tunable["aws-trending-now"] == tunable["aws-popularity-count"] == []


@pytest.mark.parametrize("value", ["30 minutes", "1 hour", "2 hours", "3 hours", "1 day", "1 Day"])
def test_a_frequency_is_one_of_awss(value: str) -> None:
    settings = RECIPES["aws-trending-now"].resolve_parameters(
        {"featureTransformationParameters": {"trend_discovery_frequency": value}}
    )
    assert settings == {"trend_discovery_frequency": value.lower()}


def test_another_frequency_is_refused() -> None:
    with pytest.raises(ValueError, match="trend_discovery_frequency must be one of 30 minutes, 1 hour,"):
        RECIPES["aws-trending-now"].resolve_parameters(
            {"featureTransformationParameters": {"trend_discovery_frequency": "4 hours"}}
        )


@pytest.mark.parametrize(
    ("name", "domain", "type_", "event_type", "needs", "hides"),
    [
        ("aws-vod-because-you-watched-x", "VIDEO_ON_DEMAND", "RELATED_ITEMS", "Watch", BOTH, "watch"),
        ("aws-vod-more-like-x", "VIDEO_ON_DEMAND", "RELATED_ITEMS", None, ITEM, "watch"),
        ("aws-vod-most-popular", "VIDEO_ON_DEMAND", "POPULAR_ITEMS", "Watch", (), None),
        ("aws-vod-trending-now", "VIDEO_ON_DEMAND", "POPULAR_ITEMS", None, (), None),
        ("aws-vod-top-picks", "VIDEO_ON_DEMAND", "USER_PERSONALIZATION", None, USER, "watch"),
        ("aws-ecomm-popular-items-by-views", "ECOMMERCE", "POPULAR_ITEMS", "View", USER, None),
        ("aws-ecomm-popular-items-by-purchases", "ECOMMERCE", "POPULAR_ITEMS", "Purchase", USER, None),
        ("aws-ecomm-frequently-bought-together", "ECOMMERCE", "RELATED_ITEMS", "Purchase", ITEM, None),
        ("aws-ecomm-customers-who-viewed-x-also-viewed", "ECOMMERCE", "RELATED_ITEMS", "View", BOTH, "purchase"),
        ("aws-ecomm-recommended-for-you", "ECOMMERCE", "USER_PERSONALIZATION", None, USER, "purchase"),
    ],
)
def test_use_cases_are_declared_as_aws_does(
    name: str, domain: str, type_: str, event_type: str | None, needs: tuple[str, ...], hides: str | None
) -> None:
    recipe = RECIPES[name]
    assert (recipe.domain, recipe.recipe_type, recipe.training.event_type, recipe.serving.required_members) == (
        domain,
        type_,
        event_type,
        needs,
    )
    assert (recipe.serving.hidden_event_type or "").lower() == (hides or "")
    assert not recipe.serving.shows_scores
    assert recipe.serving.explores == (type_ == "USER_PERSONALIZATION")
    assert ("ITEMS" in recipe.training.datasets) == (name == "aws-vod-more-like-x")


def test_an_algorithm_or_transformation_leads_to_the_recipe_that_sets_it() -> None:
    sims = RECIPES["aws-sims"]
    assert recipes.find_recipe_by_algorithm(sims.algorithm_arn) is sims
    assert recipes.find_recipe_by_feature_transformation(str(sims.feature_transformation_arn)) is sims
    for name in ("aws-popularity-count", "aws-trending-now", "aws-similar-items"):
        assert recipes.find_recipe_by_algorithm(RECIPES[name].algorithm_arn) is RECIPES[name]
