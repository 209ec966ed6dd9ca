from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import System
from tests.operations.conftest import Life, Maker, refused


@pytest.fixture(scope="session")
def runtime(system: System) -> Any:
    return system.runtime


def test_it_answers_items_by_falling_score(runtime: Any, life: Life) -> None:
    answer = runtime.get_recommendations(campaignArn=life.campaign, userId="u1")
    scores = [item["score"] for item in answer["itemList"]]
    assert len({item["itemId"] for item in answer["itemList"]}) == len(answer["itemList"]) == 20
    assert scores == sorted(scores, reverse=True)
    assert all(round(score, 7) == score for score in scores)
    # The catalogue has 20 items and all are answered: the softmax is over the whole of it.
    assert sum(scores) == pytest.approx(1.0, abs=1e-5)
    assert len(answer["recommendationId"]) <= 40


def test_every_answer_has_an_id_of_its_own(runtime: Any, life: Life) -> None:
    ids = {runtime.get_recommendations(campaignArn=life.campaign, userId="u1")["recommendationId"] for _ in range(3)}
    assert len(ids) == 3


def test_a_shorter_list_is_the_beginning_of_a_longer_one(runtime: Any, life: Life) -> None:
    longer = runtime.get_recommendations(campaignArn=life.campaign, userId="u2", numResults=10)["itemList"]
    shorter = runtime.get_recommendations(campaignArn=life.campaign, userId="u2", numResults=3)["itemList"]
    assert [item["itemId"] for item in shorter] == [item["itemId"] for item in longer[:3]]
    assert runtime.get_recommendations(campaignArn=life.campaign, userId="u2", numResults=0)["itemList"] == []


def test_unknown_users_get_the_same_popular_items(runtime: Any, life: Life) -> None:
    one, two = (
        runtime.get_recommendations(campaignArn=life.campaign, userId=user)["itemList"] for user in ("new", "newer")
    )
    assert one == two


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        ({"userId": "u"}, "InvalidInputException", "either a campaignArn or a recommenderArn"),
        ({"campaignArn": "{campaign}"}, "InvalidInputException", "userId is required"),
        ({"campaignArn": "{campaign}", "userId": "u", "numResults": 501}, "InvalidInputException", "at most 500"),
        ({"campaignArn": "{campaign}", "userId": "u" * 257}, "ValidationException", "256"),
        (
            {"campaignArn": "{campaign}", "userId": "u", "filterArn": "arn:aws:personalize:r:a:filter/f"},
            "ResourceNotFoundException",
            "The given filter does not exist",
        ),
        (
            {"campaignArn": "arn:aws:personalize:us-east-1:000000000000:campaign/none", "userId": "u"},
            "ResourceNotFoundException",
            "The given campaign does not exist",
        ),
        ({"campaignArn": "nonsense", "userId": "u"}, "ValidationException", "campaignArn"),
    ],
)
def test_what_cannot_be_answered_is_refused(
    runtime: Any, life: Life, request_: dict[str, Any], code: str, message: str
) -> None:
    request = {member: life.campaign if value == "{campaign}" else value for member, value in request_.items()}
    with refused(code, message):
        runtime.get_recommendations(**request)


def test_a_context_of_a_hundred_kilobytes_is_answered(runtime: Any, life: Life) -> None:
    context = {f"COLUMN_{number}": "x" * 1000 for number in range(100)} | {"DEVICE_KIND": "x" * 1000}
    answer = runtime.get_recommendations(campaignArn=life.campaign, userId="u1", numResults=5, context=context)
    assert len(answer["itemList"]) == 5


def test_not_found_is_404_here(runtime: Any) -> None:
    with pytest.raises(runtime.exceptions.ResourceNotFoundException) as refusal:
        runtime.get_recommendations(campaignArn="arn:aws:personalize:us-east-1:000000000000:campaign/none", userId="u")
    assert refusal.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404


def test_related_items_are_asked_about_an_item_and_tell_no_scores(runtime: Any, make: Maker, life: Life) -> None:
    """Everybody goes round the items in one order: those next to an item have the most users with it."""
    campaign = make.deployed(make.solution(life.group, "arn:aws:personalize:::recipe/aws-sims"))
    items = runtime.get_recommendations(campaignArn=campaign, itemId="i5")["itemList"]
    assert len(items) == 19
    assert all(item.keys() == {"itemId"} for item in items)
    assert "i5" not in {item["itemId"] for item in items}
    unknown = runtime.get_recommendations(campaignArn=campaign, itemId="?", userId="u1")["itemList"]
    assert len(unknown) == 20
    with refused("InvalidInputException", "itemId is required by the recipe aws-sims"):
        runtime.get_recommendations(campaignArn=campaign, userId="u1")
