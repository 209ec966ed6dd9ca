"""ListMetricAttributionMetrics: the metrics of one attribution, by page, in the order in which they were added."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.api import page_tokens
from services.api.context import ApiContext
from shared.aws import arns
from shared.aws.errors import InvalidInput
from shared.http.app import Call


def list_metric_attribution_metrics(context: ApiContext, call: Call) -> Mapping[str, Any]:
    arn = call.request.get("metricAttributionArn")
    if arn is None:
        raise InvalidInput("metricAttributionArn is required.")
    if arns.parse_noun(arn) != "metric_attribution":
        raise InvalidInput(f"metricAttributionArn must be the ARN of a metric attribution; it is {arn}.")
    record = context.reading.records.get(arn)
    metrics = record.body["metrics"] if record else []  # any list of an unknown parent is empty
    listed, following = page_tokens.slice_page(metrics, call)
    return {"metrics": listed, "nextToken": following}
