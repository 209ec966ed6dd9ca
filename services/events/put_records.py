"""PutItems, PutUsers and PutActions: a record replaces the whole previous record of its id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.events import targets
from services.events.properties import convert_properties, parse_properties
from shared.aws.errors import InvalidInput
from shared.data.schemas import DatasetSchema
from shared.http.app import Call
from shared.resources import ResourceReader
from shared.store import PutRecord, Store


@dataclass(frozen=True)
class PutOperation:
    """The dataset type of an operation, and the names of its members in the request."""

    dataset_type: str
    members: str
    id: str


#: By operation name.
PUT_OPERATIONS: Mapping[str, PutOperation] = {
    "PutItems": PutOperation("ITEMS", "items", "itemId"),
    "PutUsers": PutOperation("USERS", "users", "userId"),
    "PutActions": PutOperation("ACTIONS", "actions", "actionId"),
}


def put_records(store: Store, reading: ResourceReader, call: Call) -> None:
    kind = PUT_OPERATIONS[call.operation]
    target = targets.find_dataset_target(kind.dataset_type, call.request["datasetArn"], reading)
    now = store.now()
    records = [
        PutRecord(id=sent[kind.id], properties=_parse_record(sent, target.schema, f"{kind.members}.{place}"), at=now)
        for place, sent in enumerate(call.request[kind.members], start=1)
    ]
    store.save_put_records(target.arn, records, invocation=f"{call.operation}/{call.invocation}")


def _parse_record(sent: Mapping[str, Any], schema: DatasetSchema, where: str) -> dict[str, Any]:
    described = [field for field in schema.fields if field.name != schema.key]
    properties = convert_properties(parse_properties(sent.get("properties"), where), described, where)
    if missing := [field.name for field in described if not field.nullable and field.name not in properties]:
        raise InvalidInput(f"{where}.properties lacks {', '.join(missing)}, which the schema does not let be null.")
    return properties
