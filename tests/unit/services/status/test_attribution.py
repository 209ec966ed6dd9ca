"""Metric attributions: each event sent after the creation counts once, under its source, and shows in values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from services.status import transitions
from services.status.attribution import ItemNumbers
from shared.aws.errors import InvalidInput, PersonalizeError, ResourceNotFound
from shared.resources.metric_attribution.import_sums import SUMS, write_sums
from shared.resources.metric_attribution.metrics import BEYOND_QUOTA, UNDEFINED
from shared.serving.recommendation_ids import create_recommendation_id
from shared.settings import Settings
from shared.state.lifecycle import ACTIVE, CREATE_FAILED, CREATE_IN_PROGRESS
from shared.state.messages import Remove
from shared.store.attributions import TOTAL, Sum, SumKey
from tests.unit.services.attribution_world import ARN, CAMPAIGN, GROUP, NOW, PREFIX, AttributionWorld, metric

DAY = 24 * 3600


@pytest.fixture
def world(tmp_path: Path) -> AttributionWorld:
    return AttributionWorld(tmp_path)


def test_events_count_under_their_own_source_else_the_campaign_of_their_recommendation(world: AttributionWorld) -> None:
    world.send()
    world.attribute(metric("clicks"), metric("seconds", "SUM(INTERACTIONS.seconds)"))
    recommendation = create_recommendation_id(CAMPAIGN)
    world.send("CLICK", source="mail", recommendationId=recommendation, properties={"seconds": 1.5})
    world.send(source="mail", properties={"seconds": 2})
    world.send(recommendationId=recommendation)
    world.send(recommendationId="RID-21-471f-bf00-7cc2983ae289-CID-3bc5e1")
    world.send(recommendationId=create_recommendation_id(f"{PREFIX}:campaign/gone"))
    world.send("buy")
    world.sum_up()
    assert world.values() == {
        ("clicks", "mail"): (2.0, 2),
        ("clicks", CAMPAIGN): (1.0, 1),
        ("clicks", UNDEFINED): (2.0, 2),
        ("seconds", "mail"): (3.5, 2),
    }


def test_the_queue_keeps_no_user(world: AttributionWorld) -> None:
    world.attribute(metric("clicks"))
    world.send()
    [waiting] = world.store.read_waiting_data(ARN, 10).events
    assert "user" not in repr(waiting)
    assert "'u'" not in repr(waiting)


def test_an_event_counts_once_however_often_it_is_sent_and_summed(world: AttributionWorld) -> None:
    world.attribute(metric("clicks"))
    for _ in range(2):
        world.send(invocation="same")
        world.send(eventId="e")
        world.sum_up()
        world.sum_up()
    assert world.values() == {("clicks", UNDEFINED): (2.0, 2)}


def test_a_crash_before_the_sums_are_saved_loses_and_doubles_nothing(
    world: AttributionWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.attribute(metric("clicks"))
    world.send()
    save = world.store.save_sums

    def die(*_: Any, **__: Any) -> bool:
        raise MemoryError

    monkeypatch.setattr(world.store, "save_sums", die)
    with pytest.raises(MemoryError):
        world.sum_up()
    monkeypatch.setattr(world.store, "save_sums", save)
    world.sum_up()
    assert world.values() == {("clicks", UNDEFINED): (1.0, 1)}


def test_two_processes_that_sum_the_same_events_count_them_once(
    world: AttributionWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.attribute(metric("clicks"))
    world.send()
    save = world.store.save_sums

    def save_after_another(*given: Any, **more: Any) -> bool:
        monkeypatch.setattr(world.store, "save_sums", save)
        world.sum_up(process=world.create_process(Settings()))
        return save(*given, **more)

    monkeypatch.setattr(world.store, "save_sums", save_after_another)
    world.sum_up()
    assert world.values() == {("clicks", UNDEFINED): (1.0, 1)}
    world.send()
    world.sum_up()
    assert world.values() == {("clicks", UNDEFINED): (2.0, 2)}


def test_items_are_summed_as_they_are_when_the_event_comes(world: AttributionWorld) -> None:
    world.attribute(metric("sales", "SUM(items.Price)"))
    items = ItemNumbers()
    world.put_item("i", price=2.5, title="t")
    world.send()
    world.send(itemId="unknown")
    world.sum_up(items)
    assert world.values() == {("sales", UNDEFINED): (2.5, 1)}
    world.at += 1
    world.put_item("i", price=10.0)
    world.put_item("new", price=100.0)
    world.send()
    world.send(itemId="new")
    for _ in range(2):
        # The second round finds that the rows may be read again.
        world.sum_up(items)
        for held in items._snapshots._held.values() if items._snapshots else ():
            object.__setattr__(held, "seconds", 0.0)
    assert world.values() == {("sales", UNDEFINED): (112.5, 3)}


def test_without_items_nothing_is_summed_and_nothing_waits(world: AttributionWorld) -> None:
    world.attribute(metric("sales", "SUM(Items.PRICE)"), metric("clicks"))
    world.remove(world.items)
    world.send()
    world.sum_up()
    assert world.values() == {("clicks", UNDEFINED): (1.0, 1)}


def test_an_update_ends_what_is_removed_and_begins_what_is_added(world: AttributionWorld) -> None:
    world.attribute(metric("a"), metric("b"))
    world.send()
    world.sum_up()
    world.at += 10
    world("UpdateMetricAttribution", metricAttributionArn=ARN, removeMetrics=["a"], addMetrics=[metric("c")])
    world.settle()
    world.send()
    world.sum_up()
    world.at += 10
    world("UpdateMetricAttribution", metricAttributionArn=ARN, addMetrics=[metric("d", event_type="buy")])
    world.settle()
    world.send("BUY")
    world.sum_up()
    samples = {name: value for (name, _), value in world.values().items()}
    assert samples == {"a": (1.0, 1), "b": (2.0, 2), "c": (1.0, 1), "d": (1.0, 1)}


def test_an_event_from_before_a_metric_was_added_does_not_count_for_it(world: AttributionWorld) -> None:
    world.attribute(metric("a"))
    world.send()
    world.at += 10
    world("UpdateMetricAttribution", metricAttributionArn=ARN, addMetrics=[metric("b")])
    world.settle()
    world.sum_up()
    assert world.values() == {("a", UNDEFINED): (1.0, 1)}


def test_old_and_future_events_do_not_count(world: AttributionWorld) -> None:
    world.attribute(metric("a"))
    for at in (NOW - 15 * DAY, NOW - 13 * DAY, NOW + DAY):
        world.send(sentAt=at)
    world.sum_up()
    assert world.values(startTime=NOW - 20 * DAY, endTime=NOW + 2 * DAY, period=3600) == {("a", UNDEFINED): (1.0, 1)}


def test_a_hundred_sources_are_told_apart(tmp_path: Path) -> None:
    world = AttributionWorld(tmp_path, quota_metric_attribution_sources=2)
    world.attribute(metric("a"))
    for source in ("x", "y", "z", None):
        world.send(source=source)
        world.sum_up()
    world.send(source="x")
    world.send(source="w")
    world.sum_up()
    samples = {source: value[1] for (_, source), value in world.values().items()}
    assert samples == {"x": 2, "y": 1, BEYOND_QUOTA: 2, UNDEFINED: 1}


def test_nothing_is_left_of_a_deleted_attribution(world: AttributionWorld) -> None:
    world.attribute(metric("a"))
    world.send()
    world.sum_up()
    world("DeleteMetricAttribution", metricAttributionArn=ARN)
    world.send()
    transitions.remove_resource(world.store, world.process.artifacts, Remove(arn=ARN))
    world.attribute(metric("a"))
    world.sum_up()
    assert world.values() == {}
    world.send()
    world.sum_up()
    assert world.values() == {("a", UNDEFINED): (1.0, 1)}


# Imports


def queue_import(world: AttributionWorld, status: str, *sums: tuple[int, float]) -> str:
    """An import job in this status, with sums (bucket, value) in its artifact."""
    job = world.put(f"{PREFIX}:dataset-import-job/j", "dataset_import_job", {}, status)
    with world.process.artifacts.fill_artifact(job, 1) as folder:
        write_sums(
            folder / SUMS, [(SumKey("a", "Click", "SAMPLECOUNT()", "mail", at), Sum(value, 1)) for at, value in sums]
        )
    world.store.queue_import(ARN, job)
    return job


def test_the_sums_of_an_import_are_added_once_it_is_active(world: AttributionWorld) -> None:
    world.attribute(metric("a"))
    job = queue_import(world, CREATE_IN_PROGRESS, (NOW - DAY, 1.0), (NOW - 900, 2.0), (NOW, 4.0))
    world.send(source="mail")
    world.sum_up()
    assert world.values(startTime=NOW - 2 * DAY) == {("a", "mail"): (1.0, 1)}
    world.change(job, status=ACTIVE)
    for _ in range(2):
        world.sum_up()
        assert world.values(startTime=NOW - 2 * DAY) == {("a", "mail"): (8.0, 4)}
        assert world.store.list_totals(ARN) == {SumKey("a", "Click", "SAMPLECOUNT()", "mail", TOTAL): Sum(8.0, 4)}
    assert dict(world.store.read_waiting_data(ARN, 1).jobs) == {}


def test_a_crash_in_the_middle_of_an_import_s_days_loses_and_doubles_nothing(
    world: AttributionWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.attribute(metric("a"))
    queue_import(world, ACTIVE, *((NOW - day * DAY, 1.0) for day in reversed(range(5))))
    save, saves = world.store.save_sums, 0

    def die_at_the_third(*given: Any, **more: Any) -> bool:
        nonlocal saves
        saves += 1
        if saves == 3:
            raise MemoryError
        return save(*given, **more)

    monkeypatch.setattr(world.store, "save_sums", die_at_the_third)
    with pytest.raises(MemoryError):
        world.sum_up()
    world.sum_up()
    assert world.values(startTime=NOW - 9 * DAY) == {("a", "mail"): (5.0, 5)}


@pytest.mark.parametrize("fate", [CREATE_FAILED, "removed", "damaged"])
def test_an_import_that_has_failed_or_is_gone_adds_nothing(world: AttributionWorld, fate: str) -> None:
    world.attribute(metric("a"))
    job = queue_import(world, CREATE_FAILED if fate == CREATE_FAILED else ACTIVE, (NOW, 1.0))
    if fate == "removed":
        world.remove(job)
    if fate == "damaged":
        (world.process.artifacts.get_folder(job) / SUMS).write_text("[1")
    world.sum_up()
    assert world.values() == {}
    assert dict(world.store.read_waiting_data(ARN, 1).jobs) == {}


# Values


def test_the_values_of_a_window_are_summed_by_period_with_a_rate(world: AttributionWorld) -> None:
    world.attribute(metric("clicks"), metric("seconds", "SUM(Interactions.SECONDS)"))
    recommendation = create_recommendation_id(CAMPAIGN)
    for _ in range(2):
        world.send(recommendationId=recommendation, properties={"seconds": 0.5})
        world.at += 900
    world.sum_up()
    world.store.count_recommendations(ARN, {(CAMPAIGN, NOW): 7, (CAMPAIGN, NOW + 2700): 3}, invocation="1")
    answer = world(
        "ListMetricAttributionValues", metricAttributionArn=ARN, startTime=NOW, endTime=NOW + 3500, period=1800
    )
    assert (answer["startTime"], answer["endTime"], answer["period"]) == (NOW, NOW + 3600, 1800)
    clicks, seconds = answer["values"]
    assert clicks == {
        "metricName": "clicks",
        "eventType": "Click",
        "expression": "SAMPLECOUNT()",
        "eventAttributionSource": CAMPAIGN,
        "value": 2.0,
        "sampleCount": 2,
        "recommendations": 10,
        "rate": 0.2,
        # As R's binom::binom.wilson(2, 10) gives them.
        "rateLower": pytest.approx(0.0566821515),
        "rateUpper": pytest.approx(0.5098375284),
        "buckets": [
            {"timestamp": NOW, "value": 2.0, "sampleCount": 2, "recommendations": 7},
            {"timestamp": NOW + 1800, "value": 0.0, "sampleCount": 0, "recommendations": 3},
        ],
    }
    assert (seconds["value"], seconds["recommendations"], "rate" in seconds) == (1.0, 10, False)
    [early] = world("ListMetricAttributionValues", metricAttributionArn=ARN, metricName="clicks", endTime=NOW)["values"]
    assert (early["sampleCount"], early["recommendations"]) == (1, 7)


def test_with_more_events_than_recommendations_the_rate_has_no_interval(world: AttributionWorld) -> None:
    world.attribute(metric("clicks"))
    world.store.count_recommendations(ARN, {(CAMPAIGN, NOW): 1}, invocation="1")
    for _ in range(3):
        world.send(recommendationId=create_recommendation_id(CAMPAIGN))
    world.sum_up()
    [clicks] = world("ListMetricAttributionValues", metricAttributionArn=ARN)["values"]
    assert (clicks["rate"], "rateLower" in clicks, "rateUpper" in clicks) == (3.0, False, False)


def test_values_come_in_pages(world: AttributionWorld) -> None:
    world.attribute(metric("b"), metric("a"))
    for source in ("y", "x"):
        world.send(source=source)
    world.sum_up()
    found: list[tuple[str, str]] = []
    token: dict[str, str] = {}
    while True:
        page = world("ListMetricAttributionValues", metricAttributionArn=ARN, maxResults=3, **token)
        found += [(one["metricName"], one["eventAttributionSource"]) for one in page["values"]]
        if "nextToken" not in page:
            break
        token = {"nextToken": page["nextToken"]}
    assert found == [("a", "x"), ("a", "y"), ("b", "x"), ("b", "y")]


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({"metricAttributionArn": f"{PREFIX}:metric-attribution/none"}, ResourceNotFound, "does not exist"),
        ({"metricAttributionArn": GROUP}, ResourceNotFound, "ARN of a dataset group"),
        ({"period": 1000}, InvalidInput, "multiple of 900"),
        ({"startTime": NOW + 900, "endTime": NOW - 900}, InvalidInput, "startTime must be before endTime"),
        ({"startTime": NOW - 64 * DAY, "period": DAY}, InvalidInput, "further apart than 63 days"),
        ({"startTime": NOW - 16 * DAY}, InvalidInput, "more than 1440 values"),
    ],
)
def test_what_is_refused(
    world: AttributionWorld, more: dict[str, Any], error: type[PersonalizeError], message: str
) -> None:
    world.attribute(metric("a"))
    with pytest.raises(error, match=message):
        world("ListMetricAttributionValues", **{"metricAttributionArn": ARN, **more})
