"""Users of a batch segment job without a network: a scorer whose answer depends on a user's newest event alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shared.data.duckdb_session import DuckDBSession
from shared.data.training.event_tables import EventSelection
from shared.recipes.scoring_api import ItemGroups, Past, Query
from shared.serving.user_events import UserEvents, write_user_events
from tests.unit.shared.data import parquet_files

Rows = list[tuple[str, str, int]]


class LastItemScorer:
    """Gives half of the probability to the item that the user took last, and the rest to all items equally."""

    def __init__(self, item_ids: str, histories: Mapping[str, list[Past]]) -> None:
        self.item_ids = list(item_ids)
        self.user_ids = sorted(histories)
        self._histories = histories
        self.asked: list[Query] = []

    @classmethod
    def load(cls, artifact: Path) -> LastItemScorer:
        raise NotImplementedError

    def history(self, user_id: str) -> list[Past]:
        return self._histories.get(user_id, [])

    def stored_history(self, user_id: str) -> list[Past]:
        return self.history(user_id)

    def scores(self, query: Query) -> npt.NDArray[np.float32]:
        shares = np.full(len(self.item_ids), 1 / len(self.item_ids), np.float32)
        if query.history and query.history[-1].item_id in self.item_ids:
            shares /= 2
            shares[self.item_ids.index(query.history[-1].item_id)] += 0.5
        return shares

    def score_users(self, queries: Sequence[Query], groups: ItemGroups) -> npt.NDArray[np.float32]:
        self.asked += queries
        return np.stack([np.add.reduceat(self.scores(query)[groups.places], groups.starts) for query in queries])


def write_events(folder: Path, rows: Rows) -> UserEvents:
    """The events file of these rows (user, item, time)."""
    files = [parquet_files.parquet(folder / "rows.parquet", parquet_files.IDS, rows)] if rows else []
    with DuckDBSession(memory_mb=256, scratch=folder, on_step=lambda: None) as database:
        write_user_events(folder / "events", EventSelection(files=files), database)
    return UserEvents.open(folder / "events")
