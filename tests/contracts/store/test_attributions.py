"""The data of metric attributions: events queued once, summed once, and nothing kept of one that is deleted."""

from __future__ import annotations

import pytest

from shared.state.lifecycle import ACTIVE, DELETE_PENDING
from shared.store import Interaction, Record, Store
from shared.store.attributions import (
    BUCKET_SECONDS,
    SUMS_SECONDS,
    TOTAL,
    AttributedEvent,
    AttributedEvents,
    Sum,
    SumKey,
)

ARN = "arn:aws:personalize:us-east-1:000000000000:metric-attribution/m"
CAMPAIGN = "arn:aws:personalize:us-east-1:000000000000:campaign/c"


@pytest.fixture
def attribution(store: Store) -> str:
    record = Record(arn=ARN, kind="metric_attribution", status=ACTIVE, created=1.0, updated=1.0)
    return store.create(record, invocation="create")


def now(store: Store) -> int:
    return int(store.now()) // BUCKET_SECONDS * BUCKET_SECONDS


def key(bucket: int, source: str = "mail", metric: str = "clicks") -> SumKey:
    return SumKey(metric, "click", "SAMPLECOUNT()", source, bucket)


def append(store: Store, *events: AttributedEvent | None, invocation: str = "1", event_id: str | None = None) -> int:
    sent = [
        Interaction(
            user_id="u",
            session_id="s",
            item_id=str(n),
            event_type="x",
            event_value=None,
            sent_at=1.0,
            event_id=event_id,
        )
        for n in range(len(events))
    ]
    return store.append_interactions(
        "d", sent, invocation=invocation, attributed=AttributedEvents(attribution=ARN, events=events)
    )


def queued(store: Store) -> list[AttributedEvent]:
    return [one.event for one in store.read_waiting_data(ARN, 100).events]


EVENT = AttributedEvent(
    event_type="click", item_id="ä", sent_at=2.5, source="mail", recommendation_id="RID-1", numbers={"PRICE": 1.5}
)
PLAIN = AttributedEvent(event_type="buy", item_id=None, sent_at=3.0)


def test_an_event_is_queued_in_the_step_that_saves_it_and_as_often(store: Store, attribution: str) -> None:
    before = store.now()
    assert append(store, EVENT, None, PLAIN) == 3
    assert append(store, EVENT, None, PLAIN) == 0
    waiting = store.read_waiting_data(attribution, 100)
    assert [one.event for one in waiting.events] == [EVENT, PLAIN]
    # The ids of a stream have milliseconds.
    assert all(before - 0.001 <= one.arrived <= store.now() for one in waiting.events)
    assert len(store.read_waiting_data(attribution, 1).events) == 1


def test_a_repeated_event_id_is_queued_once(store: Store, attribution: str) -> None:
    append(store, EVENT, invocation="1", event_id="e")
    append(store, EVENT, invocation="2", event_id="e")
    assert queued(store) == [EVENT]
    assert attribution == ARN


def test_nothing_is_queued_for_an_attribution_that_is_gone_or_being_deleted(store: Store, attribution: str) -> None:
    record = store.get(attribution)
    assert record is not None
    deleting = Record(**{**vars(record), "status": DELETE_PENDING})
    store.replace(deleting)
    append(store, EVENT, invocation="1")
    store.queue_import(attribution, "job")
    store.count_recommendations(attribution, {(CAMPAIGN, now(store)): 1}, invocation="2")
    waiting = store.read_waiting_data(attribution, 100)
    assert not store.save_sums(attribution, waiting, {key(TOTAL): Sum(1.0, 1)})
    standing = store.get(attribution)
    assert standing is not None
    store.remove(standing)
    append(store, EVENT, invocation="3")
    assert (waiting.events, dict(waiting.jobs), queued(store)) == ([], {}, [])
    assert (store.list_totals(attribution), store.list_recommendation_totals(attribution)) == ({}, {})


def test_sums_replace_what_they_are_made_of_in_one_step(store: Store, attribution: str) -> None:
    append(store, EVENT, PLAIN)
    store.queue_import(attribution, "a")
    store.queue_import(attribution, "b")
    waiting = store.read_waiting_data(attribution, 100)
    bucket = now(store)
    sums = {key(bucket): Sum(0.1, 1), key(bucket, 'a "b"'): Sum(1e300, 2), key(TOTAL): Sum(0.1, 1)}
    assert dict(waiting.jobs) == {"a": 0, "b": 0}
    assert store.save_sums(attribution, waiting, sums, entries=[waiting.events[0].id], jobs={"a": 7, "b": None})
    assert queued(store) == [PLAIN]
    assert dict(store.read_waiting_data(attribution, 1).jobs) == {"a": 7}
    assert store.get_sums(attribution, [*sums, key(bucket, "none")]) == sums
    assert store.list_totals(attribution) == {key(TOTAL): Sum(0.1, 1)}


def test_of_two_readers_of_the_same_data_the_first_one_saves(store: Store, attribution: str) -> None:
    append(store, EVENT)
    first, second = store.read_waiting_data(attribution, 100), store.read_waiting_data(attribution, 100)
    assert store.save_sums(attribution, first, {key(TOTAL): Sum(1.0, 1)}, entries=[first.events[0].id])
    assert not store.save_sums(attribution, second, {key(TOTAL): Sum(9.0, 9)}, entries=[second.events[0].id])
    assert store.list_totals(attribution) == {key(TOTAL): Sum(1.0, 1)}


def test_sums_are_listed_by_the_time_of_their_buckets(store: Store, attribution: str) -> None:
    bucket = now(store)
    buckets = [bucket - 2 * 24 * 3600, bucket - BUCKET_SECONDS, bucket]
    forgotten = bucket - SUMS_SECONDS - 2 * 24 * 3600
    sums = {key(each): Sum(float(each), 1) for each in (*buckets, forgotten, TOTAL)}
    assert store.save_sums(attribution, store.read_waiting_data(attribution, 1), sums)
    assert store.list_sums(attribution, 0.0 + buckets[1], bucket + 1) == {
        key(each): sums[key(each)] for each in buckets[1:]
    }
    assert store.list_sums(attribution, buckets[0], bucket) == {key(each): sums[key(each)] for each in buckets[:2]}
    assert store.list_sums(attribution, forgotten, forgotten + 1) == {}


def test_recommendations_are_counted_once_an_invocation(store: Store, attribution: str) -> None:
    bucket = now(store)
    store.count_recommendations(attribution, {(CAMPAIGN, bucket): 2, (CAMPAIGN, bucket - 900): 1}, invocation="1")
    store.count_recommendations(attribution, {(CAMPAIGN, bucket): 2, (CAMPAIGN, bucket - 900): 1}, invocation="1")
    store.count_recommendations(attribution, {(CAMPAIGN, bucket): 5}, invocation="2")
    assert store.list_recommendations(attribution, bucket, bucket + 1) == {(CAMPAIGN, bucket): 7}
    assert store.list_recommendations(attribution, bucket - 900, bucket) == {(CAMPAIGN, bucket - 900): 1}
    assert store.list_recommendation_totals(attribution) == {CAMPAIGN: 8}


def test_an_attribution_is_cleared_whole_and_alone(store: Store, attribution: str) -> None:
    other = store.create(
        Record(arn=f"{ARN}2", kind="metric_attribution", status=ACTIVE, created=1.0, updated=1.0), invocation="other"
    )
    for arn in (attribution, other):
        waiting = store.read_waiting_data(arn, 1)
        assert store.save_sums(arn, waiting, {key(TOTAL): Sum(1.0, 1), key(now(store)): Sum(1.0, 1)})
        store.count_recommendations(arn, {(CAMPAIGN, now(store)): 1}, invocation=arn)
        store.queue_import(arn, "job")
    append(store, EVENT)
    store.clear_attribution(attribution)
    waiting = store.read_waiting_data(attribution, 100)
    assert (waiting.version, waiting.events, dict(waiting.jobs)) == (0, [], {})
    assert store.list_totals(attribution) == store.list_sums(attribution, now(store), now(store) + 1) == {}
    assert store.list_recommendation_totals(attribution) == {}
    assert store.list_totals(other) == {key(TOTAL): Sum(1.0, 1)}
    assert store.list_recommendation_totals(other) == {CAMPAIGN: 1}
