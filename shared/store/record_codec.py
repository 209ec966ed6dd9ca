"""Records, outbox entries, interactions, live files and put records as JSON and back, for the Redis store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from dataclasses import fields as fields_of
from typing import Any

import orjson

from shared.state.lifecycle import TERMINAL
from shared.state.messages import BY_WIRE
from shared.store import Interaction, OutboxEntry, PutRecord, Record, UnreadableRecord, Update
from shared.store.attributions import AttributedEvent
from shared.store.live_files import LiveFile

#: Fields of a record that are separate hash fields, because scripts change them without reading the document.
#: ``in_progress`` is named ``moving`` in Redis.
COUNTERS = ("version", "attempt", "failures", "in_progress")


def get_status_in_progress(record: Record) -> str:
    """Return the status in progress, "" in a terminal status."""
    for status in (record.update.status if record.update else None, record.status):
        if status is not None and status not in TERMINAL:
            return status
    return ""


def write_record(record: Record) -> str:
    document = asdict(record)
    for counter in COUNTERS:
        del document[counter]
    if document["update"] is not None:
        document["update"] = _merge_unknown_members(document["update"])
    return orjson.dumps(_merge_unknown_members(document)).decode()


def read_record(arn: str, fields: Mapping[str, str]) -> Record:
    """Read a record; members that this release does not know are kept for ``write_record``. Raises UnreadableRecord."""
    try:
        document = orjson.loads(fields["document"])
        update = document.pop("update")
        return Record(
            **_split_unknown_members(Record, document)
            | {"parents": tuple(document["parents"]), "claims": tuple(document["claims"])},
            update=Update(**_split_unknown_members(Update, update)) if update else None,
            version=int(fields["version"]),
            attempt=int(fields["attempt"]),
            failures=int(fields["failures"]),
            in_progress=fields["moving"] or None,
        )
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise UnreadableRecord(arn) from error


def _merge_unknown_members(document: dict[str, Any]) -> dict[str, Any]:
    other = document.pop("other")
    return {**other, **document}


def _split_unknown_members(kind: type[Any], document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of ``kind``, and under ``other`` those that it does not have."""
    known = _select_known_members(kind, document)
    return {**known, "other": {name: value for name, value in document.items() if name not in known}}


def _select_known_members(kind: type[Any], document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name in _NAMES[kind]}


_NAMES: Mapping[type[Any], frozenset[str]] = {
    kind: frozenset(field.name for field in fields_of(kind)) - {"other", *COUNTERS}
    for kind in (Record, Update, Interaction, LiveFile, PutRecord, AttributedEvent)
}


def write_outbox_entry(entry: OutboxEntry) -> str:
    return orjson.dumps({"wire": entry.message.wire, "fields": entry.message.to_fields()}).decode()


def read_outbox_entry(entry_id: str, text: str) -> OutboxEntry:
    """Read an entry. Raises KeyError, TypeError or ValueError for a message that this release does not know."""
    document: dict[str, Any] = orjson.loads(text)
    return OutboxEntry(
        id=entry_id,
        message=BY_WIRE[document["wire"]].from_fields(document["fields"]),
    )


def write_interaction(interaction: Interaction) -> str:
    return orjson.dumps(interaction).decode()


def read_interaction(text: str | bytes) -> Interaction:
    return Interaction(**_select_known_members(Interaction, orjson.loads(text)))


def write_live_file(file: LiveFile) -> str:
    return orjson.dumps(file).decode()


def read_live_file(text: str | bytes) -> LiveFile:
    return LiveFile(**_select_known_members(LiveFile, orjson.loads(text)))


def write_put_record(record: PutRecord) -> str:
    return orjson.dumps(record).decode()


def read_put_record(text: str | bytes) -> PutRecord:
    return PutRecord(**_select_known_members(PutRecord, orjson.loads(text)))


def write_attributed_event(event: AttributedEvent) -> str:
    return orjson.dumps(event).decode()


def read_attributed_event(text: str | bytes) -> AttributedEvent:
    return AttributedEvent(**_select_known_members(AttributedEvent, orjson.loads(text)))
