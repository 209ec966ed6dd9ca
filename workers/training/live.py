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


def frozen(interactions: Iterator[Interaction], target: Path) -> Path | None:
    """The events that name an item, as they were when this was first called for ``target``; None: there were none.

    An attempt that goes on from an earlier one's checkpoint must train on the same events.
    """
    if not target.exists():
        draft = target.with_suffix(".draft")
        _write(interactions, draft)
        draft.rename(target)
    return target if target.stat().st_size else None


def _write(interactions: Iterator[Interaction], target: Path) -> None:
    """An empty file stands for no events: Parquet without a row would be one too, and need a reader to tell."""
    lines = target.with_suffix(".jsonl")
    with lines.open("wb") as file:
        for one in interactions:
            if one.item_id is not None:
                file.write(orjson.dumps(_row(one)) + b"\n")
    if lines.stat().st_size:
        with duckdb.connect() as database:
            database.read_json(str(lines), columns=COLUMNS, format="newline_delimited").write_parquet(str(target))
    else:
        target.touch()
    lines.unlink()


def _row(one: Interaction) -> dict[str, object]:
    return {
        "USER_ID": one.user_id,
        "ITEM_ID": one.item_id,
        "TIMESTAMP": int(one.sent_at),
        "EVENT_TYPE": one.event_type,
        "EVENT_VALUE": one.event_value,
    }
