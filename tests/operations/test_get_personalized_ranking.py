from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import System
from tests.operations.conftest import Life, Maker, refused


@pytest.fixture(scope="module")
def campaign(make: Maker, life: Life) -> str:
    return make.deployed(make.solution(life.group, "arn:aws:personalize:::recipe/aws-personalized-ranking"))


def test_it_ranks_the_items_of_the_request(system: System, campaign: str) -> None:
    given = ["i3", "?", "i11", "i7", "i3", "i19"]
    answer = system.runtime.get_personalized_ranking(campaignArn=campaign, userId="u1", inputList=given)
    ranking = answer["personalizedRanking"]
    *known, unknown = ranking
    assert {item["itemId"] for item in known} == {"i3", "i7", "i11", "i19"}
    assert unknown == {"itemId": "?"}
    scores = [item["score"] for item in known]
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1.0, abs=1e-6)
    assert len(answer["recommendationId"]) <= 40


def test_a_filter_leaves_items_out_of_the_ranking(
    system: System, personalize: Any, make: Maker, campaign: str, life: Life
) -> None:
    expression = 'EXCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("ranked")'
    arn = personalize.create_filter(name=make.name(), datasetGroupArn=life.group, filterExpression=expression)[
        "filterArn"
    ]
    make.settled("filter", "filter", arn)
    event = {"eventType": "Ranked", "itemId": "i7", "sentAt": 1_700_000_000}
    system.events.put_events(trackingId=life.tracking_id, userId="ranker", sessionId="s", eventList=[event])
    given = ["i3", "?", "i11", "i7"]
    answer = system.runtime.get_personalized_ranking(
        campaignArn=campaign, userId="ranker", inputList=given, filterArn=arn
    )["personalizedRanking"]
    assert {item["itemId"] for item in answer} == {"i3", "?", "i11"}
    assert sum(item.get("score", 0) for item in answer) < 1


def test_a_ranking_campaign_recommends_nothing_by_itself(system: System, campaign: str, life: Life) -> None:
    with refused("InvalidInputException", "type PERSONALIZED_RANKING; this operation needs"):
        system.runtime.get_recommendations(campaignArn=campaign, userId="u1")
    with refused("InvalidInputException", "type USER_PERSONALIZATION; this operation needs"):
        system.runtime.get_personalized_ranking(campaignArn=life.campaign, userId="u1", inputList=["i1"])


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        ({"inputList": [f"i{n}" for n in range(501)]}, "InvalidInputException", "at most 500 are ranked"),
        ({"userId": ""}, "InvalidInputException", "userId is required"),
        (
            {"filterArn": "arn:aws:personalize:r:a:filter/f"},
            "ResourceNotFoundException",
            "The given filter does not exist",
        ),
    ],
)
def test_what_cannot_be_ranked_is_refused(
    system: System, campaign: str, request_: dict[str, Any], code: str, message: str
) -> None:
    with refused(code, message):
        system.runtime.get_personalized_ranking(
            **{"campaignArn": campaign, "userId": "u1", "inputList": ["i1"], **request_}
        )
