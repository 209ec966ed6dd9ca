"""The operations of metric attributions, through boto3: reports, values, changes. The checks: unit/services/api."""

from __future__ import annotations

import csv
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

from shared.resources.metric_attribution.metrics import UNDEFINED, find_bucket
from tests.conftest import System, until
from tests.operations.conftest import POPULARITY, ROLE, Maker, column, refused

INTERACTIONS = [
    column("USER_ID"),
    column("ITEM_ID"),
    column("TIMESTAMP", "long"),
    column("EVENT_TYPE"),
    column("SECONDS", ["null", "double"]),
    column("RECOMMENDATION_ID", ["null", "string"]),
    column("EVENT_ATTRIBUTION_SOURCE", ["null", "string"]),
]
ITEMS = [column("ITEM_ID"), column("MARGIN", ["null", "double"])]
MARGINS = {f"i{number}": 0.5 * number for number in range(20)}
METRICS = [
    {"metricName": "views", "eventType": "watch", "expression": "samplecount()"},
    {"metricName": "margins", "eventType": "Watch", "expression": "SUM(ITEMS.MARGIN)"},
    {"metricName": "seconds", "eventType": "WATCH", "expression": "Sum(interactions.SECONDS)"},
]


def document(table: str, fields: list[dict[str, Any]]) -> dict[str, Any]:
    namespace = "com.amazonaws.personalize.schema"
    return {"type": "record", "name": table, "namespace": namespace, "fields": fields, "version": "1.0"}


def write_rows(make: Maker, now: int) -> tuple[str, list[tuple[Any, ...]]]:
    """The location of a CSV of 1,200 events within the last days, some with a source; and its rows."""
    bucket = make.bucket()
    rows = [
        (f"u{n % 40}", f"i{n % 20}", now - 400 * n, "Watch" if n % 3 else "buy", n / 8, "", "mail" if n % 2 else "")
        for n in range(1200)
    ]
    with (make.folder / "s3" / bucket / "interactions.csv").open("w", newline="") as file:
        csv.writer(file).writerows([[field["name"] for field in INTERACTIONS], *rows])
    return bucket, rows


def expected_report(rows: list[tuple[Any, ...]]) -> list[list[str]]:
    sums: Counter[tuple[int, int, str]] = Counter()
    for _, item, at, event_type, seconds, _, source in rows:
        if event_type == "Watch":
            for place, value in enumerate((1.0, MARGINS[item], seconds)):
                sums[place, find_bucket(at), source or UNDEFINED] += value
    return [
        [
            METRICS[place]["metricName"],
            METRICS[place]["eventType"],
            repr(sums[place, bucket, source]),
            ("samplecount", "sum", "sum")[place],
            source,
            str(bucket),
        ]
        for place, bucket, source in sorted(sums)
    ]


def values(system: System, arn: str) -> dict[tuple[str, str], tuple[float, int]]:
    """(metric, source) -> value and samples of the last eleven days."""
    start = time.time() - 11 * 24 * 3600
    listed = system.foretaste.list_metric_attribution_values(metricAttributionArn=arn, startTime=start, period=3600)
    return {
        (one["metricName"], one["eventAttributionSource"]): (one["value"], one["sampleCount"])
        for one in listed["values"]
    }


def test_imports_and_events_are_reported_by_their_sources(system: System, personalize: Any, make: Maker) -> None:
    group = make.group()
    dataset = make.dataset(group, make.schema(document("Interactions", INTERACTIONS)))
    items = make.dataset(group, make.schema(document("Items", ITEMS)), "Items")
    _, tracking_id = make.tracker(group)
    for start in range(0, 20, 10):
        listed = list(MARGINS.items())[start : start + 10]
        system.events.put_items(
            datasetArn=items,
            items=[{"itemId": item, "properties": json.dumps({"margin": margin})} for item, margin in listed],
        )
    bucket, rows = write_rows(make, int(time.time()))
    arn = personalize.create_metric_attribution(
        name=make.name(),
        datasetGroupArn=group,
        metrics=METRICS,
        metricsOutputConfig={"roleArn": ROLE, "s3DataDestination": {"path": f"s3://{bucket}/reports"}},
    )["metricAttributionArn"]
    assert make.settled("metric_attribution", "metricAttribution", arn)["status"] == "ACTIVE"

    job = make.imported(dataset, f"s3://{bucket}/interactions.csv", publishAttributionMetricsToS3=True)
    assert job["status"] == "ACTIVE", job
    [report] = (make.folder / "s3" / bucket / "reports").iterdir()
    assert (
        report.name == f"AggregatedAttributionMetrics - BULK - {round(job['creationDateTime'].timestamp() * 1000)}.csv"
    )
    check_report(report, rows)

    campaign = make.deployed(make.solution(group, POPULARITY))
    shown = [
        system.runtime.get_recommendations(campaignArn=campaign, userId="u1")["recommendationId"] for _ in range(4)
    ]
    send(system, tracking_id, recommendationId=shown[0], itemId="i3", properties=json.dumps({"seconds": 2.5}))
    send(
        system,
        tracking_id,
        recommendationId=shown[1],
        itemId="i5",
        metricAttribution={"eventAttributionSource": "mail"},
    )
    send(system, tracking_id, itemId="i7", eventId="once")
    send(system, tracking_id, itemId="i7", eventId="once")

    imported = Counter(source or UNDEFINED for *_, event_type, _, _, source in rows if event_type == "Watch")
    seen = until(
        lambda: (
            found if (found := values(system, arn)).get(("views", UNDEFINED), (0, 0))[1] > imported[UNDEFINED] else None
        ),
        60,
    )
    views = {source: samples for (name, source), (_, samples) in seen.items() if name == "views"}
    assert views == {"mail": imported["mail"] + 1, UNDEFINED: imported[UNDEFINED] + 1, campaign: 1}
    assert seen["margins", campaign] == (1.5, 1)
    assert seen["seconds", campaign] == (2.5, 1)

    def look() -> Any:
        listed = system.foretaste.list_metric_attribution_values(metricAttributionArn=arn, metricName="views")["values"]
        [mine] = [one for one in listed if one["eventAttributionSource"] == campaign]
        return mine if mine.get("recommendations") == 4 else None

    mine = until(look, 20, "the recommendations to be counted")
    assert (mine["rate"], round(mine["rateLower"], 3), round(mine["rateUpper"], 3)) == (0.25, 0.046, 0.699)


def check_report(report: Path, rows: list[tuple[Any, ...]]) -> None:
    with report.open(newline="") as file:
        header, *lines = csv.reader(file)
    assert header == ["METRIC_NAME", "EVENT_TYPE", "VALUE", "MATH_FUNCTION", "EVENT_ATTRIBUTION_SOURCE", "TIMESTAMP"]
    assert lines == expected_report(rows)


def send(system: System, tracking_id: str, **event: Any) -> None:
    sent = {"eventType": "watch", "sentAt": time.time(), **event}
    system.events.put_events(trackingId=tracking_id, sessionId="s", userId="u1", eventList=[sent])


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
