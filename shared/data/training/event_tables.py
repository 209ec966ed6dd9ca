"""Interactions from Parquet as numbered, sorted tables of a database. What becomes of them stands elsewhere.

Tables: ``users``, ``items`` and ``types`` (id, number), numbered in the order of the ids; ``context_0`` ... of each
categorical column (id, number), where an id is all that a cell holds; ``events`` (user, item, time, type, weight,
place, c0 ...), sorted by user, time and place: the place of the event in the files.
"""

# ruff: noqa: S608 -- names come from a checked schema, and all else is quoted or a parameter

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.data.arrays.histories import DataRefused
from shared.data.csv.csv_sql import quote_identifier, quote_literal
from shared.data.duckdb_session import ROW_POSITION_SQL, DuckDBSession, cast_to_finite_sql, read_parquet_sql
from shared.data.schemas import Field
from shared.data.training import featurize
from shared.data.training.featurize import EncodedColumn

MAX_KINDS = 10
EVENTS_PER_BLOCK = 2**18
#: Columns that the tables have by themselves, and what was shown: an imported event often does not say what the same
#: event said as it was sent, and remains the same.
_APART = frozenset({"USER_ID", "ITEM_ID", "TIMESTAMP", "EVENT_TYPE", "EVENT_VALUE", "IMPRESSION"})


@dataclass(frozen=True, kw_only=True)
class EventParameters:
    """Events that count, and how much: an entry of solutionConfig.eventsConfig, and what eventType asks for."""

    event_type: str | None = None
    """None: any."""
    value_threshold: float | None = None
    """None: events without a value count too."""
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class EventSelection:
    """Which interactions count, and what is read of them."""

    files: Sequence[Path]
    """With the columns USER_ID, ITEM_ID and TIMESTAMP, perhaps EVENT_TYPE, EVENT_VALUE and others."""
    item: str = "ITEM_ID"
    """The column in the place of ITEM_ID, here and in the catalogue: ACTION_ID of interactions with actions."""
    parameters: Sequence[EventParameters] = (EventParameters(),)
    """An event counts that meets any of them, and as much as the greatest weight of these."""
    contexts: Sequence[Field] = ()
    """Columns to read as c0 ...: categorical ones as numbers in ``context_...``, others as DOUBLE."""


def create_event_tables(
    database: DuckDBSession, selection: EventSelection, *, catalogue: Sequence[Path], metadata_columns: int
) -> None:
    """Makes the tables.

    An event that stands several times, alike in all columns but IMPRESSION, counts once: the first of them.
    Events without a user, an item or a time are left out. Types are the same whatever their case; a threshold keeps
    the values at or above it, and no event without a finite value. ``items`` holds the ids of the files ``catalogue``
    as well.

    Raises DataRefused where types and ``metadata_columns`` are more than AWS allows.
    """
    _create_id_tables(database, selection, catalogue)
    ((types,),) = database.fetch_rows("SELECT count(*) FROM types")
    if types + metadata_columns > MAX_KINDS:
        raise DataRefused(
            f"Create failed. The number of distinct event types ({types}) and of optional metadata columns "
            f"({metadata_columns}) in the Interactions dataset is more than {MAX_KINDS}. Choose an event type to "
            "train on, or exclude columns."
        )
    columns, joins = "", ""
    for place, field in enumerate(selection.contexts):
        if field.categorical:
            columns += f", coalesce(context_{place}.number, -1) AS c{place}"
            joins += f" LEFT JOIN context_{place} ON context_{place}.id = c{place}"
        else:
            columns += f", c{place}"
    contexts = "".join(f", any_value(c{place}) AS c{place}" for place in range(len(selection.contexts)))
    database.execute(
        f"""CREATE TABLE events AS
            SELECT user, item, time, type, any_value(weight) AS weight, min(place) AS place {contexts}
            FROM (SELECT users.number AS user, items.number AS item, time, value, others, weight, place,
                         coalesce(types.number, -1)::SMALLINT AS type {columns}
                  FROM ({_select_events_sql(database, selection)})
                  JOIN users ON users.id = user_id JOIN items ON items.id = item_id
                  LEFT JOIN types ON types.id = type_id {joins})
            GROUP BY user, item, time, type, value, others ORDER BY user, time, place"""
    )


def _create_id_tables(database: DuckDBSession, selection: EventSelection, catalogue: Sequence[Path]) -> None:
    selected = _select_events_sql(database, selection)
    of_catalogue = ""
    if catalogue:
        of_catalogue = f" UNION ALL SELECT {selection.item}::VARCHAR FROM {read_parquet_sql(catalogue)}"
    sources = {
        "users": f"SELECT user_id FROM ({selected})",
        "items": f"SELECT item_id FROM ({selected}){of_catalogue}",
        "types": f"SELECT type_id FROM ({selected})",
    } | {
        f"context_{place}": f"SELECT c{place} FROM ({selected})"
        for place, field in enumerate(selection.contexts)
        if field.categorical
    }
    for table, ids in sources.items():
        database.execute(
            f"""CREATE TABLE {table} AS
                SELECT id, (row_number() OVER (ORDER BY id) - 1)::INTEGER AS number
                FROM (SELECT DISTINCT id FROM ({ids}) AS found(id) WHERE id <> '')"""
        )


def _select_events_sql(database: DuckDBSession, selection: EventSelection) -> str:
    """SQL: the interactions that count, with repeats."""
    present = database.list_columns(selection.files)
    type_ = "nullif(lower(EVENT_TYPE), '')" if "EVENT_TYPE" in present else "NULL::VARCHAR"
    value = "TRY_CAST(EVENT_VALUE AS DOUBLE)" if "EVENT_VALUE" in present else "NULL::DOUBLE"
    # What else tells two events apart; a number is enough, and smaller.
    more = [quote_identifier(column) for column in sorted(present - _APART)]
    others = f"hash({', '.join(more)})" if more else "0"
    contexts = "".join(f", {_read_cell_sql(field)} AS c{place}" for place, field in enumerate(selection.contexts))
    heaviest_first = sorted(selection.parameters, key=lambda each: -each.weight)
    weights = " ".join(f"WHEN {_match_parameters_sql(each)} THEN {each.weight!r}::FLOAT" for each in heaviest_first)
    # The conditions stand outside: in there a name is the dataset's column first, whatever it is called.
    return f"""SELECT *, CASE {weights} END AS weight FROM (
                   SELECT USER_ID::VARCHAR AS user_id, {selection.item}::VARCHAR AS item_id,
                          TRY_CAST("TIMESTAMP" AS BIGINT) AS time, {type_} AS type_id, {value} AS value,
                          {others} AS others, {ROW_POSITION_SQL} AS place {contexts}
                   FROM {read_parquet_sql(selection.files)}
               ) WHERE user_id <> '' AND item_id <> '' AND time IS NOT NULL AND weight IS NOT NULL"""


def _match_parameters_sql(counting: EventParameters) -> str:
    conditions = ["true"]
    if counting.event_type is not None:
        conditions.append(f"type_id = lower({quote_literal(counting.event_type)})")
    if counting.value_threshold is not None:
        # To DuckDB NaN is above every number.
        conditions.append(f"isfinite(value) AND value >= {quote_literal(repr(counting.value_threshold))}::DOUBLE")
    return " AND ".join(conditions)


def _read_cell_sql(field: Field) -> str:
    return (
        quote_identifier(field.name)
        if field.categorical
        else f"coalesce({cast_to_finite_sql(field.name)}, 'nan'::DOUBLE)"
    )


def list_ids(database: DuckDBSession, table: str) -> list[str]:
    """The ids of a table, by number."""
    ids: list[str] = database.fetch_arrays(f"SELECT id FROM {table} ORDER BY number")["id"].tolist()
    return ids


def count_events(database: DuckDBSession) -> npt.NDArray[np.int64]:
    """int64[U]: events of each user."""
    counted = database.fetch_arrays("SELECT count(*) AS events FROM events GROUP BY user ORDER BY user")
    return counted["events"].astype(np.int64, copy=False)


def count_impressions(database: DuckDBSession, files: Sequence[Path]) -> npt.NDArray[np.int64]:
    """int64[I]: in how many events of ``events``, which are these files', an item was shown and another one taken.

    IMPRESSION holds ids with bars between them; those that are not in ``items`` are passed over.
    """
    ((count,),) = database.fetch_rows("SELECT count(*) FROM items")
    shown = f"""SELECT unnest(list_distinct(string_split(shown, '|'))) AS id, item
                FROM (SELECT IMPRESSION::VARCHAR AS shown, {ROW_POSITION_SQL} AS place FROM {read_parquet_sql(files)})
                JOIN events USING (place) WHERE shown <> ''"""
    found = database.fetch_arrays(
        f"""SELECT number, count(*) AS n FROM ({shown}) JOIN items USING (id)
            WHERE number <> item GROUP BY number"""
    )
    impressions = np.zeros(count, np.int64)
    impressions[found["number"]] = found["n"]
    return impressions


def iter_blocks(database: DuckDBSession, lengths: npt.NDArray[np.int64], columns: str) -> Iterator[dict[str, Any]]:
    """The events in their order, by about a quarter of a million: ``columns`` as arrays. Histories are not divided."""
    ends = np.cumsum(lengths)
    user = 0
    while user < len(ends):
        begin = ends[user - 1] if user else 0
        last = max(int(np.searchsorted(ends, begin + EVENTS_PER_BLOCK, side="right")), user + 1)
        yield database.fetch_arrays(
            f"SELECT {columns} FROM events WHERE user >= $user AND user < $last ORDER BY user, time, place",
            {"user": user, "last": last},
        )
        user = last


def encode_contexts(database: DuckDBSession, fields: Sequence[Field]) -> dict[str, EncodedColumn]:
    """The columns c0 ... of ``events``, by that name, as far as they hold something."""
    found: dict[str, EncodedColumn | None] = {}
    for place, field in enumerate(fields):
        column = f"c{place}"
        if field.categorical:
            ((bags,),) = database.fetch_rows(f"SELECT count(*) FROM context_{place}")
            rows = f"""SELECT number AS bag, id AS value, n FROM context_{place}
                       JOIN (SELECT {column}, count(*) AS n FROM events GROUP BY {column}) ON {column} = number"""
            found[column] = featurize.encode_categories(database, field, rows, bags)
        else:
            found[column] = featurize.encode_numbers(database, field, f"SELECT place, {column} AS value FROM events")
    return {column: each for column, each in found.items() if each is not None}
