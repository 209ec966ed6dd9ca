"""Reads titles, histories and users to show from a folder's CSV files, by four DuckDB queries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.cli.data import csv_source

TITLES = ("TITLE", "NAME", "ITEM_NAME", "PRODUCT_NAME")


@dataclass(frozen=True)
class Viewer:
    """A user with the items of their newest interactions, oldest first, and how many there are in all."""

    user_id: str
    newest: tuple[str, ...]
    interactions: int


class Viewing:
    """``folder`` holds interactions.csv."""

    def __init__(self, folder: Path) -> None:
        self._interactions = folder / "interactions.csv"

    def choose_viewers(self, count: int, newest: int) -> list[Viewer]:
        """``count`` users with histories of ordinary length: the same ones each time, from all over the data."""
        rows = _query_csv(
            self._interactions,
            f"""
            WITH histories AS (
              SELECT USER_ID, count(*) AS n, list(ITEM_ID ORDER BY TIMESTAMP::BIGINT) AS items
              FROM cells GROUP BY USER_ID
            ), ordinary AS (
              SELECT *, ntile({count}) OVER (ORDER BY md5(USER_ID)) AS part FROM histories
              WHERE n BETWEEN (SELECT quantile_disc(n, 0.25) FROM histories)
                          AND (SELECT quantile_disc(n, 0.9) FROM histories)
            )
            SELECT first(USER_ID ORDER BY md5(USER_ID)), first(items[-{newest}:] ORDER BY md5(USER_ID)),
                   first(n ORDER BY md5(USER_ID))
            FROM ordinary GROUP BY part ORDER BY part
            """,  # noqa: S608 - numbers
        )
        return [Viewer(user, tuple(items), n) for user, items, n in rows]

    def find_event_type(self) -> str:
        """The commonest one; "watch" where the data has none."""
        with csv_source.open_csv(self._interactions) as (file, _):
            if "EVENT_TYPE" not in csv_source.list_columns(file):
                return "watch"
            ((commonest,),) = csv_source.query_cells(file, "SELECT mode(EVENT_TYPE) FROM cells")
        return str(commonest or "watch")


def read_titles(items: Path) -> Mapping[str, str]:
    """Item id -> title; empty where there is no such CSV file, or none with a column of titles."""
    if not items.is_file():
        return {}
    with csv_source.open_csv(items) as (file, _):
        columns = csv_source.list_columns(file)
        title = next((name for name in TITLES if name in columns), None)
        if title is None:
            return {}
        question = f"SELECT ITEM_ID, {title} FROM cells WHERE {title} IS NOT NULL"  # noqa: S608 - one of TITLES
        return dict(csv_source.query_cells(file, question))


def _query_csv(path: Path, question: str) -> list[tuple[Any, ...]]:
    with csv_source.open_csv(path) as (file, _):
        return csv_source.query_cells(file, question)
