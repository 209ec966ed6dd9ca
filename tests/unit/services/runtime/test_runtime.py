"""The runtime without a network: one history of two sources, rankings, and who may ask whom for what."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.aws.errors import InvalidInput, ResourceNotFound, ServiceUnavailable
from shared.recipes import RECIPES, Recipe
from shared.recipes.distribution import NEVER
from shared.recipes.scoring_api import Exploration, Past
from shared.serving.pipeline import build_rows, find_best_allowed, rank_given_items
from shared.serving.user_history import merge_history, merge_newest
from shared.store import Interaction
from tests.unit.services.runtime_world import PREFIX, Runtime, event


def past(item: str, at: float) -> Past:
    return Past(item, at, "watch")


def test_live_events_go_where_their_time_puts_them() -> None:
    history = merge_history([past("a", 10), past("c", 30)], [event("d", 40.5), event("b", 20.0)])
    assert history == [past("a", 10), past("b", 20.0), past("c", 30), past("d", 40.5)]


def test_an_event_that_was_trained_on_counts_once() -> None:
    """Training keeps whole seconds of what was sent with fractions, and event types in lower case."""
    live = [event("a", 10.7), event("a", 11.2)]
    assert merge_history([past("a", 10)], live) == [past("a", 10), past("a", 11.2)]
    untyped = Past("a", 10)
    assert merge_history([untyped], live) == [untyped, past("a", 11.2)]


def test_events_of_two_types_are_two() -> None:
    history = merge_history([past("a", 10)], [event("a", 10.0, "Buy")])
    assert history == [past("a", 10), Past("a", 10.0, "buy")]


def test_of_two_sources_the_newest_items_of_each_type_are_known() -> None:
    bulk = {"watch": {"a": 5.0, "b": 1.0}, "buy": {"c": 9.0}}
    live = {"watch": {"b": 7.0, "d": 6.0}}
    assert merge_newest(bulk, live, 3) == {"watch": {"a": 5.0, "b": 7.0, "d": 6.0}, "buy": {"c": 9.0}}
    assert merge_newest(bulk, live, 2) == {"watch": {"b": 7.0, "d": 6.0}, "buy": {"c": 9.0}}
    assert merge_newest({}, {}, 2) == {}


def test_events_without_an_item_are_passed_over_and_ties_stay_in_order() -> None:
    history = merge_history([past("b", 10)], [event(None, 5.0), event("a", 10.0), event("c", 10.0)])
    assert history == [past("b", 10), past("a", 10.0), past("c", 10.0)]


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=30), st.integers(0, 40))
def test_the_best_items_come_first_and_ties_by_id(scores: list[float], wanted: int) -> None:
    ids = [f"i{number:02}" for number in range(len(scores))]
    array = np.array(scores, np.float32)
    listed = build_rows(ids.__getitem__, array, find_best_allowed(array, wanted, None), shows_scores=True)
    assert len(listed) == min(wanted, len(scores))
    order = sorted(zip((-score for score in scores), ids, strict=True))
    assert [row["itemId"] for row in listed] == [item for _, item in order[:wanted]]
    assert [row["score"] for row in listed] == pytest.approx([-score for score, _ in order[:wanted]], abs=1e-7)
    hidden = build_rows(ids.__getitem__, array, find_best_allowed(array, wanted, None), shows_scores=False)
    assert hidden == [{"itemId": row["itemId"]} for row in listed]


def test_what_is_never_shown_leaves_room_for_nothing() -> None:
    scores = np.array([0.5, NEVER, 0.5, 0.0], np.float32)
    assert find_best_allowed(scores, 3, None).tolist() == find_best_allowed(scores, 9, None).tolist() == [0, 2, 3]


def test_what_is_not_allowed_is_not_shown_and_ties_stay_by_id() -> None:
    scores = np.array([0.2, 0.5, NEVER, 0.2, 0.1], np.float32)
    assert find_best_allowed(scores, 2, np.array([True, False, True, True, True])).tolist() == [0, 3]
    assert find_best_allowed(scores, 9, np.array([True, False, True, True, True])).tolist() == [0, 3, 4]
    assert find_best_allowed(scores, 9, np.array([False, False, True, False, False])).tolist() == []
    assert find_best_allowed(scores, 0, np.ones(5, np.bool_)).tolist() == []


@pytest.mark.parametrize("share", [0.9, 0.2, 0.01, 0.0])
def test_of_many_items_the_best_that_are_allowed_are_found(share: float) -> None:
    rng = np.random.default_rng(5)
    scores = rng.integers(0, 5_000, 10_000).astype(np.float32)  # many are equal
    scores[rng.random(10_000) < 0.1] = NEVER
    allowed = rng.random(10_000) < share
    order = [item for item in np.argsort(-scores, kind="stable").tolist() if allowed[item] and scores[item] >= 0]
    for wanted in (0, 1, 25, 500):
        assert find_best_allowed(scores, wanted, allowed).tolist() == order[:wanted]


def test_a_ranking_is_a_softmax_over_the_given_items_with_the_unknown_behind() -> None:
    scores = np.array([0.2, 0.5, 0.1, 0.2], np.float32)
    assert rank_given_items("abcd", scores, ["?", "c", "d", "c", "a", "0", "?"]) == [
        {"itemId": "a", "score": 0.4},
        {"itemId": "d", "score": 0.4},
        {"itemId": "c", "score": 0.2},
        {"itemId": "?"},
        {"itemId": "0"},
    ]
    assert rank_given_items("abcd", scores, ["e"]) == [{"itemId": "e"}]
    assert rank_given_items("abcd", scores, []) == []
    assert [row["score"] for row in rank_given_items("ab", np.zeros(2, np.float32), ["b", "a"])] == [0.5, 0.5]


# Who may ask whom for what

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


EVENTS = st.tuples(
    st.sampled_from("ab"), st.sampled_from([8.0, 9.5, 10.0, 10.4, 11.0]), st.sampled_from(["Watch", "Buy"])
)


@given(st.lists(EVENTS, max_size=6), st.lists(EVENTS, max_size=6))
def test_histories_are_joined_as_if_all_of_both_were_looked_at(
    bulk: list[tuple[str, float, str]], live: list[tuple[str, float, str]]
) -> None:
    trained = sorted((Past(item, int(at), type_.lower()) for item, at, type_ in bulk), key=lambda one: one.timestamp)
    sent = [event(item, at, type_) for item, at, type_ in live]
    plain = [
        Past(item, at, type_.lower()) for item, at, type_ in live if Past(item, int(at), type_.lower()) not in trained
    ]
    assert merge_history(trained, sent) == sorted([*trained, *plain], key=lambda one: one.timestamp)
