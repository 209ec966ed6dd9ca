"""Read interactions from Parquet into numbered, sorted tables of a DuckDB database.

Tables: ``users``, ``items`` and ``types`` (id, number), numbered in the order of the ids; ``context_0`` ... of each
categorical column (id, number), where the id is the whole text of a cell; ``events`` (user, item, time, type, weight,
place, c0 ...), sorted by user, time and place, which is the position of the event in the files.
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
#: Columns that the tables hold on their own, and the impression: an imported event often lacks the impression that the
#: same event had when a client sent it, and is nevertheless the same event.
_NOT_HASHED = frozenset({"USER_ID", "ITEM_ID", "TIMESTAMP", "EVENT_TYPE", "EVENT_VALUE", "IMPRESSION"})


@dataclass(frozen=True, kw_only=True)
class EventParameters:
    """The events of a type that count, and their weight: an entry of solutionConfig.eventsConfig, or the eventType."""

    event_type: str | None = None
    """None: any."""
    value_threshold: float | None = None
    """None: events without a value count too."""
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class EventSelection:
    """The interactions to read: their files, columns, and the parameters by which they count."""

    files: Sequence[Path]
    """With the columns USER_ID, ITEM_ID and TIMESTAMP; EVENT_TYPE, EVENT_VALUE and further columns are optional."""
    item: str = "ITEM_ID"
    """The column of item ids, here and in the catalogue: ACTION_ID for interactions with actions."""
    parameters: Sequence[EventParameters] = (EventParameters(),)
    """An event counts if it meets any of them, with the greatest weight of those that it meets."""
    contexts: Sequence[Field] = ()
    """Columns to read as c0 ...: categorical ones as numbers in ``context_...``, others as DOUBLE."""


def create_event_tables(
    database: DuckDBSession, selection: EventSelection, *, catalogue: Sequence[Path], metadata_columns: int | None
) -> None:
    """Create the tables.

    Of events that are equal in all columns but IMPRESSION the first counts. Events without a user, an item or a time
    are left out. The case of event types does not count. A threshold keeps events with a finite value at or above it.
    ``items`` also holds the ids of the files ``catalogue``.

    Raises DataRefused where types and ``metadata_columns`` are more than AWS allows for a training; None: no training.
    """
    _create_id_tables(database, selection, catalogue)
    if metadata_columns is not None:
        _check_kinds(database, metadata_columns)
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


def _check_kinds(database: DuckDBSession, metadata_columns: int) -> None:
    ((types,),) = database.fetch_rows("SELECT count(*) FROM types")
    if types + metadata_columns > MAX_KINDS:
        raise DataRefused(
            f"Create failed. The number of distinct event types ({types}) and of optional metadata columns "
            f"({metadata_columns}) in the Interactions dataset is more than {MAX_KINDS}. Choose an event type to "
            "train on, or exclude columns."
        )


def create_empty_event_tables(database: DuckDBSession, catalogue: Sequence[Path]) -> None:
    """Create the tables without any event; ``items`` holds the ids of the files ``catalogue``."""
    for table in ("users", "types", *(() if catalogue else ("items",))):
        database.execute(f"CREATE TABLE {table} (id VARCHAR, number INTEGER)")
    if catalogue:
        _create_id_table(database, "items", f"SELECT ITEM_ID::VARCHAR FROM {read_parquet_sql(catalogue)}")
    database.execute(
        "CREATE TABLE events (user INTEGER, item INTEGER, time BIGINT, type SMALLINT, weight FLOAT, place BIGINT)"
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
        _create_id_table(database, table, ids)


def _create_id_table(database: DuckDBSession, table: str, ids: str) -> None:
    """Create the table (id, number) of the ids that SQL selects."""
    database.execute(
        f"""CREATE TABLE {table} AS
            SELECT id, (row_number() OVER (ORDER BY id) - 1)::INTEGER AS number
            FROM (SELECT DISTINCT id FROM ({ids}) AS found(id) WHERE id <> '')"""
    )


def _select_events_sql(database: DuckDBSession, selection: EventSelection) -> str:
    """Return SQL for the interactions that count, with repeats."""
    present = database.list_columns(selection.files)
    type_ = "nullif(lower(EVENT_TYPE), '')" if "EVENT_TYPE" in present else "NULL::VARCHAR"
    value = "TRY_CAST(EVENT_VALUE AS DOUBLE)" if "EVENT_VALUE" in present else "NULL::DOUBLE"
    # Events that differ in further columns are distinct; a hash of these columns is enough, and smaller.
    more = [quote_identifier(column) for column in sorted(present - _NOT_HASHED)]
    others = f"hash({', '.join(more)})" if more else "0"
    contexts = "".join(f", {_read_cell_sql(field)} AS c{place}" for place, field in enumerate(selection.contexts))
    heaviest_first = sorted(selection.parameters, key=lambda each: -each.weight)
    weights = " ".join(f"WHEN {_match_parameters_sql(each)} THEN {each.weight!r}::FLOAT" for each in heaviest_first)
    # The conditions stand outside the inner SELECT, where a name would mean the dataset's column first.
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
        # DuckDB sorts NaN above every number.
        conditions.append(f"isfinite(value) AND value >= {quote_literal(repr(counting.value_threshold))}::DOUBLE")
    return " AND ".join(conditions)


def _read_cell_sql(field: Field) -> str:
    return (
        quote_identifier(field.name)
        if field.categorical
        else f"coalesce({cast_to_finite_sql(field.name)}, 'nan'::DOUBLE)"
    )


def list_ids(database: DuckDBSession, table: str) -> list[str]:
    """Return the ids of a table, by number."""
    ids: list[str] = database.fetch_arrays(f"SELECT id FROM {table} ORDER BY number")["id"].tolist()
    return ids


def count_events(database: DuckDBSession) -> npt.NDArray[np.int64]:
    """Return int64[U]: the number of events of each user."""
    counted = database.fetch_arrays("SELECT count(*) AS events FROM events GROUP BY user ORDER BY user")
    return counted["events"].astype(np.int64, copy=False)


def count_impressions(database: DuckDBSession, files: Sequence[Path]) -> npt.NDArray[np.int64]:
    """Return int64[I]: the number of events in which an item was shown and another item chosen.

    ``files`` are those of the table ``events``. IMPRESSION holds ids separated by bars; ids that are not in ``items``
    are ignored.
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
    """Yield ``columns`` of the events as arrays, in order, in blocks of about a quarter of a million events.

    A block holds whole histories.
    """
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
    """Return the columns c0 ... of ``events`` by name, without columns that have no value."""
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
