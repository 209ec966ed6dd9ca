"""The tables as Markdown, so that what is printed can stand in a README."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.quality.protocols import COLUMNS, VIEWS
from benchmarks.quality.runs import Row


def show(title: str, rows: Sequence[Row]) -> None:
    print(f"\n{title}\n")
    columns = [f"{column} {view}" for view in VIEWS for column in COLUMNS]
    print(f"| model | {' | '.join(columns)} | seeds | train s | CPU s |")
    print("|---" * (len(columns) + 4) + "|")
    for row in rows:
        cells = [_cell(row, view, column) for view in VIEWS for column in COLUMNS]
        name = f"{row.model} ({row.note})" if row.note else row.model
        spent = f"{_seconds(row.seconds)} | {_seconds(row.cpu_seconds)}"
        print(f"| {name} | {' | '.join(cells)} | {len(row.runs) if spent.strip(' |') else ''} | {spent} |")


def _cell(row: Row, view: str, column: str) -> str:
    figure, spread = row.mean(view, column), row.spread(view, column)
    if figure is None:
        return ""
    return f"{figure:.3f} ±{spread:.3f}" if len(row.runs) > 1 else f"{figure:.3f}"


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f}"
