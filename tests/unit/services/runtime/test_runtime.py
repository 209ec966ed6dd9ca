"""The runtime without a network: which recipe each operation asks, with which query, and what it answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shared.aws.errors import InvalidInput, ResourceNotFound, ServiceUnavailable
from shared.recipes import RECIPES, Recipe
from shared.recipes.scoring_api import Exploration, Past
from shared.store import Interaction
from tests.unit.services.runtime_world import PREFIX, Runtime, event

UP, HRNN, SIMS, POPULAR, RANKING, ALSO_VIEWED, TOP_PICKS, ACTIONS = (
    RECIPES[f"aws-{name}"]
    for name in (
        "user-personalization",
        "hrnn",
        "sims",
        "popularity-count",
        "personalized-ranking",
        "ecomm-customers-who-viewed-x-also-viewed",
        "vod-top-picks",
        "next-best-action",
    )
)


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    return Runtime(tmp_path)


@pytest.mark.parametrize(
    ("recipe", "request_", "items", "scored"),
    [
        (HRNN, {"userId": "u"}, "bca", True),
        (HRNN, {"userId": "u", "itemId": "?"}, "bca", True),
        (UP, {"userId": "u"}, "bca", True),
        (SIMS, {"itemId": "b"}, "ca", False),
        (SIMS, {"itemId": "?"}, "bca", False),
        (POPULAR, {}, "bca", False),
        (ALSO_VIEWED, {"itemId": "b", "userId": "u"}, "ca", False),
        (TOP_PICKS, {"userId": "u"}, "bca", False),
    ],
)
def test_every_kind_of_recipe_answers(
    runtime: Runtime, recipe: Recipe, request_: dict[str, str], items: str, scored: bool
) -> None:
    arn = runtime.serving(recipe)
    listed = runtime.answered(arn, **request_)
    assert "".join(row["itemId"] for row in listed) == items
    assert all(("score" in row) == scored for row in listed)
    assert runtime.answered(arn, **request_, numResults=0) == []


@pytest.mark.parametrize(
    ("recipe", "request_", "lacks"),
    [
        (HRNN, {"itemId": "a"}, "userId is required by the recipe aws-hrnn. For an anonymous user, send the sessionId"),
        (UP, {"userId": ""}, "userId is required"),
        (SIMS, {"userId": "u"}, "itemId is required by the recipe aws-sims"),
        (ALSO_VIEWED, {"itemId": "a"}, "userId is required"),
        (ALSO_VIEWED, {"userId": "u"}, "itemId is required"),
    ],
)
def test_a_request_without_what_the_recipe_needs_is_refused(
    runtime: Runtime, recipe: Recipe, request_: dict[str, str], lacks: str
) -> None:
    with pytest.raises(InvalidInput, match=lacks):
        runtime.answered(runtime.serving(recipe), **request_)


@pytest.mark.parametrize(
    ("operation", "recipe", "message"),
    [
        (
            "GetRecommendations",
            RANKING,
            "a recipe of type PERSONALIZED_RANKING; this operation needs one of type USER_",
        ),
        ("GetPersonalizedRanking", HRNN, "a recipe of type USER_PERSONALIZATION; .* one of type PERSONALIZED_RANKING"),
        ("GetPersonalizedRanking", SIMS, "a recipe of type RELATED_ITEMS"),
        ("GetActionRecommendations", UP, "needs one of type PERSONALIZED_ACTIONS"),
        ("GetRecommendations", ACTIONS, "a recipe of type PERSONALIZED_ACTIONS"),
    ],
)
def test_an_operation_asks_recipes_of_its_type(runtime: Runtime, operation: str, recipe: Recipe, message: str) -> None:
    arn = runtime.serving(recipe)
    with pytest.raises(InvalidInput, match=message):
        runtime.asked(operation, campaignArn=arn, userId="u", inputList=["a"])
    with pytest.raises(ResourceNotFound, match="The given campaign does not exist"):
        runtime.asked(operation, campaignArn=f"{arn}-not", userId="u", inputList=["a"])


def test_one_of_campaign_and_recommender_is_asked_and_it_must_be_active(runtime: Runtime) -> None:
    campaign, recommender = runtime.serving(POPULAR), runtime.serving(TOP_PICKS, status="INACTIVE")
    for request in ({}, {"campaignArn": campaign, "recommenderArn": recommender}):
        with pytest.raises(InvalidInput, match="either a campaignArn or a recommenderArn, and not both"):
            runtime.asked("GetRecommendations", **request)
    with pytest.raises(InvalidInput, match=f"The recommender {recommender} is in status INACTIVE; it must be ACTIVE"):
        runtime.asked("GetRecommendations", recommenderArn=recommender, userId="u")
    with pytest.raises(ResourceNotFound, match="The given recommender does not exist"):
        runtime.asked("GetRecommendations", recommenderArn=campaign)


def test_a_model_that_is_lost_is_no_fault_of_the_request(runtime: Runtime) -> None:
    arn = runtime.serving(POPULAR)
    runtime.deployed.keep_only(set())
    with pytest.raises(ServiceUnavailable, match=r"can't answer: The version .* does not exist any more"):
        runtime.answered(arn)


def test_only_recipes_that_follow_live_events_read_the_history(runtime: Runtime) -> None:
    live = Interaction(
        user_id="known", session_id="s", item_id="c", event_type="Buy", event_value=None, sent_at=5.5, event_id="1"
    )
    runtime.store.append_interactions(f"{PREFIX}:dataset/g/INTERACTIONS", [live], invocation="1")
    for recipe, history in ((UP, [Past("a", 1.0), Past("c", 5.5, "buy")]), (POPULAR, []), (SIMS, [])):
        runtime.answered(runtime.serving(recipe), userId="known", itemId="b", context={"DEVICE": "tv"})
        asked = runtime.scorer.asked[-1]
        assert (list(asked.history), asked.user_id, asked.item_id) == (history, "known", "b")
        assert asked.context == {"DEVICE": "tv"}


@pytest.mark.parametrize(
    ("recipe", "config", "expected"),
    [
        (UP, {}, Exploration(weight=0.3, age_cut_off_days=30.0)),
        (UP, {"itemExplorationConfig": {"explorationWeight": "0"}}, Exploration(weight=0.0, age_cut_off_days=30.0)),
        (
            TOP_PICKS,
            {"itemExplorationConfig": {"explorationWeight": "1.0", "explorationItemAgeCutOff": "7"}},
            Exploration(weight=1.0, age_cut_off_days=7.0),
        ),
        (HRNN, {}, None),
    ],
)
def test_exploration_is_what_the_campaign_or_recommender_says(
    runtime: Runtime, recipe: Recipe, config: dict[str, Any], expected: Exploration | None
) -> None:
    runtime.answered(runtime.serving(recipe, **config), userId="u")
    assert runtime.scorer.asked[-1].exploration == expected


def test_rankings_are_answered_whole(runtime: Runtime) -> None:
    arn = runtime.serving(RANKING)
    answer = runtime.asked("GetPersonalizedRanking", campaignArn=arn, userId="u", inputList=["c", "?", "b", "c"])
    assert [row["itemId"] for row in answer["personalizedRanking"]] == ["b", "c", "?"]
    assert [row.get("score") for row in answer["personalizedRanking"]] == [0.625, 0.375, None]
    assert len(answer["recommendationId"]) <= 40
    most = [f"i{n}" for n in range(500)]
    longest = runtime.asked("GetPersonalizedRanking", campaignArn=arn, userId="u", inputList=most)
    assert [row["itemId"] for row in longest["personalizedRanking"]] == most
    with pytest.raises(InvalidInput, match="inputList has 501 items; at most 500 are ranked"):
        runtime.asked("GetPersonalizedRanking", campaignArn=arn, userId="u", inputList=[*most, "one more"])
    with pytest.raises(InvalidInput, match="userId is required"):
        runtime.asked("GetPersonalizedRanking", campaignArn=arn, userId="", inputList=["a"])


def test_actions_are_answered_with_what_was_just_done_with_actions(runtime: Runtime) -> None:
    arn = runtime.serving(ACTIONS)
    live = replace(event("c", 5.0, "Not Taken"), user_id="known")
    runtime.store.append_interactions(f"{PREFIX}:dataset/g/ACTION_INTERACTIONS", [live], invocation="1")
    runtime.store.append_interactions(f"{PREFIX}:dataset/g/INTERACTIONS", [replace(live, item_id="b")], invocation="2")
    answer = runtime.asked("GetActionRecommendations", campaignArn=arn, userId="known")
    assert [row["actionId"] for row in answer["actionList"]] == ["b", "c", "a"]
    assert answer["actionList"][0].keys() == {"actionId", "score"}
    assert len(answer["recommendationId"]) <= 40
    assert list(runtime.scorer.asked[-1].history) == [Past("a", 1.0), Past("c", 5.0, "not taken")]


def test_five_actions_unless_more_are_asked_for_up_to_a_hundred(runtime: Runtime) -> None:
    runtime.scorer.item_ids = [f"a{number:03}" for number in range(120)]
    arn = runtime.serving(ACTIONS)
    for request, length in (({}, 5), ({"numResults": 100}, 100), ({"numResults": 0}, 0)):
        answer = runtime.asked("GetActionRecommendations", campaignArn=arn, userId="u", **request)
        assert len(answer["actionList"]) == length
    refusals: dict[str, dict[str, Any]] = {
        "numResults is 101; at most 100 actions": {"userId": "u", "numResults": 101},
        "userId is required by the recipe aws-next-best-action": {},
    }
    for message, request in refusals.items():
        with pytest.raises(InvalidInput, match=message):
            runtime.asked("GetActionRecommendations", campaignArn=arn, **request)
