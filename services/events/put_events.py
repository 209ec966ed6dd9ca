"""PutEvents: checked whole, then kept whole; the next GetRecommendations of that user sees them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson

from shared.aws.errors import InvalidInput, ResourceNotFound
from shared.aws.web import Call
from shared.data import schemas
from shared.lifecycle import ACTIVE
from shared.resources import Reading
from shared.resources.dataset.requests import arn_of
from shared.resources.event_tracker import tracking_claim
from shared.store import Interaction, Store

#: Columns that are members of the event itself: they may not come in its properties as well.
RESERVED = frozenset({"userid", "sessionid", "eventtype", "timestamp", "recommendationid", "impression"})

#: One event may take so many bytes (AWS's quota).
EVENT_BYTES = 10 * 1024


def put_events(store: Store, reading: Reading, call: Call) -> None:
    request = call.request
    dataset_arn, schema = _dataset(store, reading, request["trackingId"])
    interactions = [
        _interaction(request, event, schema, f"eventList.{place}")
        for place, event in enumerate(request["eventList"], start=1)
    ]
    store.append(dataset_arn, interactions, invocation=f"PutEvents/{call.invocation}")


def _dataset(store: Store, reading: Reading, tracking_id: str) -> tuple[str, schemas.DatasetSchema]:
    """The interactions dataset behind a tracking id, with its schema. Raises ResourceNotFound, InvalidInput."""
    arn = store.holder(tracking_claim(tracking_id))
    tracker = store.get(arn) if arn else None
    if tracker is None or tracker.status != ACTIVE:
        raise ResourceNotFound(f"No usable event tracker has the tracking id {tracking_id}.")
    dataset_arn = arn_of(tracker.body["datasetGroupArn"], "INTERACTIONS", reading)
    dataset = store.get(dataset_arn)
    if dataset is None or dataset.status != ACTIVE:
        raise InvalidInput(
            f"The dataset group {tracker.body['datasetGroupArn']} has no usable Interactions dataset: create one first."
        )
    schema = reading.find(dataset.body["schemaArn"], "schema")
    return dataset_arn, _parsed(schema.body["schema"])


@lru_cache(maxsize=64)
def _parsed(text: str) -> schemas.DatasetSchema:
    return schemas.parse(text)


def _interaction(
    request: Mapping[str, Any], event: Mapping[str, Any], schema: schemas.DatasetSchema, where: str
) -> Interaction:
    properties = _properties(event.get("properties"), where)
    for key in properties:
        if key.lower() in RESERVED:
            raise InvalidInput(f"{where}.properties must not hold {key}: it is a member of the event itself.")
    item_id = event.get("itemId", properties.pop("itemId", None))
    value = event.get("eventValue", properties.pop("eventValue", None))
    if item_id is not None and not (isinstance(item_id, str) and 0 < len(item_id) <= 256):
        raise InvalidInput(f"{where}: itemId must be a string of 1 to 256 characters.")
    if value is not None and not _is_number(value):
        raise InvalidInput(f"{where}: eventValue must be a finite number.")
    if not math.isfinite(event["sentAt"]) or event["sentAt"] < 0:
        raise InvalidInput(f"{where}.sentAt must be a time in seconds since 1970.")
    interaction = Interaction(
        # Until a user is known, the session stands for them.
        user_id=request.get("userId") or request["sessionId"],
        session_id=request["sessionId"],
        item_id=item_id,
        event_type=event["eventType"],
        event_value=None if value is None else float(value),
        sent_at=float(event["sentAt"]),
        event_id=event.get("eventId"),
        properties=_columns(properties, schema, where),
    )
    if len(orjson.dumps(interaction)) > EVENT_BYTES:
        raise InvalidInput(f"{where} takes more than {EVENT_BYTES} bytes.")
    return interaction


def _properties(text: str | None, where: str) -> dict[str, Any]:
    if text is None or not text.strip():
        return {}
    try:
        properties = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"Error parsing properties json: {where}.properties: {error}") from error
    if not isinstance(properties, dict):
        raise InvalidInput(f"Error parsing properties json: {where}.properties must be a JSON object.")
    return properties


def _columns(properties: Mapping[str, Any], schema: schemas.DatasetSchema, where: str) -> dict[str, Any]:
    """The properties under their columns' names; keys that the schema does not know are ignored."""
    by_key = {_camel(field.name): field for field in schema.fields}
    columns: dict[str, Any] = {}
    for key, value in properties.items():
        field = by_key.get(key)
        if field is None:
            continue
        if not _fits(value, field):
            raise InvalidInput(f"{where}.properties.{key} must be of type {field.type}, as the schema says.")
        columns[field.name] = value
    return columns


def _camel(column: str) -> str:
    """NUM_RATINGS is sent as numRatings."""
    first, *others = column.lower().split("_")
    return first + "".join(word.capitalize() for word in others)


def _fits(value: Any, field: schemas.Field) -> bool:
    if value is None:
        return field.nullable
    match field.type:
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "int" | "long":
            bits = 31 if field.type == "int" else 63
            return isinstance(value, int) and not isinstance(value, bool) and -(2**bits) <= value < 2**bits
    return _is_number(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
