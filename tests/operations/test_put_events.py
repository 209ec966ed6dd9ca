from __future__ import annotations

import itertools
import json
import time
import uuid
from typing import Any

import pytest

from tests.conftest import System
from tests.operations.conftest import Life, Maker, refused


@pytest.fixture(scope="session")
def events(system: System) -> Any:
    return system.events


def event(item: str | None = "i3", **more: Any) -> dict[str, Any]:
    named = {"itemId": item} if item else {}
    return {"eventType": "watch", "sentAt": time.time(), **named, **more}


def top(system: System, life: Life, user: str, count: int = 5) -> list[str]:
    answer = system.runtime.get_recommendations(campaignArn=life.campaign, userId=user, numResults=count)
    return [item["itemId"] for item in answer["itemList"]]


def test_the_next_recommendation_reflects_it(events: Any, system: System, life: Life) -> None:
    """Everybody goes round the items in one order, so what comes next is known."""
    user = str(uuid.uuid4())
    before = top(system, life, user)
    for item in ("i5", "i6", "i7"):
        events.put_events(trackingId=life.tracking_id, userId=user, sessionId="s", eventList=[event(item)])
    after = top(system, life, user)
    assert after != before
    assert after[0] == "i8"


def test_without_a_user_the_session_stands_for_one(events: Any, system: System, life: Life) -> None:
    session = str(uuid.uuid4())
    popular = top(system, life, session)
    answer = events.put_events(
        trackingId=life.tracking_id, sessionId=session, eventList=[event(item) for item in ("i10", "i11")]
    )
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert top(system, life, session) != popular


def test_an_event_id_counts_once(events: Any, system: System, life: Life) -> None:
    user = str(uuid.uuid4())
    once = event("i2", eventId="click-1-" + user)
    events.put_events(trackingId=life.tracking_id, userId=user, sessionId="s", eventList=[once])
    first = top(system, life, user)
    events.put_events(trackingId=life.tracking_id, userId=user, sessionId="s", eventList=[{**once, "itemId": "i15"}])
    assert top(system, life, user) == first


def test_properties_travel_in_camel_case_and_may_hold_item_and_value(events: Any, system: System, life: Life) -> None:
    user = str(uuid.uuid4())
    before = top(system, life, user)
    properties = json.dumps({"deviceKind": "tv", "itemId": "i1", "eventValue": 4, "unknown": [1]})
    events.put_events(
        trackingId=life.tracking_id, userId=user, sessionId="s", eventList=[event(None, properties=properties)]
    )
    assert top(system, life, user) != before


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"properties": "{"}, "Error parsing properties json"),
        ({"properties": "[]"}, "must be a JSON object"),
        ({"properties": json.dumps({"userId": "x"})}, "must not hold userId"),
        ({"properties": json.dumps({"deviceKind": 3})}, "deviceKind must be of type string"),
        ({"properties": json.dumps({"eventValue": "high"})}, "eventValue"),
        ({"sentAt": -5}, "sentAt"),
    ],
)
def test_a_bad_event_refuses_the_whole_call(
    events: Any, system: System, life: Life, broken: dict[str, Any], message: str
) -> None:
    user = str(uuid.uuid4())
    before = top(system, life, user)
    with refused("InvalidInputException", f"(?s)eventList.2.*{message}|{message}"):
        events.put_events(
            trackingId=life.tracking_id, userId=user, sessionId="s", eventList=[event("i4"), event(**broken)]
        )
    assert top(system, life, user) == before


def test_events_of_the_far_past_and_of_the_future_are_answered_with(events: Any, system: System, life: Life) -> None:
    user = str(uuid.uuid4())
    before = top(system, life, user)
    sent = [event(item, sentAt=at) for item, at in (("i5", time.time() + 75 * 365 * 86400), ("i4", 0.0), ("i3", 1e9))]
    events.put_events(trackingId=life.tracking_id, userId=user, sessionId="s", eventList=sent)
    assert len(top(system, life, user)) == len(before)
    assert top(system, life, user) != before


def test_an_empty_user_is_refused(system: System, life: Life) -> None:
    unchecked = system.client("personalize-events", parameter_validation=False)
    with refused("ValidationException", "userId"):
        unchecked.put_events(trackingId=life.tracking_id, userId="", sessionId="s", eventList=[event()])


def test_eleven_events_are_too_many(events: Any, life: Life) -> None:
    with refused("ValidationException", "length less than or equal to 10"):
        events.put_events(trackingId=life.tracking_id, userId="u", sessionId="s", eventList=[event()] * 11)


def test_over_long_properties_are_refused(events: Any, life: Life) -> None:
    with refused("ValidationException", "1024"):
        events.put_events(
            trackingId=life.tracking_id,
            userId="u",
            sessionId="s",
            eventList=[event(properties=json.dumps({"deviceKind": "x" * 1100}))],
        )


def test_an_unknown_tracker_is_not_found_as_404(events: Any) -> None:
    with refused("ResourceNotFoundException", "tracking id"):
        events.put_events(trackingId="no-such", userId="u", sessionId="s", eventList=[event()])


def test_a_group_without_interactions_dataset_is_refused(events: Any, make: Maker) -> None:
    _, tracking_id = make.tracker(make.group())
    with refused("InvalidInputException", "no usable Interactions dataset"):
        events.put_events(trackingId=tracking_id, userId="u", sessionId="s", eventList=[event()])


def test_events_are_trained_on(events: Any, personalize: Any, make: Maker, life: Life) -> None:
    """A group that never had an import learns from its live events alone."""
    group = make.group()
    make.dataset(group)
    _, tracking_id = make.tracker(group)
    for user, start in itertools.product(range(30), range(0, 40, 10)):
        seen = [(f"i{(user + step) % 12}", 1.6e9 + step * 60) for step in range(start, start + 10)]
        events.put_events(
            trackingId=tracking_id,
            userId=f"u{user}",
            sessionId="s",
            eventList=[event(item, sentAt=at) for item, at in seen],
        )
    version = personalize.create_solution_version(solutionArn=make.solution(group))["solutionVersionArn"]
    assert make.settled("solution_version", "solutionVersion", version, 120)["status"] == "ACTIVE"
