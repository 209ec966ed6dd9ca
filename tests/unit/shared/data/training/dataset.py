"""Datasets of a test as Parquet files, and the training data that is prepared from them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shared.data.arrays.features import Features
from shared.data.training import training_data
from shared.data.training.training_data import DatasetFiles, TrainingData, TrainingSources
from tests.unit.shared.data.parquet_files import INTERACTIONS, enough, table

MEMORY_MB = 512
LONG_AGO = 1_600_000_000


def nothing() -> None:
    """Of steps that nobody stops."""


class Dataset:
    """Files of one group, and what is prepared from them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._numbers = itertools.count()

    def table(self, name: str, fields: list[str], rows: list[tuple[Any, ...]]) -> DatasetFiles:
        return table(self.folder / f"{next(self._numbers)}.parquet", name, fields, rows)

    def items(self, *fields: str, rows: list[tuple[Any, ...]]) -> DatasetFiles:
        return self.table("Items", ["ITEM_ID string", *fields], rows)

    def interactions(self, *fields: str, cells: Callable[[int], tuple[Any, ...]] = lambda number: ()) -> DatasetFiles:
        """Those of ``enough``; ``cells`` makes the values of ``fields`` of the n-th."""
        rows = [(*row, *cells(number)) for number, row in enumerate(enough())]
        return self.table("Interactions", [*INTERACTIONS, *fields], rows)

    def prepare(self, on_step: Callable[[], None] = nothing, **sources: Any) -> TrainingData:
        sources.setdefault("metadata", True)
        if "interactions" not in sources:
            sources["interactions"] = self.interactions()
        folder = self.folder / f"data{next(self._numbers)}"
        return training_data.prepare_training_data(
            folder, TrainingSources(**sources), memory_mb=MEMORY_MB, on_step=on_step
        )

    def features_of_items(self, *fields: str, rows: list[tuple[Any, ...]], **sources: Any) -> Features | None:
        return self.prepare(items=self.items(*fields, rows=rows), **sources).items


def row(features: Features | None, number: int) -> dict[int, float]:
    """Feature -> weight."""
    assert features is not None
    part = slice(features.offsets[number], features.offsets[number + 1])
    return dict(zip(features.values[part].tolist(), features.weights[part].tolist(), strict=True))


def named(features: Features | None, number: int) -> dict[str, dict[Any, float]]:
    """The features of a row in words: column -> category, or number of the bucket -> weight."""
    assert features is not None
    found: dict[str, dict[Any, float]] = {}
    for value, weight in row(features, number).items():
        column = next(each for each in features.columns if each.first <= value < each.first + each.size)
        own = value - column.first
        found.setdefault(column.name, {})[column.vocabulary[own] if column.vocabulary else own] = weight
    return found
