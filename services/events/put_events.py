"""PutEvents and PutActionInteractions: check all events, then store all; the user's next request takes them into
account."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from services.events import attribution, events_without_items, targets
from services.events.properties import convert_properties, convert_value, parse_properties
from shared.aws.errors import InvalidInput
from shared.data.csv.csv_rules import MAX_ID_CHARACTERS
from shared.data.schemas import LATEST_TIMESTAMP, DatasetSchema, Field, normalize_name
from shared.http.app import Call
from shared.resources import ResourceReader
from shared.store import Interaction, Store

#: Members of the event itself, which its properties must not repeat.
RESERVED = frozenset({"userid", "sessionid", "eventtype", "timestamp", "recommendationid", "impression"})

#: Columns that are stored as members of an ``Interaction``, not as properties.
MEMBERS = frozenset(
    {"USER_ID", "ITEM_ID", "ACTION_ID", "TIMESTAMP", "EVENT_TYPE", "EVENT_VALUE", "RECOMMENDATION_ID", "IMPRESSION"}
)

#: Maximum size of one event (AWS's quota).
EVENT_BYTES = 10 * 1024

#: The event types of action interactions, in AWS's spelling.
ACTION_EVENTS = ("Viewed", "Taken", "Not Taken")

_VALUE = Field(name="EVENT_VALUE", type="float", nullable=True)


def put_events(store: Store, reading: ResourceReader, call: Call) -> None:
    request = call.request
    target = targets.find_interactions_target(store, reading, request["trackingId"])
    interactions = [
        _build_interaction(request, event, target.schema, f"eventList.{place}")
        for place, event in enumerate(request["eventList"], start=1)
    ]
    shown = _with_impressions(interactions, store, target.arn)
    store.append_interactions(
        target.arn,
        shown,
        invocation=f"PutEvents/{call.invocation}",
        attributed=attribution.select_attributed(store, target.group, interactions),
    )
    sent = zip(interactions, request["eventList"], strict=True)
    events_without_items.report_events(target.tracker, [event for kept, event in sent if kept.item_id is None])


def put_action_interactions(store: Store, reading: ResourceReader, call: Call) -> None:
    target = targets.find_action_interactions_target(store, reading, call.request["trackingId"])
    interactions = [
        _build_action_interaction(sent, target.schema, f"actionInteractions.{place}")
        for place, sent in enumerate(call.request["actionInteractions"], start=1)
    ]
    store.append_interactions(target.arn, interactions, invocation=f"PutActionInteractions/{call.invocation}")


def _build_interaction(
    request: Mapping[str, Any], event: Mapping[str, Any], schema: DatasetSchema, where: str
) -> Interaction:
    properties = _parse_event_properties(event, where)
    # AWS accepts these two in the properties as well.
    item_id = event.get("itemId", properties.pop("itemId", None))
    if item_id is not None and not _is_id(item_id):
        raise InvalidInput(f"{where}: itemId must be a string of 1 to {MAX_ID_CHARACTERS} characters without NUL.")
    event_value = convert_value(
        event.get("eventValue", properties.pop("eventValue", None)), _VALUE, f"{where}: eventValue"
    )
    return _check_size(
        Interaction(
            # Until the user is known, the session id stands for the user id.
            user_id=request.get("userId") or request["sessionId"],
            session_id=request["sessionId"],
            item_id=item_id,
            event_type=event["eventType"],
            event_value=None if event_value is None else float(event_value),
            sent_at=_parse_time(event["sentAt"], f"{where}.sentAt"),
            event_id=event.get("eventId"),
            properties=convert_properties(properties, _list_property_fields(schema), where)
            | _build_context_columns(event),
        ),
        where,
    )


def _is_id(sent: Any) -> bool:
    return isinstance(sent, str) and 0 < len(sent) <= MAX_ID_CHARACTERS and "\0" not in sent


def _build_action_interaction(sent: Mapping[str, Any], schema: DatasetSchema, where: str) -> Interaction:
    event_type = _ACTION_EVENTS.get(_normalize_event_type(sent["eventType"]))
    if event_type is None:
        raise InvalidInput(f"{where}.eventType is {sent['eventType']}; it must be one of {', '.join(ACTION_EVENTS)}.")
    return _check_size(
        Interaction(
            user_id=sent.get("userId") or sent["sessionId"],
            session_id=sent["sessionId"],
            item_id=sent["actionId"],
            event_type=event_type,
            event_value=None,
            sent_at=_parse_time(sent["timestamp"], f"{where}.timestamp"),
            event_id=sent.get("eventId"),
            properties=convert_properties(_parse_event_properties(sent, where), _list_property_fields(schema), where)
            | _build_context_columns(sent),
        ),
        where,
    )


def _normalize_event_type(event_type: str) -> str:
    """Fold the spelling of an event type: AWS's own filters spell Not Taken as NOT_TAKEN."""
    return normalize_name(event_type.replace(" ", ""))


_ACTION_EVENTS = {_normalize_event_type(known): known for known in ACTION_EVENTS}


def _list_property_fields(schema: DatasetSchema) -> list[Field]:
    return [field for field in schema.fields if field.name not in MEMBERS]


def _parse_event_properties(event: Mapping[str, Any], where: str) -> dict[str, Any]:
    properties = parse_properties(event.get("properties"), where)
    for key in properties:
        if key.lower() in RESERVED:
            raise InvalidInput(f"{where}.properties must not hold {key}: it is a member of the event itself.")
    return properties


def _parse_time(seconds: float, where: str) -> float:
    """Return a time in epoch seconds. Numbers that would be seconds after the year 5138 are milliseconds."""
    if not math.isfinite(seconds) or seconds < 0:
        raise InvalidInput(f"{where} must be a time in seconds since 1970.")
    if seconds > LATEST_TIMESTAMP:
        seconds /= 1000
    if seconds > LATEST_TIMESTAMP:
        raise InvalidInput(f"{where} must be a time in seconds since 1970; it looks like microseconds.")
    return float(seconds)


def _build_context_columns(event: Mapping[str, Any]) -> dict[str, str]:
    """Return the recommendation, impression and attribution source of an event, as columns of an imported file."""
    attribution = event.get("metricAttribution") or {}
    given = {
        "RECOMMENDATION_ID": event.get("recommendationId"),
        "IMPRESSION": "|".join(event.get("impression") or ()),
        "EVENT_ATTRIBUTION_SOURCE": attribution.get("eventAttributionSource"),
    }
    return {column: text for column, text in given.items() if text}


def _with_impressions(interactions: Sequence[Interaction], store: Store, dataset: str) -> Sequence[Interaction]:
    """Add the recommended items as the impression of events that name a recommendation but no impression."""
    without = [one for one in interactions if "IMPRESSION" not in one.properties]
    named = {one.properties["RECOMMENDATION_ID"] for one in without if "RECOMMENDATION_ID" in one.properties}
    shown = store.get_impressions(dataset, sorted(named)) if named else {}
    if not shown:
        return interactions
    by_recommendation = {recommendation: {"IMPRESSION": impression} for recommendation, impression in shown.items()}
    return [
        replace(
            one, properties={**by_recommendation.get(one.properties.get("RECOMMENDATION_ID", ""), {}), **one.properties}
        )
        for one in interactions
    ]


def _check_size(interaction: Interaction, where: str) -> Interaction:
    """Return the interaction. Raises InvalidInput if it takes more than EVENT_BYTES."""
    if len(orjson.dumps(interaction)) > EVENT_BYTES:
        raise InvalidInput(f"{where} takes more than {EVENT_BYTES} bytes.")
    return interaction
