"""The operations of metric attributions: grammar of expressions, one per group, updates, pages of metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from services.api import page_tokens
from services.status import transitions as status
from shared.aws.errors import (
    InvalidInput,
    InvalidNextToken,
    PersonalizeError,
    ResourceAlreadyExists,
    ResourceInUse,
    ResourceNotFound,
    Validation,
)
from shared.state.lifecycle import ACTIVE, CREATE_PENDING, UPDATE_PENDING
from shared.state.messages import Remove
from shared.storage.artifacts import Artifacts
from tests.unit.services.api.memory_api import GROUP, PREFIX, ROLE, MemoryApi

OUTPUT = {"roleArn": ROLE, "s3DataDestination": {"path": "s3://bucket/metrics/"}}
ARN = f"{PREFIX}:metric-attribution/m"


@pytest.fixture
def api() -> MemoryApi:
    api = MemoryApi()
    api.dataset("Interactions")
    api.dataset("Items")
    return api


def metric(name: str, expression: str = "SAMPLECOUNT()") -> dict[str, str]:
    return {"eventType": "watch", "metricName": name, "expression": expression}


def create(api: MemoryApi, *metrics: dict[str, str], name: str = "m", **more: Any) -> str:
    request = {"name": name, "datasetGroupArn": GROUP, "metrics": list(metrics), "metricsOutputConfig": OUTPUT, **more}
    return str(api("CreateMetricAttribution", **request)["metricAttributionArn"])


def names(api: MemoryApi, **more: Any) -> list[str]:
    listed = api("ListMetricAttributionMetrics", metricAttributionArn=ARN, **more)["metrics"]
    return [one["metricName"] for one in listed]


def described(api: MemoryApi) -> dict[str, Any]:
    shown: dict[str, Any] = api("DescribeMetricAttribution", metricAttributionArn=ARN)["metricAttribution"]
    return shown


def test_it_is_made_and_shown(api: MemoryApi) -> None:
    metrics = [metric("a"), metric("b", "SUM(Items.PRICE)"), metric("c", "SUM(Interactions.SECONDS)")]
    assert create(api, *metrics) == ARN
    assert described(api)["status"] == CREATE_PENDING
    api.settle()
    shown = described(api)
    assert (shown["name"], shown["datasetGroupArn"], shown["metricsOutputConfig"]) == ("m", GROUP, OUTPUT)
    assert (shown["status"], "metrics" in shown) == (ACTIVE, False)
    [listed] = api("ListMetricAttributions", datasetGroupArn=GROUP)["metricAttributions"]
    assert listed["metricAttributionArn"] == ARN
    assert api("ListMetricAttributionMetrics", metricAttributionArn=ARN) == {"metrics": metrics}


@pytest.mark.parametrize(
    "expression",
    ["SUM(ITEMS.PRICE)", "SUM(items.price)", "sum(Items.PRICE)", "samplecount()", "Sum(INTERACTIONS.seconds)"],
)
def test_an_expression_is_taken_in_any_case_and_shown_as_it_was_sent(api: MemoryApi, expression: str) -> None:
    create(api, metric("a", expression))
    api.settle()
    [shown] = api("ListMetricAttributionMetrics", metricAttributionArn=ARN)["metrics"]
    assert shown["expression"] == expression


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "COUNT()",
        "SAMPLECOUNT",
        "SAMPLECOUNT(Items.PRICE)",
        "SUM()",
        "SUM(PRICE)",
        "SUM(Users.AGE)",
        "SUM(Items.PRICE) ",
        "SUM(Items.PRICE)+SUM(Items.PRICE)",
        "SUM(Items.NOWHERE)",
        "SUM(Items.TITLE)",
        "SUM(Interactions.DEVICE)",
        "SUM(Interactions.PRICE)",
    ],
)
def test_an_expression_sums_a_number_or_counts(api: MemoryApi, expression: str) -> None:
    with pytest.raises(InvalidInput, match="The expression"):
        create(api, metric("a", expression))


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({"datasetGroupArn": f"{PREFIX}:dataset-group/none"}, ResourceNotFound, "dataset group does not exist"),
        ({"metrics": [metric("a"), metric("b"), metric("a")]}, InvalidInput, "must be unique.*: a"),
        ({"metrics": [metric(str(n)) for n in range(11)]}, Validation, "less than or equal to 10"),
        (
            {"metricsOutputConfig": {"roleArn": ROLE, "s3DataDestination": {"path": "http://b"}}},
            InvalidInput,
            "Invalid S3 output path",
        ),
    ],
)
def test_what_it_is_refused_for(
    api: MemoryApi, more: dict[str, Any], error: type[PersonalizeError], message: str
) -> None:
    with pytest.raises(error, match=message):
        create(api, **more)


def test_it_needs_interactions_with_event_types() -> None:
    api = MemoryApi()
    with pytest.raises(InvalidInput, match="Interactions dataset with EVENT_TYPE"):
        create(api, metric("a"))
    api.dataset("Interactions", EVENT_TYPE=None)
    with pytest.raises(InvalidInput, match="Interactions dataset with EVENT_TYPE"):
        create(api, metric("a"))


def test_a_group_has_one_until_it_is_deleted(api: MemoryApi, tmp_path: Path) -> None:
    create(api, metric("a"))
    with pytest.raises(ResourceAlreadyExists, match=ARN):
        create(api, metric("a"), name="another")
    with pytest.raises(ResourceInUse, match=CREATE_PENDING):
        api("DeleteMetricAttribution", metricAttributionArn=ARN)
    api.settle()
    api("DeleteMetricAttribution", metricAttributionArn=ARN)
    status.remove_resource(api.store, Artifacts(tmp_path), Remove(arn=ARN))
    assert create(api, metric("a"), name="another") == f"{PREFIX}:metric-attribution/another"


def test_a_group_is_not_deleted_under_it() -> None:
    api = MemoryApi()
    api.put(ARN, "metric_attribution", {}, parents=(GROUP,))
    with pytest.raises(ResourceInUse, match=ARN):
        api("DeleteDatasetGroup", datasetGroupArn=GROUP)


def test_an_update_is_shown_as_its_own_status_and_takes_effect_at_its_end(api: MemoryApi) -> None:
    create(api, metric("a"), metric("b"))
    api.settle()
    answer = api(
        "UpdateMetricAttribution",
        metricAttributionArn=ARN,
        removeMetrics=["a"],
        addMetrics=[metric("c"), metric("a", "SUM(Items.PRICE)")],
        metricsOutputConfig={"roleArn": ROLE},
    )
    assert answer == {"metricAttributionArn": ARN}
    assert (described(api)["status"], names(api)) == (UPDATE_PENDING, ["a", "b"])
    with pytest.raises(ResourceInUse, match=UPDATE_PENDING):
        api("UpdateMetricAttribution", metricAttributionArn=ARN, removeMetrics=["b"])
    api.settle()
    assert names(api) == ["b", "c", "a"]
    shown = described(api)
    assert (shown["status"], shown["metricsOutputConfig"]) == (ACTIVE, {"roleArn": ROLE})


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({"removeMetrics": ["z"]}, ResourceNotFound, "no metric z"),
        ({"addMetrics": [metric("a")]}, ResourceAlreadyExists, "metric a already"),
        ({"addMetrics": [metric("b"), metric("b")]}, InvalidInput, "unique"),
        ({"addMetrics": [metric("b", "SUM(Items.TITLE)")]}, InvalidInput, "numeric column TITLE"),
        ({"addMetrics": [metric(f"b{n}") for n in range(10)]}, InvalidInput, "would be 11"),
        ({"metricAttributionArn": None}, InvalidInput, "metricAttributionArn is required"),
    ],
)
def test_what_an_update_is_refused_for(
    api: MemoryApi, more: dict[str, Any], error: type[PersonalizeError], message: str
) -> None:
    create(api, metric("a"))
    api.settle()
    with pytest.raises(error, match=message):
        api("UpdateMetricAttribution", **{"metricAttributionArn": ARN, **more})
    assert (described(api)["status"], names(api)) == (ACTIVE, ["a"])


def test_its_metrics_come_in_pages(api: MemoryApi) -> None:
    create(api, *[metric(name) for name in "abcde"])
    pages, token = [], {}
    while True:
        page = api("ListMetricAttributionMetrics", metricAttributionArn=ARN, maxResults=2, **token)
        pages.append([one["metricName"] for one in page["metrics"]])
        if "nextToken" not in page:
            break
        token = {"nextToken": page["nextToken"]}
    assert pages == [["a", "b"], ["c", "d"], ["e"]]
    other = api.put(f"{PREFIX}:metric-attribution/other", "metric_attribution", {"metrics": []})
    with pytest.raises(InvalidNextToken):
        api("ListMetricAttributionMetrics", metricAttributionArn=other, **token)
    with pytest.raises(InvalidInput, match="metricAttributionArn is required"):
        api("ListMetricAttributionMetrics")


def test_a_token_that_is_no_place_in_the_list_is_refused(api: MemoryApi) -> None:
    create(api, metric("a"))
    for place in ("nan", "inf", "-1", "1.5", "0|x"):
        token = page_tokens.encode_token(place, "ListMetricAttributionMetrics", {"metricAttributionArn": ARN})
        with pytest.raises(InvalidNextToken):
            api("ListMetricAttributionMetrics", metricAttributionArn=ARN, nextToken=token)
