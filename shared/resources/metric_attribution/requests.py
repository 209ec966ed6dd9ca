"""The checks of CreateMetricAttribution and UpdateMetricAttribution beyond the service model: names, expressions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shared.aws.errors import InvalidInput
from shared.resources.dataset.requests import find_columns
from shared.resources.locations import INVALID_OUTPUT, check_location
from shared.resources.metric_attribution.metrics import build_attribution_claim, find_column, parse_expression
from shared.resources.resource_type import Draft, ResourceReader

MOST_METRICS = 10


def build_draft(request: Mapping[str, Any], reader: ResourceReader) -> Draft:
    group = reader.find_active(request["datasetGroupArn"], "dataset_group")
    check_metrics(request["metrics"], group.arn, reader)
    check_output(request["metricsOutputConfig"])
    return Draft(
        arn=reader.build_arn("metric-attribution", request["name"]),
        body={
            "name": request["name"],
            "datasetGroupArn": group.arn,
            "metricsOutputConfig": request["metricsOutputConfig"],
            # Answered by ListMetricAttributionMetrics; in the body, because an update replaces it.
            "metrics": request["metrics"],
        },
        parents=(group.arn,),
        claims=(build_attribution_claim(group.arn),),
        guards=(group,),
    )


def check_metrics(metrics: Sequence[Mapping[str, Any]], group_arn: str, reader: ResourceReader) -> None:
    """Check all metrics of an attribution together. Raises InvalidInput."""
    if len(metrics) > MOST_METRICS:
        raise InvalidInput(f"A metric attribution can have {MOST_METRICS} metrics; these would be {len(metrics)}.")
    names = [metric["metricName"] for metric in metrics]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidInput(f"Metric names must be unique; given more than once: {', '.join(twice)}.")
    if "EVENT_TYPE" not in (find_columns(group_arn, "INTERACTIONS", reader) or {}):
        raise InvalidInput("Metrics are of event types: the group needs an Interactions dataset with EVENT_TYPE.")
    for metric in metrics:
        _check_expression(metric["expression"], group_arn, reader)


def _check_expression(expression: str, group_arn: str, reader: ResourceReader) -> None:
    parsed = parse_expression(expression)
    if parsed is None:
        raise InvalidInput(
            f"The expression {expression} is none of SAMPLECOUNT(), SUM(Items.COLUMN) and SUM(Interactions.COLUMN)."
        )
    if not parsed.table:
        return
    columns = find_columns(group_arn, parsed.table, reader) or {}
    name = find_column(columns, parsed.column)
    if name is None or not columns[name].numeric:
        raise InvalidInput(
            f"The expression {expression} needs a numeric column {parsed.column} in the {parsed.table.title()} dataset."
        )


def check_output(config: Mapping[str, Any]) -> None:
    if "s3DataDestination" in config:
        check_location(config["s3DataDestination"]["path"], INVALID_OUTPUT)
