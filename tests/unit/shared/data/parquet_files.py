"""Datasets as an import leaves them: Parquet files, and their schemas as text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from shared.data.training.training_data import DatasetFiles

IDS = {"USER_ID": "VARCHAR", "ITEM_ID": "VARCHAR", "TIMESTAMP": "BIGINT"}
TYPES = {
    "string": "VARCHAR",
    "long": "BIGINT",
    "int": "INTEGER",
    "float": "FLOAT",
    "double": "DOUBLE",
    "boolean": "BOOLEAN",
}


def parquet(path: Path, columns: Mapping[str, str], rows: Sequence[tuple[Any, ...]]) -> Path:
    """Writes rows of ``columns``: name -> type in SQL."""
    selected = ", ".join(f'unnest(?::{type_}[]) AS "{name}"' for name, type_ in columns.items())
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT {selected}) TO '{path}' (FORMAT parquet)",
            [list(column) for column in zip(*rows, strict=True)],
        )
    return path


def schema(name: str, *fields: str) -> str:
    """``fields`` as in "AGE int" or "GENRES string categorical"; all but ids and times may be null."""
    declared = []
    for field in fields:
        column, kind, *attributes = field.split()
        fixed = column in IDS or column in ("ACTION_ID", "EVENT_TYPE")
        declared.append({"name": column, "type": kind if fixed else ["null", kind]} | dict.fromkeys(attributes, True))
    return json.dumps({"type": "record", "name": name, "fields": declared})


def table(path: Path, name: str, fields: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> DatasetFiles:
    """A dataset in one file; ``name`` and ``fields`` as in ``schema``."""
    columns = {field.split()[0]: TYPES[field.split()[1]] for field in fields}
    return DatasetFiles(files=[parquet(path, columns, rows)], schema=schema(name, *fields))


INTERACTIONS = ("USER_ID string", "ITEM_ID string", "TIMESTAMP long")


def enough(users: int = 30, events: int = 40) -> list[tuple[Any, ...]]:
    """Rows that reach AWS's minimum: users u000... with items i0 to i9, a second apart."""
    return [(f"u{user:03}", f"i{event % 10}", 1000 + event) for user in range(users) for event in range(events)]
