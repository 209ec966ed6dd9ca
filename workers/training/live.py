"""Live events as a Parquet file with the columns of imported interactions, so that training reads both alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import orjson

from shared.store import Interaction

COLUMNS = {
    "USER_ID": "VARCHAR",
    "ITEM_ID": "VARCHAR",
    "TIMESTAMP": "BIGINT",
    "EVENT_TYPE": "VARCHAR",
    "EVENT_VALUE": "DOUBLE",
}


def write_live(interactions: Iterator[Interaction], target: Path) -> Path | None:
    """Write the events that name an item; returns ``target``, or None when there are none."""
    lines = target.with_suffix(".jsonl")
    written = 0
    with lines.open("wb") as file:
        for one in interactions:
            if one.item_id is not None:
                file.write(orjson.dumps(_row(one)) + b"\n")
                written += 1
    if written:
        with duckdb.connect() as database:
            database.read_json(str(lines), columns=COLUMNS, format="newline_delimited").write_parquet(str(target))
    lines.unlink()
    return target if written else None


def _row(one: Interaction) -> dict[str, object]:
    return {
        "USER_ID": one.user_id,
        "ITEM_ID": one.item_id,
        "TIMESTAMP": int(one.sent_at),
        "EVENT_TYPE": one.event_type,
        "EVENT_VALUE": one.event_value,
    }
