"""An SDK that lost an answer asks again under the same invocation: what is asked is done once, and answered alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from services.api.app import build_handlers
from shared.resources import RESOURCES
from shared.state.lifecycle import ACTIVE, CREATE_IN_PROGRESS, INACTIVE
from tests.unit.services.api.memory_api import GROUP, PREFIX, MemoryApi

CHANGING = ("Delete", "Start", "Stop", "Tag", "Untag", "Update")
OUTPUT = {"s3DataDestination": {"path": "s3://b/k/"}}
METRIC = {"metricName": "m", "eventType": "click", "expression": "SAMPLECOUNT()"}
RECOMMENDER = {"recipeArn": "arn:aws:personalize:::recipe/aws-ecomm-popular-items-by-views", "datasetGroupArn": GROUP}


def standing(api: MemoryApi, noun: str, status: str | None = ACTIVE) -> str:
    """A resource of this type that nothing keeps from being changed."""
    bodies: Mapping[str, Mapping[str, Any]] = {
        "recommender": {
            **RECOMMENDER,
            "recommenderConfig": {"minRecommendationRequestsPerSecond": 1},
            "solutionVersionArn": f"{PREFIX}:solution/s/1",
        },
        "metric_attribution": {"datasetGroupArn": GROUP, "metrics": [METRIC], "metricsOutputConfig": OUTPUT},
        "solution": {"datasetGroupArn": GROUP, "recipeArn": "arn:aws:personalize:::recipe/aws-hrnn"},
    }
    parents = () if noun in ("dataset_group", "schema") else (GROUP,)
    arn = f"{PREFIX}:{noun.replace('_', '-')}/x"
    return api.put(arn, noun, {"name": "x", **bodies.get(noun, {})}, status, parents=parents)


def request(api: MemoryApi, operation: str) -> dict[str, Any]:
    """A request that may be made of what this puts there."""
    match operation:
        case "StopSolutionVersionCreation":
            return {"solutionVersionArn": api.version(status=CREATE_IN_PROGRESS)}
        case "StartRecommender":
            return {"recommenderArn": standing(api, "recommender", INACTIVE)}
        case "StopRecommender":
            return {"recommenderArn": standing(api, "recommender")}
        case "TagResource":
            return {"resourceArn": GROUP, "tags": [{"tagKey": "k", "tagValue": "v"}]}
        case "UntagResource":
            api("TagResource", resourceArn=GROUP, tags=[{"tagKey": "k", "tagValue": "v"}])
            return {"resourceArn": GROUP, "tagKeys": ["k"]}
        case "UpdateCampaign":
            body = {"solutionVersionArn": api.version(), "minProvisionedTPS": 1}
            campaign = api.put(
                f"{PREFIX}:campaign/c", "campaign", {"name": "c", **body}, parents=(f"{PREFIX}:solution/s",)
            )
            return {"campaignArn": campaign, "minProvisionedTPS": 2}
        case "UpdateDataset":
            dataset = api.dataset("Items")
            text = api.record(f"{PREFIX}:schema/g-Items").body["schema"]
            schema = api.put(f"{PREFIX}:schema/more", "schema", {"schema": text}, None)
            return {"datasetArn": dataset, "schemaArn": schema}
        case "UpdateMetricAttribution":
            api.dataset()
            arn = standing(api, "metric_attribution")
            return {"metricAttributionArn": arn, "addMetrics": [{**METRIC, "metricName": "n"}]}
        case "UpdateRecommender":
            more = {"minRecommendationRequestsPerSecond": 2}
            return {"recommenderArn": standing(api, "recommender"), "recommenderConfig": more}
        case "UpdateSolution":
            return {"solutionArn": standing(api, "solution"), "performAutoTraining": False}
    resource = next(one for one in RESOURCES.values() if f"Delete{one.name}" == operation)
    return {resource.arn_member: standing(api, resource.noun, None if resource.lifecycle is None else ACTIVE)}


def operations() -> list[str]:
    return sorted(name for name in build_handlers(MemoryApi().context) if name.startswith(CHANGING))


@pytest.mark.parametrize("operation", operations())
def test_a_second_try_gets_the_first_answer_and_changes_nothing(operation: str) -> None:
    api = MemoryApi()
    members = request(api, operation)
    first = api.called(operation, "same", **members)
    before, sent = dict(api.store._records), len(api.sent.messages)
    assert api.called(operation, "same", **members) == first
    assert (dict(api.store._records), len(api.sent.messages)) == (before, sent)


@pytest.mark.parametrize("operation", [name for name in operations() if name.startswith("Delete")])
def test_a_second_try_to_delete_finds_that_it_is_done(operation: str) -> None:
    api = MemoryApi()
    members = request(api, operation)
    api.called(operation, "same", **members)
    (arn,) = members.values()
    if (left := api.store.get(arn)) is not None:
        api.store.remove(left)
    assert api.called(operation, "same", **members) == {}


def test_a_second_try_does_not_undo_what_came_between() -> None:
    api = MemoryApi()
    for invocation, value in (("one", "1"), ("another", "2"), ("one", "1")):
        api.called("TagResource", invocation, resourceArn=GROUP, tags=[{"tagKey": "k", "tagValue": value}])
    assert api("ListTagsForResource", resourceArn=GROUP)["tags"] == [{"tagKey": "k", "tagValue": "2"}]


def test_a_second_try_to_create_is_answered_though_its_parent_has_gone() -> None:
    api = MemoryApi()
    members = {"name": "t", "datasetGroupArn": GROUP}
    first = api.called("CreateEventTracker", "same", **members)
    api.store.remove(api.record(GROUP))
    assert api.called("CreateEventTracker", "same", **members) == first
