"""Chooses the columns of a CSV file's schema and their types, and gives a reason for each column left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.cli.data import csv_source
from shared.data import schemas
from shared.data.csv import csv_rules
from shared.data.csv.csv_file import CsvFile
from shared.data.csv.csv_sql import quote_identifier as quoted
from shared.data.schemas import Field

# A leading zero makes it a code, not a number.
_INTEGER = r"-?(0|[1-9]\d{0,17})"
_NUMBER = r"[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][+-]?\d+)?"


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """``fields`` are those of the schema, as Avro JSON; of them ``own`` have a meaning to the file's owner alone.

    ``left_out``: the other columns of the header, with the reasons, which go behind a colon.
    """

    fields: Sequence[Mapping[str, Any]]
    own: int
    left_out: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """A column's counts: cells that have a value, and how many of these fit each type."""

    rows: int
    filled: int
    integers: int
    numbers: int
    different: int
    longest: int


def choose_columns(file: CsvFile, dataset_type: str) -> Chosen:
    """Choose the columns of the schema ``dataset_type``. AWS's columns come first, then the rest, in header order.

    Raises duckdb.Error where the file is no table.
    """
    declared = schemas.DATASET_TYPES[dataset_type]
    required, reserved = schemas.get_declared_columns(declared)
    known = {**required, **reserved}
    left_out: dict[str, str] = {}
    usable = list(_find_usable_columns(file.header, known, left_out))
    fixed: list[dict[str, Any]] = []
    own: list[dict[str, Any]] = []
    for column, measured in _measure_columns(file, usable):
        if column.upper() in required:
            fixed.append(_declare_field(required[column.upper()]))
        elif not measured.filled:
            left_out[column] = "it has no values"
        elif column.upper() in reserved:
            fixed.append(_declare_field(reserved[column.upper()]))
        elif (found := _declare_own_column(column, measured, dataset_type, own)) is None:
            left_out[column] = (
                f"it has texts of more than {csv_rules.MAX_STRING_CHARACTERS:,} characters, "
                "as one column of Items may have"
            )
        else:
            own.append(found)
    most = schemas.MAX_OWN_FIELDS[declared]
    for beyond in own[most:]:
        left_out[beyond["name"]] = f"{dataset_type} may have {most} columns that AWS does not know, and has {len(own)}"
    return Chosen(fields=[*fixed, *own[:most]], own=len(own[:most]), left_out=left_out)


def _find_usable_columns(header: Sequence[str], known: Mapping[str, Field], left_out: dict[str, str]) -> Iterator[str]:
    """Return the columns with names that a schema may have; AWS's own may be in any case."""
    times = Counter(column.upper() for column in header)
    taken = {schemas.normalize_name(name): name for name in known}
    for place, column in enumerate(header, start=1):
        other = taken.setdefault(schemas.normalize_name(column), column)
        if not column:
            left_out[f"number {place}"] = "it has no name"
        elif not schemas.FIELD_NAME.fullmatch(column):
            left_out[column] = "a name has letters (A to Z), digits and underscores, no digit first; rename it"
        elif column.upper() in known:
            yield column
        elif times[column.upper()] > 1:
            left_out[column] = "the header names it twice; rename one of the two"
        elif other != column:
            left_out[column] = f"its name is that of {other}, but for case and underscores; rename it"
        else:
            yield column


def _declare_field(expected: Field) -> dict[str, Any]:
    # Null wherever AWS allows it: a column that is full today has a gap in the next file.
    return {"name": expected.name, "type": ["null", expected.type] if expected.nullable else expected.type}


def _declare_own_column(
    column: str, measured: _Measured, dataset_type: str, others: Iterable[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """Return the field of a column that AWS does not know; None where the schema has no room for it."""
    if measured.integers == measured.filled:
        return {"name": column, "type": _choose_number_type("long", measured)}
    if measured.numbers == measured.filled:
        return {"name": column, "type": _choose_number_type("double", measured)}
    text = {"name": column, "type": ["null", "string"]}
    if measured.longest > csv_rules.MAX_STRING_CHARACTERS:
        if dataset_type != "Items" or any("textual" in other for other in others):
            return None
        return {**text, "textual": True}
    # A value that hardly ever comes again (a title, a name) is no category.
    return {**text, "categorical": True} if measured.different <= measured.filled / 2 else text


def _choose_number_type(kind: str, measured: _Measured) -> str | list[str]:
    # Without a gap it may be the objective of a solution, which must not be null.
    return kind if measured.filled == measured.rows else ["null", kind]


def _measure_columns(file: CsvFile, columns: Sequence[str]) -> Iterator[tuple[str, _Measured]]:
    measures = ", ".join(
        f"count({cell}), {_count_matches_sql(cell, column, _INTEGER, 'long')}, "
        f"{_count_matches_sql(cell, column, _NUMBER, 'double')}, "
        f"approx_count_distinct({cell}), coalesce(max(length({cell})), 0)"
        for column in columns
        for cell in [quoted(column.upper())]
    )
    ((rows, *found),) = csv_source.query_cells(file, f"SELECT count(*), {measures} FROM cells")  # noqa: S608 - names are quoted
    for column, *values in zip(columns, *(found[part::5] for part in range(5)), strict=True):
        filled, integers, numbers, different, longest = values
        yield (
            column,
            _Measured(
                rows=rows, filled=filled, integers=integers, numbers=numbers, different=different, longest=longest
            ),
        )


def _count_matches_sql(cell: str, column: str, pattern: str, kind: str) -> str:
    """Return SQL that counts the cells that match the pattern and that an import takes for the type."""
    broken = csv_rules.is_broken_sql(Field(name=column.upper(), type=kind, nullable=True), has_nul=False)
    return f"count_if(regexp_full_match({cell}, '{pattern}') AND NOT ({broken}))"
