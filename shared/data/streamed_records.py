"""What clients have sent one by one, as Parquet files with the columns of imported ones: both are read alike."""

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

#: Columns that are members of an event itself, also where the schema has none.
EVENT_MEMBERS: Sequence[Field] = (
    Field(name="USER_ID", type="string"),
    Field(name="TIMESTAMP", type="long"),
    Field(name="EVENT_TYPE", type="string"),
    Field(name="EVENT_VALUE", type="float", nullable=True),
    Field(name="IMPRESSION", type="string", nullable=True),
)


def ignore_step() -> None:
    """Of steps that nobody stops."""


def write_events(
    interactions: Iterable[Interaction],
    schema: DatasetSchema,
    target: Path,
    on_step: Callable[[], None] = ignore_step,
) -> Path | None:
    """The events that name an item (or action), as they were when this was first called for ``target``.

    What came without a user is its session's user's: of whoever was last named with that session, in an event of any
    kind. Where nobody was, the session stands for a user. None: there were no events. ``schema`` is the dataset's: what
    an event's properties hold of its columns goes along. An attempt that goes on from an earlier one's checkpoint must
    train on the same events. ``on_step`` is called at each event; what it raises ends the writing.
    """
    if not target.exists():
        id_ = "ACTION_ID" if schema.dataset_type == "ACTION_INTERACTIONS" else "ITEM_ID"
        columns = {field.name: field for field in (*EVENT_MEMBERS, *schema.fields)}
        draft, lines = target.with_suffix(".draft"), target.with_suffix(".jsonl")
        written = _write_lines(_iter_event_rows(interactions, id_, columns), lines, on_step)
        if not (written and _write_event_parquet(lines, columns.values(), id_, draft)):
            # Parquet without a row would be one too, and need a reader to tell.
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
            _PLACE.strip('"'): number,
            _SESSION.strip('"'): one.session_id,
            # The session stands in the place of the user who was not named.
            "USER_ID": None if one.user_id == one.session_id else one.user_id,
            id_: one.item_id,
            "TIMESTAMP": int(one.sent_at),
            "EVENT_TYPE": one.event_type,
            "EVENT_VALUE": one.event_value,
        }


def _write_event_parquet(lines: Path, fields: Collection[Field], id_: str, target: Path) -> bool:
    """Whether there was one that names an item."""
    source = _read_lines_sql(lines, fields)
    user = quote_identifier("USER_ID")
    with duckdb.connect(config={"temp_directory": str(target.with_suffix(".spilt"))}) as database:
        database.execute(
            f"""CREATE TABLE tied AS
                SELECT {_SESSION} AS session, arg_max({user}, {_PLACE}) AS named FROM {source}
                GROUP BY ALL HAVING count({user}) BETWEEN 1 AND count(*) - 1"""
        )
        tied = bool(database.execute("SELECT 1 FROM tied LIMIT 1").fetchall())
        named, join, order = (
            ("named, ", f"LEFT JOIN tied ON {_SESSION} = session", f"ORDER BY {_PLACE}") if tied else ("", "", "")
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
        if _write_lines(_iter_record_rows(sent, str(schema.key), imported), lines, on_step):
            for place in _list_import_numbers(lines):
                _write_parquet(lines, schema.fields, draft / f"{place}.parquet", f"WHERE {_PLACE} = {place}")
        lines.unlink()
        draft.rename(folder)
    files = [folder / f"{place}.parquet" for place in range(len(imported) + 1)]
    return [file if file.exists() else None for file in files]


#: No column can have these names: they have a space.
_PLACE, _SESSION = '"its place"', '"its session"'


def _iter_record_rows(sent: Iterable[PutRecord], key: str, imported: Sequence[float]) -> Iterator[dict[str, Any]]:
    for one in sent:
        later = (place for place, at in enumerate(imported) if at > one.at)
        yield {**one.properties, key: one.id, _PLACE.strip('"'): next(later, len(imported))}


def _list_import_numbers(lines: Path) -> list[int]:
    with duckdb.connect() as database:
        found = database.execute(f"SELECT DISTINCT {_PLACE} FROM {_read_lines_sql(lines, ())}").fetchall()
    return [place for (place,) in found]


def _write_lines(rows: Iterable[Mapping[str, Any]], lines: Path, on_step: Callable[[], None]) -> bool:
    """One JSON object a line; whether there was any."""
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
    """SQL: the fields' columns; ``instead`` holds expressions by name."""
    expressions = {
        field.name: csv_rules.trim_text_sql(field) if field.textual else quote_identifier(field.name)
        for field in fields
    }
    return ", ".join(
        f"{value} AS {quote_identifier(column)}" for column, value in {**expressions, **(instead or {})}.items()
    )


def _read_lines_sql(lines: Path, fields: Iterable[Field]) -> str:
    types = {field.name: csv_rules.PARQUET_TYPES[field.type] for field in fields}
    types |= {_PLACE.strip('"'): "BIGINT", _SESSION.strip('"'): "VARCHAR"}
    columns = ", ".join(f"{quote_literal(column)}: {quote_literal(type_)}" for column, type_ in types.items())
    return f"read_json({quote_literal(glob.escape(str(lines)))}, format = 'newline_delimited', columns = {{{columns}}})"
