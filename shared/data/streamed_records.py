"""Write the events and records that clients sent as Parquet files with the columns of imported ones."""

# ruff: noqa: S608 -- names come from a checked schema, and files are quoted

from __future__ import annotations

import glob
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import orjson

from shared.data.csv import csv_rules
from shared.data.csv.csv_sql import quote_identifier, quote_literal
from shared.data.schemas import DatasetSchema, Field
from shared.store import Interaction, PutRecord

#: Columns that are members of an event itself, even where the schema lacks them.
EVENT_MEMBERS: Sequence[Field] = (
    Field(name="USER_ID", type="string"),
    Field(name="TIMESTAMP", type="long"),
    Field(name="EVENT_TYPE", type="string"),
    Field(name="EVENT_VALUE", type="float", nullable=True),
    Field(name="IMPRESSION", type="string", nullable=True),
)


def ignore_step() -> None:
    """Do nothing: the ``on_step`` of work that cannot be cancelled."""


def write_events(
    interactions: Iterable[Interaction],
    schema: DatasetSchema,
    target: Path,
    on_step: Callable[[], None] = ignore_step,
) -> Path | None:
    """Write the events that name an item (or action) to ``target`` and return it; return None when there are none.

    An existing ``target`` stays as it is: an attempt that resumes from an earlier one's checkpoint must train on the
    same events. An event without a user belongs to the user that any event of its session named last; where no event
    named one, the session's id serves as the user's. ``schema`` is the dataset's: the file gets its columns from the
    properties of an event. ``on_step`` is called at each event; an exception of it ends the writing.
    """
    if not target.exists():
        id_ = "ACTION_ID" if schema.dataset_type == "ACTION_INTERACTIONS" else "ITEM_ID"
        columns = {field.name: field for field in (*EVENT_MEMBERS, *schema.fields)}
        draft, lines = target.with_suffix(".draft"), target.with_suffix(".jsonl")
        written = _write_lines(_iter_event_rows(interactions, id_, columns), lines, on_step)
        if not (written and _write_event_parquet(lines, columns.values(), id_, draft)):
            # An empty file tells that there are no events; Parquet without rows would have to be read to tell.
            draft.write_bytes(b"")
        lines.unlink()
        draft.rename(target)
    return target if target.stat().st_size else None


def _iter_event_rows(
    interactions: Iterable[Interaction], id_: str, columns: Mapping[str, Field]
) -> Iterator[dict[str, Any]]:
    for number, one in enumerate(interactions):
        yield {
            **{column: found for column, found in one.properties.items() if column in columns},
            _POSITION.strip('"'): number,
            _SESSION.strip('"'): one.session_id,
            # An event that named no user carries its session's id as the user's.
            "USER_ID": None if one.user_id == one.session_id else one.user_id,
            id_: one.item_id,
            "TIMESTAMP": int(one.sent_at),
            "EVENT_TYPE": one.event_type,
            "EVENT_VALUE": one.event_value,
        }


def _write_event_parquet(lines: Path, fields: Collection[Field], id_: str, target: Path) -> bool:
    """Write the events that name an item to ``target``; return whether there are any."""
    source = _read_lines_sql(lines, fields)
    user = quote_identifier("USER_ID")
    with duckdb.connect(config={"temp_directory": str(target.with_suffix(".spilt"))}) as database:
        database.execute(
            f"""CREATE TABLE tied AS
                SELECT {_SESSION} AS session, arg_max({user}, {_POSITION}) AS named FROM {source}
                GROUP BY ALL HAVING count({user}) BETWEEN 1 AND count(*) - 1"""
        )
        tied = bool(database.execute("SELECT 1 FROM tied LIMIT 1").fetchall())
        named, join, order = (
            ("named, ", f"LEFT JOIN tied ON {_SESSION} = session", f"ORDER BY {_POSITION}") if tied else ("", "", "")
        )
        values = _select_values_sql(fields, {"USER_ID": f"coalesce({user}, {named}{_SESSION})"})
        copied = database.execute(
            f"COPY (SELECT {values} FROM {source} {join} WHERE {quote_identifier(id_)} IS NOT NULL {order}) "
            f"TO {quote_literal(str(target))} (FORMAT parquet)"
        ).fetchall()
    return copied != [(0,)]


def write_records(
    sent: Iterable[PutRecord],
    schema: DatasetSchema,
    folder: Path,
    imported: Sequence[float] = (),
    on_step: Callable[[], None] = ignore_step,
) -> list[Path | None]:
    """Write the records that were sent between imports to files in ``folder``; an existing folder stays as it is.

    ``imported`` holds the time of each import's request (epoch seconds), in the order in which their rows count. The
    n-th file holds the records sent before the n-th import, the last file those sent after all imports; None stands
    for a file without records. Read in this order, each file before its import, the newest row of an id comes last.
    ``on_step`` is called as in ``write_events``.
    """
    if not folder.exists():
        draft = folder.with_suffix(".draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        lines = draft / "lines"
        if _write_lines(_iter_record_rows(sent, str(schema.key), imported), lines, on_step):
            for place in _list_import_numbers(lines):
                _write_parquet(lines, schema.fields, draft / f"{place}.parquet", f"WHERE {_POSITION} = {place}")
        lines.unlink()
        draft.rename(folder)
    files = [folder / f"{place}.parquet" for place in range(len(imported) + 1)]
    return [file if file.exists() else None for file in files]


#: No column of a dataset can have these names, as they contain a space.
_POSITION, _SESSION = '"its position"', '"its session"'


def _iter_record_rows(sent: Iterable[PutRecord], key: str, imported: Sequence[float]) -> Iterator[dict[str, Any]]:
    for one in sent:
        later = (place for place, at in enumerate(imported) if at > one.at)
        yield {**one.properties, key: one.id, _POSITION.strip('"'): next(later, len(imported))}


def _list_import_numbers(lines: Path) -> list[int]:
    with duckdb.connect() as database:
        found = database.execute(f"SELECT DISTINCT {_POSITION} FROM {_read_lines_sql(lines, ())}").fetchall()
    return [place for (place,) in found]


def _write_lines(rows: Iterable[Mapping[str, Any]], lines: Path, on_step: Callable[[], None]) -> bool:
    """Write one JSON object a line; return whether there are any."""
    with lines.open("wb") as file:
        for row in rows:
            on_step()
            file.write(orjson.dumps(row) + b"\n")
    return lines.stat().st_size > 0


def _write_parquet(lines: Path, fields: Iterable[Field], target: Path, condition: str) -> None:
    fields = tuple(fields)
    with duckdb.connect() as database:
        database.execute(
            f"COPY (SELECT {_select_values_sql(fields)} FROM {_read_lines_sql(lines, fields)} {condition}) "
            f"TO {quote_literal(str(target))} (FORMAT parquet)"
        )


def _select_values_sql(fields: Iterable[Field], instead: Mapping[str, str] | None = None) -> str:
    """Return SQL for the fields' columns; ``instead`` holds the expressions of some columns by name."""
    expressions = {
        field.name: csv_rules.trim_text_sql(field) if field.textual else quote_identifier(field.name)
        for field in fields
    }
    return ", ".join(
        f"{value} AS {quote_identifier(column)}" for column, value in {**expressions, **(instead or {})}.items()
    )


def _read_lines_sql(lines: Path, fields: Iterable[Field]) -> str:
    types = {field.name: csv_rules.PARQUET_TYPES[field.type] for field in fields}
    types |= {_POSITION.strip('"'): "BIGINT", _SESSION.strip('"'): "VARCHAR"}
    columns = ", ".join(f"{quote_literal(column)}: {quote_literal(type_)}" for column, type_ in types.items())
    return f"read_json({quote_literal(glob.escape(str(lines)))}, format = 'newline_delimited', columns = {{{columns}}})"
