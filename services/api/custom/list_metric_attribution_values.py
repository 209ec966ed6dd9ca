"""ListMetricAttributionValues: the sums of a metric attribution over time, by metric and source.

A metric that counts events from a campaign or recommender has a rate: events for each recommendation that it gave.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

from services.api import page_tokens
from services.api.context import ApiContext
from shared.aws.errors import InvalidInput
from shared.data.schemas import LATEST_TIMESTAMP
from shared.http.app import Call
from shared.resources.metric_attribution.metrics import add_sum, find_bucket, parse_expression
from shared.resources.metric_attribution.rates import compute_interval
from shared.store.attributions import BUCKET_SECONDS, SUMS_SECONDS, TOTAL, Sum, SumKey

DEFAULT_SECONDS = 24 * 3600
#: As many as CloudWatch returns.
MOST_POINTS = 1440

Series = dict[SumKey, dict[int, Sum]]
"""Key with bucket TOTAL -> start of a period -> sum."""


class Window(NamedTuple):
    """The periods of an answer: ``start <= time < end``, epoch seconds."""

    start: int
    end: int
    period: int

    def find_start(self, bucket: int) -> int:
        """Return the start of the period that a bucket lies in."""
        return self.start + (bucket - self.start) // self.period * self.period


def list_metric_attribution_values(context: ApiContext, call: Call) -> Mapping[str, Any]:
    attribution = context.reading.find_record(call.request["metricAttributionArn"], "metric_attribution")
    window = _read_window(call.request, context.store.now())
    series = _collect_series(context, attribution.arn, window, call.request.get("metricName"))
    listed, following = page_tokens.slice_page(sorted(series), call)
    given = _collect_recommendations(context, attribution.arn, window)
    return {
        "startTime": window.start,
        "endTime": window.end,
        "period": window.period,
        "values": [_describe_series(key, series[key], given.get(key.source, {})) for key in listed],
        "nextToken": following,
    }


def _read_window(request: Mapping[str, Any], now: float) -> Window:
    """Return the window, widened to whole buckets. Raises InvalidInput."""
    period = request.get("period", BUCKET_SECONDS)
    if period % BUCKET_SECONDS:
        raise InvalidInput(f"period is {period}; it must be a multiple of {BUCKET_SECONDS} seconds.")
    end = find_bucket(_parse_time(request.get("endTime", now)) + BUCKET_SECONDS)
    start = find_bucket(_parse_time(request.get("startTime", end - DEFAULT_SECONDS)))
    if start >= end:
        raise InvalidInput("startTime must be before endTime.")
    # A day more: the window is wider than asked for by up to two buckets.
    if end - start > SUMS_SECONDS + DEFAULT_SECONDS:
        raise InvalidInput(f"startTime and endTime are further apart than {SUMS_SECONDS // (24 * 3600)} days.")
    if (end - start) / period > MOST_POINTS:
        raise InvalidInput(
            f"That would be more than {MOST_POINTS} values of each metric: raise period, or bring startTime and "
            "endTime together."
        )
    return Window(start, end, period)


def _parse_time(sent: float) -> float:
    """Return a time in epoch seconds; what would be after the year 5138 is in milliseconds."""
    return sent / 1000 if sent > LATEST_TIMESTAMP else sent


def _collect_series(context: ApiContext, attribution: str, window: Window, metric: str | None) -> Series:
    merged: dict[SumKey, Sum] = {}
    for key, sum_ in context.store.list_sums(attribution, window.start, window.end).items():
        if metric is None or key.metric == metric:
            add_sum(merged, key._replace(bucket=window.find_start(key.bucket)), sum_)
    series: Series = defaultdict(dict)
    for key, sum_ in merged.items():
        series[key._replace(bucket=TOTAL)][key.bucket] = sum_
    return series


def _collect_recommendations(context: ApiContext, attribution: str, window: Window) -> dict[str, dict[int, int]]:
    """Return ARN -> start of a period -> recommendations."""
    given: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for (arn, bucket), number in context.store.list_recommendations(attribution, window.start, window.end).items():
        given[arn][window.find_start(bucket)] += number
    return given


def _describe_series(key: SumKey, sums: Mapping[int, Sum], given: Mapping[int, int]) -> dict[str, Any]:
    total: dict[SumKey, Sum] = {}
    for sum_ in sums.values():
        add_sum(total, key, sum_)
    value, samples = total[key]
    recommendations = sum(given.values()) or None
    described = {
        "metricName": key.metric,
        "eventType": key.event_type,
        "expression": key.expression,
        "eventAttributionSource": key.source,
        "value": value,
        "sampleCount": samples,
        "recommendations": recommendations,
        "buckets": [
            {
                "timestamp": start,
                "value": sums[start].value if start in sums else 0.0,
                "sampleCount": sums[start].samples if start in sums else 0,
                "recommendations": given.get(start),
            }
            for start in sorted({*sums, *given})
        ],
    }
    expression = parse_expression(key.expression)
    if recommendations is not None and expression is not None and not expression.table:
        described["rate"] = samples / recommendations
        if (interval := compute_interval(samples, recommendations)) is not None:
            described["rateLower"], described["rateUpper"] = interval
    return described
