"""Records, notes, interactions and put records as JSON and back: how the Redis store writes them down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import orjson

from shared.lifecycle import SETTLED
from shared.messages import BY_WIRE
from shared.store import Interaction, Note, PutRecord, Record, Update

#: Fields of a record that are hash fields of their own, because scripts change them without reading the rest.
COUNTERS = ("version", "attempt", "failures", "moving")


def moving(record: Record) -> str:
    """The status in motion, or "" when the record has settled."""
    for status in (record.update.status if record.update else None, record.status):
        if status is not None and status not in SETTLED:
            return status
    return ""


def write_record(record: Record) -> str:
    document = asdict(record)
    for counter in COUNTERS:
        del document[counter]
    return orjson.dumps(document).decode()


def read_record(fields: Mapping[str, str]) -> Record:
    document = orjson.loads(fields["document"])
    update = document.pop("update")
    return Record(
        **{
            **document,
            "parents": tuple(document["parents"]),
            "claims": tuple(document["claims"]),
        },
        update=Update(**update) if update else None,
        version=int(fields["version"]),
        attempt=int(fields["attempt"]),
        failures=int(fields["failures"]),
        moving=fields["moving"] or None,
    )


def write_note(note: Note) -> str:
    return orjson.dumps({"wire": note.message.wire, "fields": note.message.fields(), "written": note.written}).decode()


def read_note(note_id: str, text: str) -> Note:
    document: dict[str, Any] = orjson.loads(text)
    return Note(
        id=note_id,
        message=BY_WIRE[document["wire"]](**document["fields"]),
        written=document["written"],
    )


def write_interaction(interaction: Interaction) -> str:
    return orjson.dumps(interaction).decode()


def read_interaction(text: str | bytes) -> Interaction:
    return Interaction(**orjson.loads(text))


def write_put_record(record: PutRecord) -> str:
    return orjson.dumps(record).decode()


def read_put_record(text: str | bytes) -> PutRecord:
    return PutRecord(**orjson.loads(text))
