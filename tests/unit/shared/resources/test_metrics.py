"""The arithmetic of metric attributions: expressions in any case, sources, quarters of an hour, and their limits."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from shared.resources.metric_attribution.import_sums import read_day, write_sums
from shared.resources.metric_attribution.metrics import (
    BEYOND_QUOTA,
    FUTURE_SECONDS,
    OLDEST_SECONDS,
    UNDEFINED,
    Expression,
    Metric,
    add_sum,
    build_attributed_event,
    limit_sources,
    parse_expression,
    read_metrics,
    sum_events,
)
from shared.store import Record
from shared.store.attributions import TOTAL, AttributedEvent, Sum, SumKey, WaitingEvent

#: At the middle of a quarter of an hour.
NOW = 1_700_000_100 + 450
BUCKET = 1_700_000_100
DAY = 24 * 3600


def metric(text: str = "SAMPLECOUNT()", event_type: str = "Click", since: float = 0.0) -> Metric:
    expression = parse_expression(text)
    assert expression is not None
    return Metric(name="m", event_type=event_type, text=text, expression=expression, since=since)


def waiting(*events: AttributedEvent, arrived: float = NOW) -> list[WaitingEvent]:
    return [WaitingEvent(str(number), arrived, event) for number, event in enumerate(events)]


def event(event_type: str = "click", at: float = NOW, item: str | None = "i", **numbers: float) -> AttributedEvent:
    return AttributedEvent(event_type=event_type, item_id=item, sent_at=at, source="mail", numbers=numbers)


def summed(metric: Metric, *events: AttributedEvent, arrived: float = NOW) -> dict[int, Sum]:
    """By bucket."""
    prices = {("i", "PRICE"): 2.5}
    found = sum_events(
        waiting(*events, arrived=arrived),
        [metric],
        lambda one: one.source or UNDEFINED,
        lambda item, column: prices.get((item, column)),
    )
    return {key.bucket: sum_ for key, sum_ in found.items()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SAMPLECOUNT()", Expression()),
        ("sampleCount()", Expression()),
        ("SUM(ITEMS.MARGIN)", Expression("ITEMS", "MARGIN")),
        ("sum(items.margin)", Expression("ITEMS", "MARGIN")),
        ("Sum(Interactions.event_value)", Expression("INTERACTIONS", "EVENT_VALUE")),
        ("SUM(Users.AGE)", None),
        ("SUM(Items.)", None),
        ("SAMPLECOUNT() ", None),
    ],
)
def test_an_expression_is_read_in_any_case(text: str, expected: Expression | None) -> None:
    assert parse_expression(text) == expected
    assert expected is None or expected.function in ("sum", "samplecount")


def test_events_are_counted_by_quarter_of_an_hour_whatever_the_case_of_their_type() -> None:
    events = [event(), event("CLICK"), event(at=BUCKET), event(at=BUCKET - 1), event("Clicks")]
    assert summed(metric(), *events) == {BUCKET: Sum(3.0, 3), BUCKET - 900: Sum(1.0, 1), TOTAL: Sum(4.0, 4)}


def test_columns_of_events_and_items_are_summed_and_what_has_no_value_is_no_sample() -> None:
    events = [event(MARGIN=1.5), event(MARGIN=-4.0), event(), event(item=None), event(item="unknown")]
    assert summed(metric("SUM(Interactions.margin)"), *events)[TOTAL] == Sum(-2.5, 2)
    assert summed(metric("SUM(items.price)"), *events)[TOTAL] == Sum(7.5, 3)


def test_a_metric_counts_from_when_it_was_added() -> None:
    assert summed(metric(since=NOW + 0.5), event()) == {}
    assert summed(metric(since=NOW), event())[TOTAL] == Sum(1.0, 1)


@pytest.mark.parametrize(
    ("at", "counts"),
    [
        (NOW - OLDEST_SECONDS, True),
        (NOW - OLDEST_SECONDS - 1, False),
        (NOW + FUTURE_SECONDS, True),
        (NOW + FUTURE_SECONDS + 1, False),
    ],
)
def test_an_event_counts_for_fourteen_days(at: float, counts: bool) -> None:
    assert bool(summed(metric(), event(at=at))) is counts


def test_sources_beyond_the_quota_become_one() -> None:
    sums = {SumKey("m", "click", "SAMPLECOUNT()", source, TOTAL): Sum(1.0, 1) for source in (*"abcd", UNDEFINED)}
    limited = limit_sources(sums, {"b", "z", UNDEFINED, BEYOND_QUOTA}, 3)
    assert {key.source: sum_.samples for key, sum_ in limited.items()} == {
        "a": 1,
        "b": 1,
        BEYOND_QUOTA: 2,
        UNDEFINED: 1,
    }


def test_a_sum_stays_finite() -> None:
    sums = {SumKey("m", "click", "x", "s", TOTAL): Sum(-sys.float_info.max, 1)}
    add_sum(sums, SumKey("m", "click", "x", "s", TOTAL), Sum(-1e308, 2))
    assert list(sums.values()) == [Sum(-sys.float_info.max, 3)]


def test_an_attribution_s_metrics_are_as_old_as_it_or_as_their_addition() -> None:
    metrics = [
        {"metricName": name, "eventType": "buy", "expression": expression}
        for name, expression in (("a", "SAMPLECOUNT()"), ("b", "sum(Items.price)"))
    ]
    body = {"metrics": metrics, "metricsSince": {"b": 9.0}}
    record = Record(arn="m", kind="metric_attribution", created=5.0, updated=5.0, body=body)
    assert [(one.name, one.expression.table, one.since) for one in read_metrics(record)] == [
        ("a", "", 5.0),
        ("b", "ITEMS", 9.0),
    ]


def test_of_an_event_only_what_metrics_read_is_kept() -> None:
    columns = {
        "EVENT_ATTRIBUTION_SOURCE": "mail",
        "RECOMMENDATION_ID": "RID-1",
        "margin": 3,
        "PRICE": 2.0,
        "DEVICE": "tv",
        "EVENT_VALUE": None,
    }
    metrics = [metric("SUM(Interactions.MARGIN)"), metric("SUM(INTERACTIONS.EVENT_VALUE)"), metric("SUM(Items.PRICE)")]
    found = build_attributed_event("CLICK", "i", NOW, columns, metrics)
    assert found == AttributedEvent(
        event_type="CLICK",
        item_id="i",
        sent_at=NOW,
        source="mail",
        recommendation_id="RID-1",
        numbers={"MARGIN": 3.0},
    )
    assert build_attributed_event("buy", "i", NOW, columns, metrics) is None


def test_the_sums_of_an_import_are_read_a_day_at_a_time(tmp_path: Path) -> None:
    first = BUCKET // DAY
    keys = [SumKey("m", "click", "x", source, bucket) for bucket in (BUCKET, BUCKET + 2 * DAY) for source in ("ä", "b")]
    write_sums(tmp_path / "sums", [(key, Sum(0.5, 1)) for key in keys])
    sums, following = read_day(tmp_path / "sums", 0)
    assert following == first + 1
    assert sums == {key: Sum(0.5, 1) for one in keys[:2] for key in (one, one._replace(bucket=TOTAL))}
    sums, following = read_day(tmp_path / "sums", first + 1)
    assert (set(sums), following) == ({key for one in keys[2:] for key in (one, one._replace(bucket=TOTAL))}, None)
    assert read_day(tmp_path / "sums", first + 3) == ({}, None)
