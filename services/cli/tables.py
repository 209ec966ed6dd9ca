"""The CSV files of a folder as Personalize datasets: which there are, how long, and the schema each needs.

Not an import: files are only looked at, in one pass each by DuckDB. The schema says of a column what its
values allow, so that a folder of CSV files needs no further word to be imported.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from services.cli.errors import UnusableFolder

#: File name -> dataset type, and the columns whose type Personalize fixes.
FILES = {
    "interactions.csv": "Interactions",
    "items.csv": "Items",
    "users.csv": "Users",
}
FIXED: Mapping[str, Mapping[str, str]] = {
    "Interactions": {
        "USER_ID": "string",
        "ITEM_ID": "string",
        "TIMESTAMP": "long",
        "EVENT_TYPE": "string",
        "EVENT_VALUE": "float",
        "IMPRESSION": "string",
        "RECOMMENDATION_ID": "string",
        "EVENT_ATTRIBUTION_SOURCE": "string",
    },
    "Items": {"ITEM_ID": "string", "CREATION_TIMESTAMP": "long"},
    "Users": {"USER_ID": "string"},
}
REQUIRED = {"Interactions": ("USER_ID", "ITEM_ID", "TIMESTAMP"), "Items": ("ITEM_ID",), "Users": ("USER_ID",)}
#: How many columns of its own a schema may have, beside the fixed ones.
MOST_OWN = {"Interactions": 5, "Items": 100, "Users": 25}
LONGEST_STRING = 1000  # characters; a longer value must be textual

# A leading zero makes it a code, not a number.
INTEGER = r"-?(0|[1-9]\d{0,17})"
NUMBER = r"[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][+-]?\d+)?"


@dataclass(frozen=True, kw_only=True)
class Table:
    """One CSV file: ``schema`` is the Avro JSON of CreateSchema, ``rows`` counts its lines without the header."""

    path: Path
    dataset_type: str
    rows: int
    schema: str


@dataclass(frozen=True, kw_only=True)
class _Column:
    name: str
    filled: int
    integers: int
    numbers: int
    different: int
    longest: int


def read(folder: Path) -> list[Table]:
    """The folder's tables; interactions first. Raises UnusableFolder."""
    if not (folder / "interactions.csv").is_file():
        raise UnusableFolder(f"{folder} has no interactions.csv (USER_ID,ITEM_ID,TIMESTAMP[,EVENT_TYPE,...])")
    tables = (_table(folder / name, kind) for name, kind in FILES.items() if (folder / name).is_file())
    return [table for table in tables if table is not None]


def csv_source(path: Path) -> str:
    """The file as a table in DuckDB's SQL, every cell as text."""
    quoted = str(path).replace("'", "''")
    return f"read_csv('{quoted}', delim = ',', header = true, all_varchar = true)"


def _table(path: Path, dataset_type: str) -> Table | None:
    """None when it says of its items or users nothing but that they exist: Personalize takes no such dataset."""
    rows, columns = _columns(path)
    names = {column.name for column in columns}
    if missing := [name for name in REQUIRED[dataset_type] if name not in names]:
        raise UnusableFolder(
            f"{path} has no column {', '.join(missing)}; it has {', '.join(column.name for column in columns)}"
        )
    fixed = [
        {"name": name, "type": _nullable(kind, name in REQUIRED[dataset_type] or column.filled == rows)}
        for column in columns
        if (kind := FIXED[dataset_type].get(name := column.name))
    ]
    own = _own(columns, dataset_type, rows)
    if dataset_type != "Interactions" and not own:
        return None
    schema = {
        "type": "record",
        "name": dataset_type,
        "namespace": "com.amazonaws.personalize.schema",
        "fields": [*fixed, *own],
        "version": "1.0",
    }
    return Table(path=path, dataset_type=dataset_type, rows=rows, schema=json.dumps(schema))


def _own(columns: list[_Column], dataset_type: str, rows: int) -> list[dict[str, Any]]:
    fields: list[dict[str, Any]] = []
    taken = {_folded(name) for name in FIXED[dataset_type]}
    for column in columns:
        usable = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", column.name) and column.filled
        if not usable or _folded(column.name) in taken:
            continue
        taken.add(_folded(column.name))
        kind, attributes = _kind(column)
        if column.longest > LONGEST_STRING and kind == "string":
            if dataset_type != "Items" or any("textual" in field for field in fields):
                continue
            attributes = {"textual": True}
        fields.append({"name": column.name, "type": _nullable(kind, column.filled == rows), **attributes})
    return fields[: MOST_OWN[dataset_type]]


def _kind(column: _Column) -> tuple[str, dict[str, Any]]:
    if column.integers == column.filled:
        return "long", {}
    if column.numbers == column.filled:
        return "double", {}
    # A value that hardly ever comes again (a title, a name) is no category.
    return "string", {"categorical": True} if column.different <= column.filled / 2 else {}


def _nullable(kind: str, filled: bool) -> str | list[str]:
    return kind if filled else ["null", kind]


def _folded(name: str) -> str:
    return name.replace("_", "").lower()


def _columns(path: Path) -> tuple[int, list[_Column]]:
    with duckdb.connect() as connection:
        try:
            source = csv_source(path)
            names = [row[0] for row in connection.execute(f"DESCRIBE FROM {source}").fetchall()]
            measures = ", ".join(
                f"count({c}), count({c}) FILTER (regexp_full_match({c}, '{INTEGER}')), "
                f"count({c}) FILTER (regexp_full_match({c}, '{NUMBER}')), "
                f"approx_count_distinct({c}), max(length({c}))"
                for c in map(_quoted, names)
            )
            (found,) = connection.execute(
                f"SELECT count(*), {measures} FROM {source}"  # noqa: S608 - names and path are quoted
            ).fetchall()
        except duckdb.Error as error:
            raise UnusableFolder(f"{path} can't be read as CSV: {error}") from error
    rows, values = found[0], [value or 0 for value in found[1:]]
    return rows, [
        _Column(
            name=name,
            filled=values[at],
            integers=values[at + 1],
            numbers=values[at + 2],
            different=values[at + 3],
            longest=values[at + 4],
        )
        for at, name in zip(range(0, len(values), 5), names, strict=True)
    ]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
