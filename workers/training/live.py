"""Live events as a Parquet file with the columns of imported interactions, so that training reads both alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import orjson

from shared.data.schemas import Field
from shared.store import Interaction

#: Columns that are members of the event itself.
MEMBERS = {
    "USER_ID": "VARCHAR",
    "ITEM_ID": "VARCHAR",
    "TIMESTAMP": "BIGINT",
    "EVENT_TYPE": "VARCHAR",
    "EVENT_VALUE": "DOUBLE",
}
_TYPES = {
    "string": "VARCHAR",
    "int": "BIGINT",
    "long": "BIGINT",
    "float": "DOUBLE",
    "double": "DOUBLE",
    "boolean": "BOOLEAN",
}


def frozen(
    interactions: Iterator[Interaction],
    columns: Mapping[str, Field],
    target: Path,
    on_step: Callable[[], None] = lambda: None,
) -> Path | None:
    """The events that name an item, as they were when this was first called for ``target``; None: there were none.

    ``columns`` are those of the dataset: what an event's properties hold of them goes along.
    An attempt that goes on from an earlier one's checkpoint must train on the same events. ``on_step`` is called at
    each event; what it raises ends the writing.
    """
    if not target.exists():
        draft = target.with_suffix(".draft")
        _write(interactions, columns, draft, on_step)
        draft.rename(target)
    return target if target.stat().st_size else None


def _write(
    interactions: Iterator[Interaction], columns: Mapping[str, Field], target: Path, on_step: Callable[[], None]
) -> None:
    """An empty file stands for no events: Parquet without a row would be one too, and need a reader to tell."""
    own = {name: _TYPES[field.type] for name, field in columns.items() if name not in MEMBERS}
    lines = target.with_suffix(".jsonl")
    with lines.open("wb") as file:
        for one in interactions:
            on_step()
            if one.item_id is not None:
                file.write(orjson.dumps(_row(one, own)) + b"\n")
    if lines.stat().st_size:
        with duckdb.connect() as database:
            rows = database.read_json(str(lines), columns={**MEMBERS, **own}, format="newline_delimited")
            rows.write_parquet(str(target))
    else:
        target.touch()
    lines.unlink()


def _row(one: Interaction, own: Mapping[str, str]) -> dict[str, Any]:
    return {
        "USER_ID": one.user_id,
        "ITEM_ID": one.item_id,
        "TIMESTAMP": int(one.sent_at),
        "EVENT_TYPE": one.event_type,
        "EVENT_VALUE": one.event_value,
        **{column: one.properties.get(column) for column in own},
    }
