"""Find the bad cells of a CSV file with their lines, and format a failure reason from them.

This runs after an import has failed: DuckDB reads the file once more and counts every bad cell, while only the first
few get a line. Lines are exact. In a file with broken rows (too few cells, an open quote) the cells of other rows are
left out when the rows can no longer be counted.
"""

# ruff: noqa: S608 -- names come from a checked schema, and all that goes into SQL is quoted

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb

from shared.data.csv import csv_file, csv_rules
from shared.data.csv.csv_file import CsvFile
from shared.data.csv.csv_sql import quote_identifier, select_cells_sql
from shared.data.schemas import DatasetSchema

MAX_REASON_CHARACTERS = 1000
_MAX_SHOWN = 5
_COLUMNS_PER_CELL = 3  # its problem, its value, whether it may be null
_MAX_ERRORS = 10_000  # of broken rows that DuckDB keeps per file: a missing column breaks every row

# DuckDB's error types with texts of our own: DuckDB's texts explain its options.
_BROKEN_ROWS = {
    "MISSING COLUMNS": "has fewer cells than the header",
    "TOO MANY COLUMNS": "has more cells than the header; values with commas must be in quotes",
    "UNQUOTED VALUE": "has a quote that is not closed, or text after a closing quote",
    "LINE SIZE OVER MAXIMUM": f"is longer than {csv_file.MAX_RECORD_BYTES:,} bytes",
    "INVALID ENCODING": "is not UTF-8",
}


@dataclass(frozen=True, kw_only=True)
class BadCell:
    """The problem of a cell, or of a whole row when `column` is None. `line` counts from 1."""

    file: str
    line: int
    column: str | None
    value: str | None
    problem: str

    def __str__(self) -> str:
        place = f"{trim_text(self.file, 80)} line {self.line}"
        if self.column is not None:
            place += f", column {trim_text(self.column, 64)}"
        shown = json.dumps(trim_text(self.value, 40), ensure_ascii=False) if self.value is not None else "the cell"
        return f"{place}: {'the row ' if self.column is None else ''}{shown} {self.problem}."


@dataclass(frozen=True, kw_only=True)
class BadCellSummary:
    """The bad cells of a file: the `first` few in the order of their lines, and the `count` of all.

    `count` misses some unless `complete`. `null_candidates` counts the cells that may be null, by column; `rows` is
    the number of rows with a bad cell.
    """

    first: list[BadCell]
    count: int
    complete: bool
    null_candidates: Mapping[str, int]
    rows: int

    @property
    def all_may_be_null(self) -> bool:
        return self.complete and self.count == sum(self.null_candidates.values())


def find_bad_cells(connection: duckdb.DuckDBPyConnection, file: CsvFile, schema: DatasetSchema) -> BadCellSummary:
    """Read a file and check every cell. `connection` must be a new one. Raises duckdb.Error."""
    cells, count = _find_unlocated_cells(connection, file, schema)
    bad_rows, null_candidates = _count_null_candidates(connection, schema)
    broken, complete = _list_broken_rows(connection)
    first = [_build_broken_row(file, *each) for each in broken[:_MAX_SHOWN]]
    if complete:
        rows = {cell.row for cell in cells}
        lines = csv_file.find_row_lines(file, rows, [place for place, *_ in broken])
        if lines is not None:
            first += [cell.with_line(file.name, lines[cell.row]) for cell in cells]
    first.sort(key=lambda cell: cell.line)
    return BadCellSummary(
        first=first[:_MAX_SHOWN],
        count=count + len(broken),
        complete=complete,
        null_candidates=null_candidates,
        rows=bad_rows,
    )


@dataclass(frozen=True, kw_only=True)
class _UnlocatedBadCell:
    """A bad cell without its line: `row` is its number among the rows that DuckDB accepted."""

    row: int
    column: str
    value: str | None
    problem: str

    def with_line(self, file: str, line: int) -> BadCell:
        return BadCell(file=file, line=line, column=self.column, value=self.value, problem=self.problem)


def _find_unlocated_cells(
    connection: duckdb.DuckDBPyConnection, file: CsvFile, schema: DatasetSchema
) -> tuple[list[_UnlocatedBadCell], int]:
    """Return the first bad cells by row and column, and the number of all."""
    broken, shown = [], []
    for field in schema.fields:
        broken.append(f"({csv_rules.is_broken_sql(field, has_nul=file.has_nul)})")
        shown.append(csv_rules.describe_problem_sql(field, has_nul=file.has_nul))
        shown.append(f"left({quote_identifier(field.name)}, 60)")
        shown.append(csv_rules.may_be_null_sql(field, has_nul=file.has_nul))
    numbered = f"""SELECT *, row_number() OVER () AS "row number" FROM
        ({select_cells_sql([file], schema, f"store_rejects = true, rejects_limit = {_MAX_ERRORS}")})"""
    columns = ", ".join(f"{sql} AS c{number}" for number, sql in enumerate(shown))
    connection.execute(
        f"""CREATE TEMP TABLE bad_rows AS
            SELECT "row number", {columns} FROM ({numbered}) WHERE {" OR ".join(broken)}"""
    )
    problems = " + ".join(f"count(c{number})" for number in range(0, len(shown), _COLUMNS_PER_CELL))
    ((count,),) = connection.execute(f"SELECT {problems} FROM bad_rows").fetchall()
    first = connection.execute(f'SELECT * FROM bad_rows ORDER BY "row number" LIMIT {_MAX_SHOWN}').fetchall()
    cells = [
        _UnlocatedBadCell(row=row, column=field.name, value=value, problem=problem)
        for row, *found in first
        for field, problem, value in zip(
            schema.fields, found[0::_COLUMNS_PER_CELL], found[1::_COLUMNS_PER_CELL], strict=True
        )
        if problem is not None
    ]
    return cells[:_MAX_SHOWN], count


def _count_null_candidates(connection: duckdb.DuckDBPyConnection, schema: DatasetSchema) -> tuple[int, dict[str, int]]:
    """Return the number of bad rows, and the number of cells by column that may be null."""
    counts = ", ".join(f"count_if(c{_COLUMNS_PER_CELL * number + 2})" for number in range(len(schema.fields)))
    ((rows, *found),) = connection.execute(f"SELECT count(*), {counts} FROM bad_rows").fetchall()
    return rows, {field.name: count for field, count in zip(schema.fields, found, strict=True) if count}


def _list_broken_rows(connection: duckdb.DuckDBPyConnection) -> tuple[list[tuple[int, str, str]], bool]:
    """Return position (bytes from 0), error type and beginning of the rows that DuckDB rejected, in order, and whether
    these are all."""
    rows = connection.execute(
        """SELECT line_byte_position - 1, any_value(error_type::VARCHAR), any_value(left(csv_line, 60))
           FROM reject_errors GROUP BY line_byte_position ORDER BY line_byte_position"""
    ).fetchall()
    # DuckDB keeps an error for each missing or surplus cell, up to its limit.
    ((errors,),) = connection.execute("SELECT count(*) FROM reject_errors").fetchall()
    return rows, errors < _MAX_ERRORS


def _build_broken_row(file: CsvFile, place: int, kind: str, beginning: str) -> BadCell:
    return BadCell(
        file=file.name,
        line=csv_file.find_line(file, place),
        column=None,
        value=beginning.strip("\r\n"),
        problem=_BROKEN_ROWS.get(kind, "cannot be read as CSV"),
    )


def format_reason(found: Sequence[BadCellSummary]) -> str:
    """Return the failure reason for all files: the first bad cells in full, the rest counted.

    The reason has at most 1000 characters.
    """
    count = sum(each.count for each in found)
    first = [str(cell) for each in found for cell in each.first][:_MAX_SHOWN]
    more = "" if all(each.complete for each in found) else " and more"
    if count == 1:
        return trim_text(f"{first[0]} Correct it and create a new dataset import job.", MAX_REASON_CHARACTERS)
    while True:
        rest = f" And {count - len(first)} more." if count > len(first) else ""
        text = f"{count} errors{more}. {' '.join(first)}{rest} Correct them and create a new dataset import job."
        if len(text) <= MAX_REASON_CHARACTERS:
            return text
        first.pop()


def trim_text(text: str, length: int) -> str:
    """Return the text, cut to `length` characters with "..." at its end."""
    return text if len(text) <= length else f"{text[: length - 3]}..."
