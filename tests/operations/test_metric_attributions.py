"""The operations of metric attributions, through boto3. What is checked: unit/services/api."""

from __future__ import annotations

from typing import Any

from tests.operations.conftest import ROLE, Maker, refused


def test_it_is_made_changed_and_deleted(personalize: Any, make: Maker) -> None:
    group = make.group()
    make.dataset(group)
    metric = {"eventType": "watch", "metricName": "watched", "expression": "SAMPLECOUNT()"}
    arn = personalize.create_metric_attribution(
        name=make.name(), datasetGroupArn=group, metrics=[metric], metricsOutputConfig={"roleArn": ROLE}
    )["metricAttributionArn"]
    assert make.settled("metric_attribution", "metricAttribution", arn)["status"] == "ACTIVE"
    more = {**metric, "metricName": "seen"}
    personalize.update_metric_attribution(metricAttributionArn=arn, addMetrics=[more], removeMetrics=["watched"])
    assert make.settled("metric_attribution", "metricAttribution", arn)["status"] == "ACTIVE"
    pages = personalize.get_paginator("list_metric_attribution_metrics").paginate(metricAttributionArn=arn)
    assert [page["metrics"] for page in pages] == [[more]]
    with refused("ResourceInUseException", "still used by"):
        personalize.delete_dataset_group(datasetGroupArn=group)
    personalize.delete_metric_attribution(metricAttributionArn=arn)
    make.gone("metric_attribution", "metricAttribution", arn)
