"""The five operations of personalize-events before a store in memory: found, checked whole, kept whole."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from services.events import app, events_without_items
from shared.aws.errors import InvalidInput, PersonalizeError, ResourceInUse, ResourceNotFound
from shared.http.app import Call
from shared.observability import metrics
from shared.settings import Settings
from shared.state.lifecycle import ACTIVE, CREATE_PENDING, DELETE_PENDING
from shared.store import Interaction, PutRecord
from tests.stored_events import list_recent
from tests.unit.services.groups import FIELDS, Group

PUTS = {"Items": ("PutItems", "items", "itemId"), "Users": ("PutUsers", "users", "userId"),
        "Actions": ("PutActions", "actions", "actionId")}  # fmt: skip
_NUMBERS = itertools.count()


@pytest.fixture
def group() -> Group:
    return Group()


def call(group: Group, operation: str, invocation: str | None = None, **request: Any) -> None:
    number = invocation or str(next(_NUMBERS))
    handler = app.build_handlers(Settings(), group.store)[operation]
    handler(Call(operation=operation, request=request, request_id=number, invocation=number))


def put(
    group: Group, dataset: str, *records: tuple[str, Mapping[str, Any] | None], name: str = "Items", **more: Any
) -> None:
    """Each record an id and its properties, None for no member of that name."""
    operation, members, id_ = PUTS[name]
    sent = [{id_: one} | ({} if held is None else {"properties": json.dumps(held)}) for one, held in records]
    call(group, operation, datasetArn=dataset, **{members: sent}, **more)


def kept(group: Group, dataset: str) -> dict[str, Mapping[str, Any]]:
    return {record.id: record.properties for record in group.store.iter_put_records(dataset)}


@pytest.mark.parametrize(
    ("name", "sent", "columns"),
    [
        ("Items", {"genres": "Horror|Action", "price": "2.5"}, {"GENRES": "Horror|Action", "PRICE": 2.5}),
        ("Users", {"age": 7}, {"AGE": 7}),
        ("Actions", {"level": "Deluxe|Premium"}, {"LEVEL": "Deluxe|Premium"}),
    ],
)
def test_each_kind_is_kept_under_its_id_with_the_columns_of_its_schema(
    group: Group, name: str, sent: Mapping[str, Any], columns: Mapping[str, Any]
) -> None:
    dataset = group.dataset(name)
    begin = time.time()
    put(group, dataset, ("a", {**sent, "unknown": 1}), name=name)
    [record] = group.store.iter_put_records(dataset)
    assert begin <= record.at <= time.time()
    assert record == PutRecord(id="a", properties=columns, at=record.at)


def test_the_newest_of_an_id_replaces_the_whole_record(group: Group) -> None:
    items = group.dataset("Items")
    put(group, items, ("a", {"genres": "War", "price": 1}), ("b", {"genres": "War"}), ("a", {"genres": "Drama"}))
    assert kept(group, items) == {"a": {"GENRES": "Drama"}, "b": {"GENRES": "War"}}
    put(group, items, ("b", {"genres": "War", "price": 2}))
    assert kept(group, items) == {"a": {"GENRES": "Drama"}, "b": {"GENRES": "War", "PRICE": 2.0}}


def test_a_repeated_call_is_kept_once(group: Group) -> None:
    items = group.dataset("Items")
    put(group, items, ("a", {"genres": "War"}), invocation="same")
    put(group, items, ("a", {"genres": "Drama"}))
    put(group, items, ("a", {"genres": "War"}), invocation="same")
    assert kept(group, items) == {"a": {"GENRES": "Drama"}}


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        (None, r"items\.2\.properties lacks GENRES"),
        ({"price": 1}, r"items\.2\.properties lacks GENRES"),
        ({"genres": None}, r"items\.2\.properties\.genres is empty, but the schema does not allow null"),
        ({"genres": 3}, r"items\.2\.properties\.genres must be of type string"),
        ({"genres": "x" * 1001}, "Length cannot be more than 1000 characters for GENRES"),
        ({"genres": "War", "price": "dear"}, r"items\.2\.properties\.price must be of type float"),
    ],
)
def test_a_bad_record_refuses_the_whole_call(group: Group, properties: Any, message: str) -> None:
    items = group.dataset("Items")
    with pytest.raises(InvalidInput, match=message):
        put(group, items, ("a", {"genres": "War"}), ("b", properties))
    assert kept(group, items) == {}


def test_columns_that_may_be_null_need_not_be_sent(group: Group) -> None:
    users = group.dataset("Users")
    put(group, users, ("a", None), ("b", {}), ("c", {"age": None}), name="Users")
    assert kept(group, users) == {"a": {}, "b": {}, "c": {}}


@pytest.mark.parametrize("name", PUTS)
def test_the_dataset_must_be_there_be_of_the_kind_and_be_active(group: Group, name: str) -> None:
    other = group.dataset("Interactions")
    with pytest.raises(InvalidInput, match=f"of type INTERACTIONS; it must be {name.upper()}"):
        put(group, other, ("a", {}), name=name)
    with pytest.raises(ResourceNotFound, match="The given dataset does not exist"):
        put(group, f"{other}x", ("a", {}), name=name)
    dataset = group.dataset(name)
    group.store.replace(replace(group.record(dataset), status=CREATE_PENDING))
    with pytest.raises(ResourceInUse, match="in status CREATE PENDING"):
        put(group, dataset, ("a", {}), name=name)


def test_a_column_that_an_update_has_added_can_be_put_when_it_is_done(group: Group) -> None:
    users = group.dataset("Users")
    fields = [*FIELDS["Users"], {"name": "HOME_TOWN", "type": ["null", "string"]}]
    group.call("UpdateDataset", datasetArn=users, schemaArn=group.schema("Users", fields))
    with pytest.raises(ResourceInUse, match="in status UPDATE PENDING"):
        put(group, users, ("a", {"homeTown": "Ulm"}), name="Users")
    group.settle()
    put(group, users, ("a", {"homeTown": "Ulm"}), name="Users")
    assert kept(group, users) == {"a": {"HOME_TOWN": "Ulm"}}


# Events


def tracked(group: Group) -> tuple[str, str]:
    """The Interactions dataset, and a tracking id that leads to it."""
    tracker = group.call("CreateEventTracker", name="t", datasetGroupArn=group.arn)
    group.settle()
    return group.dataset("Interactions"), str(tracker["trackingId"])


def test_what_was_shown_and_who_takes_the_credit_is_kept_with_an_event(group: Group) -> None:
    dataset, tracking_id = tracked(group)
    event = {
        "eventType": "click",
        "sentAt": 5.5,
        "itemId": "b",
        "recommendationId": "RID-1",
        "impression": ["a", "b"],
        "metricAttribution": {"eventAttributionSource": "mail"},
        "properties": json.dumps({"deviceKind": "tv", "eventValue": "4", "EVENT_ATTRIBUTION_SOURCE": "another"}),
    }
    call(group, "PutEvents", trackingId=tracking_id, sessionId="s", eventList=[event])
    assert list(group.store.iter_interactions(dataset)) == [
        Interaction(
            user_id="s",
            session_id="s",
            item_id="b",
            event_type="click",
            event_value=4.0,
            sent_at=5.5,
            properties={
                "DEVICE_KIND": "tv",
                "RECOMMENDATION_ID": "RID-1",
                "IMPRESSION": "a|b",
                "EVENT_ATTRIBUTION_SOURCE": "mail",
            },
        )
    ]


def test_an_event_that_names_a_recommendation_tells_what_was_shown_there(group: Group) -> None:
    """Explicit impressions win; lists of other datasets, or that nobody knows any more, are none."""
    dataset, tracking_id = tracked(group)
    group.store.save_impression(dataset, "RID-1", "a|b|c")
    group.store.save_impression("another", "RID-2", "x")
    event = {"eventType": "click", "sentAt": 5, "itemId": "b"}
    of_lists: list[dict[str, Any]] = [
        {**event, "recommendationId": "RID-1"},
        {**event, "recommendationId": "RID-1", "impression": ["b", "d"]},
        {**event, "recommendationId": "RID-2"},
        event,
    ]
    call(group, "PutEvents", trackingId=tracking_id, sessionId="s", eventList=of_lists)
    kept = [one.properties.get("IMPRESSION") for one in group.store.iter_interactions(dataset)]
    assert kept == ["a|b|c", "b|d", None, None]


@pytest.mark.parametrize("key", ["userId", "SESSIONID", "eventType", "Timestamp", "recommendationId", "impression"])
@pytest.mark.parametrize("operation", ["PutEvents", "PutActionInteractions"])
def test_members_of_an_event_may_not_come_among_its_properties(group: Group, operation: str, key: str) -> None:
    properties = json.dumps({key: "x"})
    if operation == "PutEvents":
        _, tracking_id = tracked(group)
        request = {"sessionId": "s", "eventList": [{"eventType": "a", "sentAt": 1, "properties": properties}]}
    else:
        tracking_id = group.described(group.dataset("ActionInteractions"))["trackingId"]
        request = {"actionInteractions": [taken(properties=properties)]}
    with pytest.raises(InvalidInput, match=f"must not hold {key}: it is a member of the event itself"):
        call(group, operation, trackingId=tracking_id, **request)


@pytest.mark.parametrize("sent_at", [-1, float("nan"), float("inf"), 1_700_000_000_000_000])
def test_a_time_is_seconds_since_1970(group: Group, sent_at: float) -> None:
    _, tracking_id = tracked(group)
    with pytest.raises(InvalidInput, match=r"eventList\.1\.sentAt must be a time in seconds since 1970"):
        call(group, "PutEvents", trackingId=tracking_id, sessionId="s",
             eventList=[{"eventType": "a", "sentAt": sent_at}])  # fmt: skip


@pytest.mark.parametrize("sent_at", [0, 0.5, 1e9, 4e9])
def test_the_far_past_and_the_future_are_times_as_others(group: Group, sent_at: float) -> None:
    dataset, tracking_id = tracked(group)
    call(group, "PutEvents", trackingId=tracking_id, sessionId="s",
         eventList=[{"eventType": "a", "sentAt": sent_at}])  # fmt: skip
    assert [event.sent_at for event in group.store.iter_interactions(dataset)] == [sent_at]


@pytest.mark.parametrize(
    ("sent", "kept"), [(1_700_000_000_917, 1_700_000_000.917), (1e11, 1e11), (100_000_000_001, 100_000_000.001)]
)
@pytest.mark.parametrize("operation", ["PutEvents", "PutActionInteractions"])
def test_what_is_plainly_milliseconds_is_taken_as_such(group: Group, operation: str, sent: float, kept: float) -> None:
    if operation == "PutEvents":
        dataset, tracking_id = tracked(group)
        request: dict[str, Any] = {"sessionId": "s", "eventList": [{"eventType": "a", "sentAt": sent}]}
    else:
        dataset = group.dataset("ActionInteractions")
        tracking_id = group.described(dataset)["trackingId"]
        request = {"actionInteractions": [taken(timestamp=sent)]}
    call(group, operation, trackingId=tracking_id, **request)
    assert [event.sent_at for event in group.store.iter_interactions(dataset)] == [kept]


def test_events_that_name_no_item_are_kept_and_told_of_once_an_hour(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, tracking_id = tracked(group)
    now = [1000.0]
    monkeypatch.setattr(events_without_items.time, "monotonic", lambda: now[0])
    before = metrics.EVENTS_WITHOUT_ITEM._value.get()
    good = {"eventType": "a", "sentAt": 1, "properties": '{"itemId": "i"}'}
    bad = {"eventType": "a", "sentAt": 1, "properties": json.dumps({"ITEM_ID": "i", "k" * 100: 1})}
    with capture_logs() as lines:
        for events in ([good], [good, bad, bad], [bad]):
            call(group, "PutEvents", trackingId=tracking_id, sessionId="s", eventList=events)
        now[0] += 3600.0
        call(group, "PutEvents", trackingId=tracking_id, sessionId="s", eventList=[bad])
    assert len(list(group.store.iter_interactions(dataset))) == 6
    assert metrics.EVENTS_WITHOUT_ITEM._value.get() - before == 4
    told = [line for line in lines if line["event"] == "events without an item"]
    assert [(line["arn"], line["events"], line["log_level"]) for line in told] == [
        (tracker_of(group), 2, "warning"), (tracker_of(group), 1, "warning")
    ]  # fmt: skip
    assert told[0]["keys"] == ["eventType", "properties", "properties.ITEM_ID", "properties." + "k" * 53, "sentAt"]


def test_an_event_id_counts_once_in_a_call_and_after_it(group: Group) -> None:
    dataset, tracking_id = tracked(group)

    def put_events(*ids: str | None) -> None:
        events = [{"eventType": "a", "sentAt": 1, "itemId": f"i{place}"} for place in range(len(ids))]
        named = [{**event, **({"eventId": id_} if id_ else {})} for event, id_ in zip(events, ids, strict=True)]
        call(group, "PutEvents", trackingId=tracking_id, sessionId="s", eventList=named)

    put_events("1", "1", None, None, "2")
    put_events("2", "1", "3")
    assert [(event.event_id, event.item_id) for event in group.store.iter_interactions(dataset)] == [
        ("1", "i0"), (None, "i2"), (None, "i3"), ("2", "i4"), ("3", "i2")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"properties": '{"itemId": ""}'}, "itemId must be a string of 1 to 256 characters"),
        ({"properties": '{"itemId": 7}'}, "itemId must be a string"),
        ({"properties": json.dumps({"itemId": "x" * 257})}, "1 to 256 characters"),
        ({"properties": json.dumps({"itemId": "a\0b"})}, "without NUL"),
        ({"properties": '{"eventValue": true}'}, "eventValue must be of type float"),
        ({"eventValue": float("nan")}, "eventValue must be of type float"),
        ({"impression": ["日" * 256] * 25}, "eventList.2 takes more than 10240 bytes"),
    ],
)
def test_a_bad_event_refuses_the_whole_call(group: Group, broken: dict[str, Any], message: str) -> None:
    dataset, tracking_id = tracked(group)
    events = [{"eventType": "a", "sentAt": 1}, {"eventType": "a", "sentAt": 1, **broken}]
    with pytest.raises(InvalidInput, match=message):
        call(group, "PutEvents", trackingId=tracking_id, sessionId="s", eventList=events)
    assert list(group.store.iter_interactions(dataset)) == []


# Action interactions


def taken(**more: Any) -> dict[str, Any]:
    return {"actionId": "a", "sessionId": "s", "timestamp": 7.0, "eventType": "Taken", **more}


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("Viewed", "Viewed"), ("taken", "Taken"), ("Not Taken", "Not Taken"), ("NOT_TAKEN", "Not Taken")],
)
def test_an_action_interaction_is_kept_in_aws_spelling(group: Group, sent: str, kept: str) -> None:
    dataset = group.dataset("ActionInteractions")
    more = taken(eventType=sent, userId="u", eventId="1", impression=["a", "b"], properties='{"place": "home"}')
    tracking_id = group.described(dataset)["trackingId"]
    for _ in range(2):
        call(group, "PutActionInteractions", trackingId=tracking_id, actionInteractions=[more])
    event = Interaction(
        user_id="u",
        session_id="s",
        item_id="a",
        event_type=kept,
        event_value=None,
        sent_at=7.0,
        event_id="1",
        properties={"PLACE": "home", "IMPRESSION": "a|b"},
    )
    assert list(group.store.iter_interactions(dataset)) == list_recent(group.store, dataset, "u") == [event]


def test_another_type_of_action_event_refuses_the_whole_call(group: Group) -> None:
    dataset = group.dataset("ActionInteractions")
    tracking_id = group.described(dataset)["trackingId"]
    with pytest.raises(InvalidInput, match=r"actionInteractions\.2\.eventType is Shown; it must be one of Viewed"):
        call(group, "PutActionInteractions", trackingId=tracking_id,
             actionInteractions=[taken(), taken(eventType="Shown")])  # fmt: skip
    assert list(group.store.iter_interactions(dataset)) == []


def test_a_tracking_id_leads_to_what_it_was_given_for(group: Group) -> None:
    _, of_events = tracked(group)
    of_actions = group.described(group.dataset("ActionInteractions"))["trackingId"]
    event = {"sessionId": "s", "eventList": [{"eventType": "a", "sentAt": 1}]}
    for operation, tracking_id, request in (
        ("PutEvents", of_actions, event),
        ("PutEvents", "none", event),
        ("PutActionInteractions", of_events, {"actionInteractions": [taken()]}),
        ("PutActionInteractions", "none", {"actionInteractions": [taken()]}),
    ):
        with pytest.raises(PersonalizeError) as refused:
            call(group, operation, trackingId=tracking_id, **request)
        assert isinstance(refused.value, ResourceNotFound)


EVENT = {"eventType": "click", "sentAt": 5.5, "itemId": "b"}


def test_a_way_that_was_found_before_is_looked_at_again(group: Group) -> None:
    dataset, tracking_id = tracked(group)
    sent = {"trackingId": tracking_id, "sessionId": "s", "userId": "u"}
    call(group, "PutEvents", **sent, eventList=[EVENT])
    call(group, "PutEvents", **sent, eventList=[EVENT])
    assert len(list(group.store.iter_interactions(dataset))) == 2
    standing = group.store.get(dataset)
    assert standing is not None
    group.store.replace(replace(standing, status=DELETE_PENDING))
    with pytest.raises(InvalidInput, match="has no usable Interactions dataset"):
        call(group, "PutEvents", **sent, eventList=[EVENT])
    moved = group.store.get(dataset)
    assert moved is not None
    group.store.replace(replace(moved, status=ACTIVE))
    call(group, "PutEvents", **sent, eventList=[EVENT])
    group.call("DeleteEventTracker", eventTrackerArn=tracker_of(group))
    with pytest.raises(ResourceNotFound, match="No usable event tracker"):
        call(group, "PutEvents", **sent, eventList=[EVENT])


def tracker_of(group: Group) -> str:
    [tracker] = group.context.reading.iter_children("event_tracker", group.arn)
    return tracker.arn
