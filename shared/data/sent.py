"""What clients have sent one by one, as Parquet files with the columns of imported ones: both are read alike."""

# ruff: noqa: S608 -- names come from a checked schema, and files are quoted

from __future__ import annotations

import glob
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import orjson

from shared.data import cells
from shared.data.scanning import literal, name
from shared.data.schemas import DatasetSchema, Field
from shared.store import Interaction, PutRecord

#: Columns that are members of an event itself, also where the schema has none.
MEMBERS: Sequence[Field] = (
    Field(name="USER_ID", type="string"),
    Field(name="TIMESTAMP", type="long"),
    Field(name="EVENT_TYPE", type="string"),
    Field(name="EVENT_VALUE", type="float", nullable=True),
)


def nothing() -> None:
    """Of steps that nobody stops."""


def events(
    interactions: Iterable[Interaction],
    schema: DatasetSchema,
    target: Path,
    on_step: Callable[[], None] = nothing,
) -> Path | None:
    """The events that name an item (or action), as they were when this was first called for ``target``.

    None: there were none. ``schema`` is the dataset's: what an event's properties hold of its columns goes along.
    An attempt that goes on from an earlier one's checkpoint must train on the same events. ``on_step`` is called at
    each event; what it raises ends the writing.
    """
    if not target.exists():
        id_ = "ACTION_ID" if schema.dataset_type == "ACTION_INTERACTIONS" else "ITEM_ID"
        columns = {field.name: field for field in (*MEMBERS, *schema.fields)}
        draft, lines = target.with_suffix(".draft"), target.with_suffix(".jsonl")
        if _write_lines(_rows_of_events(interactions, id_, columns), lines, on_step):
            _write_parquet(lines, columns.values(), draft)
        else:
            # Parquet without a row would be one too, and need a reader to tell.
            draft.touch()
        lines.unlink()
        draft.rename(target)
    return target if target.stat().st_size else None


def _rows_of_events(
    interactions: Iterable[Interaction], id_: str, columns: Mapping[str, Field]
) -> Iterator[dict[str, Any] | None]:
    for one in interactions:
        if one.item_id is None:
            yield None
            continue
        yield {
            **{column: found for column, found in one.properties.items() if column in columns},
            "USER_ID": one.user_id,
            id_: one.item_id,
            "TIMESTAMP": int(one.sent_at),
            "EVENT_TYPE": one.event_type,
            "EVENT_VALUE": one.event_value,
        }


def records(
    sent: Iterable[PutRecord],
    schema: DatasetSchema,
    folder: Path,
    imported: Sequence[float] = (),
    on_step: Callable[[], None] = nothing,
) -> list[Path | None]:
    """The records between the imports, as they were when this was first called for ``folder``.

    ``imported`` is when each import was asked for (epoch seconds), in the order in which their rows count. The n-th
    file holds what was sent before the n-th import, the last one what was sent after all; None where nothing was.
    Read in this order, each before its import, the newest row of an id is its last. ``on_step`` as of ``events``.
    """
    if not folder.exists():
        draft = folder.with_suffix(".draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        lines = draft / "lines"
        if _write_lines(_rows_of_records(sent, str(schema.key), imported), lines, on_step):
            for place in _places(lines):
                _write_parquet(lines, schema.fields, draft / f"{place}.parquet", f"WHERE {_PLACE} = {place}")
        lines.unlink()
        draft.rename(folder)
    files = [folder / f"{place}.parquet" for place in range(len(imported) + 1)]
    return [file if file.exists() else None for file in files]


#: No column can have this name: it has a space.
_PLACE = '"its place"'


def _rows_of_records(sent: Iterable[PutRecord], key: str, imported: Sequence[float]) -> Iterator[dict[str, Any]]:
    for one in sent:
        later = (place for place, at in enumerate(imported) if at > one.at)
        yield {**one.properties, key: one.id, _PLACE.strip('"'): next(later, len(imported))}


def _places(lines: Path) -> list[int]:
    with duckdb.connect() as database:
        found = database.execute(f"SELECT DISTINCT {_PLACE} FROM {_read_lines(lines, ())}").fetchall()
    return [place for (place,) in found]


def _write_lines(rows: Iterable[Mapping[str, Any] | None], lines: Path, on_step: Callable[[], None]) -> bool:
    """One JSON object a line; whether there was any."""
    with lines.open("wb") as file:
        for row in rows:
            on_step()
            if row is not None:
                file.write(orjson.dumps(row) + b"\n")
    return lines.stat().st_size > 0


def _write_parquet(lines: Path, fields: Iterable[Field], target: Path, condition: str = "") -> None:
    fields = tuple(fields)
    values = ", ".join(
        f"{cells.cut(field)} AS {name(field.name)}" if field.textual else name(field.name) for field in fields
    )
    with duckdb.connect() as database:
        database.execute(
            f"COPY (SELECT {values} FROM {_read_lines(lines, fields)} {condition}) "
            f"TO {literal(str(target))} (FORMAT parquet)"
        )


def _read_lines(lines: Path, fields: Iterable[Field]) -> str:
    types = {field.name: cells.PARQUET_TYPES[field.type] for field in fields} | {_PLACE.strip('"'): "INTEGER"}
    columns = ", ".join(f"{literal(column)}: {literal(type_)}" for column, type_ in types.items())
    return f"read_json({literal(glob.escape(str(lines)))}, format = 'newline_delimited', columns = {{{columns}}})"
