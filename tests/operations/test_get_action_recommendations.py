"""GetActionRecommendations, and the life before it: actions, what users did with them, a campaign."""

from __future__ import annotations

import time

import pytest

from tests.conftest import System, until
from tests.operations.conftest import Life, Maker, column, refused
from tests.operations.test_batch_inference_jobs import run_job

NEXT_BEST_ACTION = "arn:aws:personalize:::recipe/aws-next-best-action"


def test_it_works(system: System, make: Maker) -> None:
    group = make.group()
    ids = [column("USER_ID"), column("ACTION_ID"), column("EVENT_TYPE"), column("TIMESTAMP", "long")]
    rows = [
        (f"u{user}", f"a{(user + step) % 6}", ("Taken", "Viewed")[step % 2], 1_600_000_000 + step * 600)
        for user in range(30)
        for step in range(8)
    ]
    make.filled(group, "ActionInteractions", ids, rows, "Action_Interactions")
    described = [column("ACTION_ID"), column("KIND", categorical=True), column("REPEAT_FREQUENCY", ["null", "long"])]
    make.filled(group, "Actions", described, [(f"a{n}", "mail" if n % 2 else "app", 30) for n in range(7)])
    campaign = make.deployed(make.solution(group, NEXT_BEST_ACTION))
    answer = system.runtime.get_action_recommendations(campaignArn=campaign, userId="u1")
    assert len(answer["actionList"]) == 5
    assert all(one["score"] > 0 for one in answer["actionList"])

    version = make.client.describe_campaign(campaignArn=campaign)["campaign"]["solutionVersionArn"]
    [batch] = run_job(make, version, [{"userId": "u1"}], numResults=5)
    assert batch["recommendedActions"] == [one["actionId"] for one in answer["actionList"]]
    assert batch["scores"] == pytest.approx([one["score"] for one in answer["actionList"]], abs=1e-6)

    expression = 'INCLUDE ActionID WHERE Actions.KIND IN ("mail")'
    kind = make.client.create_filter(name=make.name(), datasetGroupArn=group, filterExpression=expression)["filterArn"]
    make.settled("filter", "filter", kind)
    mails = system.runtime.get_action_recommendations(campaignArn=campaign, userId="u1", filterArn=kind)["actionList"]
    assert {one["actionId"] for one in mails} == {"a1", "a3", "a5"}

    [dataset] = [
        summary["datasetArn"]
        for summary in make.client.list_datasets(datasetGroupArn=group)["datasets"]
        if summary["datasetType"] == "ACTION_INTERACTIONS"
    ]
    tracking_id = make.client.describe_dataset(datasetArn=dataset)["dataset"]["trackingId"]
    taken = answer["actionList"][0]["actionId"]
    system.events.put_action_interactions(
        trackingId=tracking_id,
        actionInteractions=[
            {"actionId": taken, "userId": "u1", "sessionId": "s", "timestamp": time.time(), "eventType": "Taken"}
        ],
    )

    def listed() -> set[str]:
        found = system.runtime.get_action_recommendations(campaignArn=campaign, userId="u1", numResults=100)
        return {one["actionId"] for one in found["actionList"]}

    until(lambda: listed() == {f"a{n}" for n in range(7)} - {taken}, 10, "the action taken is not shown again")


def test_campaigns_of_items_recommend_no_actions(system: System, life: Life) -> None:
    with refused("InvalidInputException", "this operation needs one of type PERSONALIZED_ACTIONS"):
        system.runtime.get_action_recommendations(campaignArn=life.campaign, userId="u1")
    with refused("ResourceNotFoundException", "The given campaign does not exist"):
        system.runtime.get_action_recommendations(campaignArn=f"{life.campaign}-none", userId="u1")
