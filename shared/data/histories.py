"""Interactions as arrays: every user's history, oldest first, in numbers. Reads Parquet; knows no model.

No Python object is made per event: 25 million events take 14 bytes each here, and the sorting is DuckDB's, within
the memory it is given.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt

LEAST_INTERACTIONS = 1000
LEAST_USERS = 25
LEAST_SHARE_OF_USERS = 0.01
"""AWS's minimum data: interactions, users with at least 2 of them, and these as a share of all users."""


class TooLittleData(ValueError):
    """The data does not reach AWS's minimum. The message is the failure reason, in AWS's words where known."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Histories:
    """The histories of U users over I items, E events in all.

    User u's events are ``offsets[u]:offsets[u + 1]``, sorted by time; events of one second keep the order of
    the files.
    """

    user_ids: list[str]
    """Sorted by code point."""
    item_ids: list[str]
    """Sorted by code point; an item's number is its place here."""
    offsets: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]
    timestamps: npt.NDArray[np.int64]
    """Seconds since the epoch."""
    event_types: npt.NDArray[np.int16]
    """Place in ``event_type_names``; -1 for an event without a type."""
    event_type_names: list[str]
    """In lower case: event types are the same whatever their case."""
    in_training: npt.NDArray[np.bool_]
    """bool[U]: False where a history is too short or too long for the percentiles. Such users are not trained on,
    but keep their history and are served."""

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """int64[U]: events of each user."""
        return np.diff(self.offsets)


def load(
    files: Sequence[Path],
    *,
    event_type: str | None = None,
    event_value_threshold: float | None = None,
    min_percentile: float = 0.0,
    max_percentile: float = 1.0,
    memory_mb: int,
) -> Histories:
    """Reads Parquet files with the columns USER_ID, ITEM_ID, TIMESTAMP, perhaps EVENT_TYPE and EVENT_VALUE.

    Files may differ in columns. An event that stands several times, alike in these five, counts once.
    ``event_type`` is compared ignoring case; ``event_value_threshold`` keeps values at or above it, and no
    event without a value. Events without a user or an item are left out. The percentiles are of the lengths
    of histories, after this filtering.

    Raises TooLittleData.
    """
    if not files:
        _check_minimum(np.zeros(0, np.int64), event_type)
    with (
        tempfile.TemporaryDirectory() as spill,
        duckdb.connect(
            config={
                "memory_limit": f"{memory_mb}MiB",
                "temp_directory": spill,
                "preserve_insertion_order": False,
            }
        ) as connection,
    ):
        _number_events(connection, files, event_type, event_value_threshold)
        names = {
            table: [id_ for (id_,) in connection.table(table).order("number").project("id").fetchall()]
            for table in ("users", "items", "types")
        }
        columns = connection.execute(
            "SELECT user, item, time, type FROM events ORDER BY user, time, place"
        ).fetchnumpy()

    lengths = np.bincount(columns["user"], minlength=len(names["users"]))
    _check_minimum(lengths, event_type)
    low, high = np.quantile(lengths, [min_percentile, max_percentile])
    in_training = (lengths >= low) & (lengths <= high)
    if lengths[in_training].max(initial=0) < 2:
        raise TooLittleData(
            "No user with at least 2 interactions is left between the history length percentiles "
            f"{min_percentile:g} and {max_percentile:g}."
        )
    return Histories(
        user_ids=names["users"],
        item_ids=names["items"],
        offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)]),
        items=np.asarray(columns["item"]),
        timestamps=np.asarray(columns["time"]),
        event_types=np.asarray(columns["type"]),
        event_type_names=names["types"],
        in_training=in_training,
    )


def _number_events(
    connection: duckdb.DuckDBPyConnection,
    files: Sequence[Path],
    event_type: str | None,
    event_value_threshold: float | None,
) -> None:
    """Makes the tables users, items and types (id, number) and events (user, item, time, type, place)."""
    paths = [str(path) for path in files]
    described = connection.execute(
        "DESCRIBE SELECT * FROM read_parquet($paths, union_by_name = true)", {"paths": paths}
    ).fetchall()
    present = {name for name, *_ in described}
    type_ = "lower(EVENT_TYPE)" if "EVENT_TYPE" in present else "NULL::VARCHAR"
    value = "EVENT_VALUE::DOUBLE" if "EVENT_VALUE" in present else "NULL::DOUBLE"
    wanted = f"""
        SELECT USER_ID::VARCHAR AS user_id, ITEM_ID::VARCHAR AS item_id, TIMESTAMP::BIGINT AS time,
               {type_} AS type_id, {value} AS value, (file_index::BIGINT << 40) + file_row_number AS place
        FROM read_parquet($paths, union_by_name = true)
        WHERE USER_ID IS NOT NULL AND ITEM_ID IS NOT NULL AND TIMESTAMP IS NOT NULL
          AND ($type IS NULL OR type_id = lower($type)) AND ($threshold IS NULL OR value >= $threshold)"""  # noqa: S608 -- names of ours alone
    parameters = {"paths": paths, "type": event_type, "threshold": event_value_threshold}
    for table, column, number in (
        ("users", "user_id", "INTEGER"),
        ("items", "item_id", "INTEGER"),
        ("types", "type_id", "SMALLINT"),
    ):
        connection.execute(
            f"""CREATE TABLE {table} AS
                SELECT id, (row_number() OVER (ORDER BY id) - 1)::{number} AS number
                FROM (SELECT DISTINCT {column} AS id FROM ({wanted}) WHERE {column} IS NOT NULL)""",  # noqa: S608
            parameters,
        )
    connection.execute(
        f"""CREATE TABLE events AS
            SELECT users.number AS user, items.number AS item, time,
                   coalesce(types.number, -1)::SMALLINT AS type, min(place) AS place
            FROM ({wanted}) JOIN users ON users.id = user_id JOIN items ON items.id = item_id
                 LEFT JOIN types ON types.id = type_id
            GROUP BY users.number, items.number, time, types.number, value""",  # noqa: S608
        parameters,
    )


def _check_minimum(lengths: npt.NDArray[np.int64], event_type: str | None) -> None:
    if lengths.sum() < LEAST_INTERACTIONS:
        of_type = f" after filtering by event type: {event_type}" if event_type is not None else "."
        raise TooLittleData(f"Dataset has fewer than {LEAST_INTERACTIONS} interactions{of_type}")
    users = int((lengths >= 2).sum())
    if users < LEAST_USERS:
        raise TooLittleData(
            f"Create failed. Dataset has fewer than {LEAST_USERS} users with at least 2 interactions each."
        )
    if users < LEAST_SHARE_OF_USERS * len(lengths):
        raise TooLittleData("Create failed. Fewer than 1 % of the users have at least 2 interactions each.")
