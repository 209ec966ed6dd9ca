"""UpdateMetricAttribution: remove metrics, then add metrics, in one change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.api.context import ApiContext, run_once
from services.api.operations import request_update
from shared.aws.errors import InvalidInput, ResourceAlreadyExists, ResourceNotFound
from shared.http.app import Call
from shared.resources import RESOURCES
from shared.resources.metric_attribution.requests import check_metrics, check_output
from shared.store import Record


def update_metric_attribution(context: ApiContext, call: Call) -> Mapping[str, Any]:
    arn = call.request.get("metricAttributionArn")
    if arn is None:
        raise InvalidInput("metricAttributionArn is required.")
    run_once(context, call, lambda bound: _request_update(bound, arn, call.request))
    return {"metricAttributionArn": arn}


def _request_update(context: ApiContext, arn: str, request: Mapping[str, Any]) -> None:
    attribution = context.reading.find_record(arn, "metric_attribution")
    metrics = _merge_metrics(attribution, request)
    check_metrics(metrics, attribution.body["datasetGroupArn"], context.reading)
    output = request.get("metricsOutputConfig", attribution.body["metricsOutputConfig"])
    check_output(output)
    body = {
        "metrics": metrics,
        "metricsSince": _date_metrics(attribution, request, context.store.now()),
        "metricsOutputConfig": output,
    }
    request_update(context, RESOURCES["metric_attribution"], attribution, body)


def _merge_metrics(attribution: Record, request: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the metrics after the update. Raises ResourceNotFound, ResourceAlreadyExists."""
    removed = set(request.get("removeMetrics") or ())
    standing = attribution.body["metrics"]
    if unknown := removed - {metric["metricName"] for metric in standing}:
        raise ResourceNotFound(f"{attribution.arn} has no metric {', '.join(sorted(unknown))}.")
    kept = [metric for metric in standing if metric["metricName"] not in removed]
    added = request.get("addMetrics") or []
    if taken := {metric["metricName"] for metric in kept} & {metric["metricName"] for metric in added}:
        raise ResourceAlreadyExists(f"{attribution.arn} has a metric {', '.join(sorted(taken))} already.")
    return [*kept, *added]


def _date_metrics(attribution: Record, request: Mapping[str, Any], now: float) -> dict[str, float]:
    """Return when metrics were added, by name, for those that are younger than the attribution (epoch seconds)."""
    removed = set(request.get("removeMetrics") or ())
    earlier: Mapping[str, float] = attribution.body.get("metricsSince") or {}
    kept = {name: since for name, since in earlier.items() if name not in removed}
    return kept | {metric["metricName"]: now for metric in request.get("addMetrics") or ()}
