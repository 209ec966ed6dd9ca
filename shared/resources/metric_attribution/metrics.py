"""The metrics of an attribution: expressions, the sources of events, and sums by quarter of an hour."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from shared.store import Record
from shared.store.attributions import BUCKET_SECONDS, TOTAL, AttributedEvent, Sum, SumKey, WaitingEvent

#: The source of an event that names none (AWS's word).
UNDEFINED = "SOURCE_NAME_UNDEFINED"
#: The source of the events whose own sources are beyond the quota.
BEYOND_QUOTA = "SOURCE_LIMIT_EXCEEDED"
#: AWS does not publish events that are older than 14 days, or further ahead than CloudWatch accepts (seconds).
OLDEST_SECONDS = 14 * 24 * 3600
FUTURE_SECONDS = 2 * 3600

#: AWS's whole grammar. Its samples write the words and the columns in any case.
_EXPRESSION = re.compile(r"SAMPLECOUNT\(\)|SUM\((Items|Interactions)\.(\w+)\)", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Expression:
    """SUM(table.column), in capitals; SAMPLECOUNT() has neither."""

    table: str = ""
    column: str = ""

    @property
    def function(self) -> str:
        """The name of the function as AWS's reports write it."""
        return "sum" if self.table else "samplecount"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric of an attribution. It counts events of its type, in any case, that arrive after ``since``."""

    name: str
    event_type: str
    text: str
    """The expression as the client sent it."""
    expression: Expression
    since: float

    def build_key(self, source: str, bucket: int) -> SumKey:
        return SumKey(self.name, self.event_type, self.text, source, bucket)


@lru_cache(maxsize=1024)
def parse_expression(text: str) -> Expression | None:
    """Parse an expression in any case; None for one that is not in AWS's grammar."""
    parsed = _EXPRESSION.fullmatch(text)
    return parsed and Expression(*(part.upper() for part in parsed.groups(default="")))


def build_attribution_claim(group_arn: str) -> str:
    """Return the claim by which the metric attribution of a dataset group is found."""
    return f"metric-attribution-of:{group_arn}"


def read_metrics(attribution: Record) -> list[Metric]:
    """Return the metrics of an attribution as they are now."""
    since: Mapping[str, float] = attribution.body.get("metricsSince") or {}
    return [
        Metric(
            name=one["metricName"],
            event_type=one["eventType"],
            text=one["expression"],
            expression=expression,
            since=since.get(one["metricName"], attribution.created),
        )
        for one in attribution.body["metrics"]
        if (expression := parse_expression(one["expression"])) is not None
    ]


def find_column(columns: Collection[str], name: str) -> str | None:
    """Find a column by its name in any case: names that differ in case alone cannot stand in one schema."""
    return next((column for column in columns if column.upper() == name.upper()), None)


def find_bucket(at: float) -> int:
    """Return when the quarter of an hour began (epoch seconds)."""
    return int(at) // BUCKET_SECONDS * BUCKET_SECONDS


def is_published(at: float, arrived: float) -> bool:
    """Tell whether an event of that time is young enough to count (epoch seconds)."""
    return arrived - OLDEST_SECONDS <= at <= arrived + FUTURE_SECONDS


def sum_events(
    events: Iterable[WaitingEvent],
    metrics: Collection[Metric],
    find_source: Callable[[AttributedEvent], str],
    read_item: Callable[[str, str], float | None],
) -> dict[SumKey, Sum]:
    """Sum events by metric, source and bucket, with totals.

    ``read_item`` returns the number in a column of an item, named in capitals; None where it has none.
    """
    sums: dict[SumKey, Sum] = {}
    for _, arrived, event in events:
        if not is_published(event.sent_at, arrived):
            continue
        for metric in metrics:
            if metric.since > arrived or metric.event_type.lower() != event.event_type.lower():
                continue
            value = _read_value(metric.expression, event, read_item)
            if value is not None:
                source = find_source(event)
                for bucket in (find_bucket(event.sent_at), TOTAL):
                    add_sum(sums, metric.build_key(source, bucket), Sum(value, 1))
    return sums


def _read_value(
    expression: Expression, event: AttributedEvent, read_item: Callable[[str, str], float | None]
) -> float | None:
    if not expression.table:
        return 1.0
    if expression.table == "INTERACTIONS":
        return event.numbers.get(expression.column)
    return read_item(event.item_id, expression.column) if event.item_id is not None else None


def add_sum(sums: dict[SumKey, Sum], key: SumKey, more: Sum) -> None:
    """Add to a sum, which stays finite: columns of doubles may hold numbers near the largest."""
    standing = sums.get(key, Sum(0.0, 0))
    value = standing.value + more.value
    if not math.isfinite(value):
        value = math.copysign(sys.float_info.max, value)
    sums[key] = Sum(value, standing.samples + more.samples)


def limit_sources(sums: Mapping[SumKey, Sum], known: Collection[str], most: int) -> dict[SumKey, Sum]:
    """Return the sums with at most so many named sources, those already known included; further ones become one."""
    named = {source for source in known if source not in (UNDEFINED, BEYOND_QUOTA)}
    limited: dict[SumKey, Sum] = {}
    for key, sum_ in sums.items():
        source = key.source
        if source not in named and source not in (UNDEFINED, BEYOND_QUOTA):
            if len(named) < most:
                named.add(source)
            else:
                source = BEYOND_QUOTA
        add_sum(limited, key._replace(source=source), sum_)
    return limited


def build_attributed_event(
    event_type: str, item_id: str | None, sent_at: float, columns: Mapping[str, Any], metrics: Collection[Metric]
) -> AttributedEvent | None:
    """Return the part of a live event that these metrics read; None where none of them counts its type.

    ``columns`` are the event's values by column.
    """
    counting = [metric for metric in metrics if metric.event_type.lower() == event_type.lower()]
    if not counting:
        return None
    wanted = {metric.expression.column for metric in counting if metric.expression.table == "INTERACTIONS"}
    return AttributedEvent(
        event_type=event_type,
        item_id=item_id,
        sent_at=sent_at,
        source=columns.get("EVENT_ATTRIBUTION_SOURCE"),
        recommendation_id=columns.get("RECOMMENDATION_ID"),
        numbers={
            column.upper(): float(value)
            for column, value in columns.items()
            if column.upper() in wanted and isinstance(value, int | float) and math.isfinite(value)
        },
    )
