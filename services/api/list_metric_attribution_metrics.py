"""ListMetricAttributionMetrics: pages of one record's metrics, in the order in which they were added."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.api import tokens
from services.api.operations import Desk
from shared.aws.errors import InvalidInput
from shared.aws.web import Call
from shared.resources.metric_attribution.requests import MOST_METRICS


def list_metric_attribution_metrics(desk: Desk, call: Call) -> Mapping[str, Any]:
    arn = call.request.get("metricAttributionArn")
    if arn is None:
        raise InvalidInput("metricAttributionArn is required.")
    metrics = desk.reading.find(arn, "metric_attribution").body["metrics"]
    filters = {"metricAttributionArn": arn}
    start = int(tokens.read(call.request.get("nextToken"), call.operation, filters) or 0)
    end = start + call.request.get("maxResults", MOST_METRICS)
    return {
        "metrics": metrics[start:end],
        "nextToken": tokens.write(str(end), call.operation, filters) if end < len(metrics) else None,
    }
