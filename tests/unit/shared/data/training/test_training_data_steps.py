"""Long preparations: they report steps, end when asked, and name the resource that ran out."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import duckdb
import numpy as np
import pytest

from shared.data.arrays.histories import DataRefused
from shared.data.training import training_data
from shared.data.training.training_data import DatasetFiles, TrainingSources
from tests.unit.shared.data.parquet_files import INTERACTIONS, schema
from tests.unit.shared.data.training.dataset import MEMORY_MB, Dataset


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> DatasetFiles:
    """Three million events: several seconds of work."""
    path = tmp_path_factory.mktemp("large") / "a.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            f"""COPY (SELECT 'u' || hash(i) % 20000 AS USER_ID, 'i' || hash(i + 7) % 5000 AS ITEM_ID,
                             (i * 17)::BIGINT AS TIMESTAMP, 'd' || hash(i + 1) % 99 AS DEVICE
                      FROM range(3000000) AS t(i)) TO '{path}' (FORMAT parquet)"""
        )
    return DatasetFiles(files=[path], schema=schema("Interactions", *INTERACTIONS, "DEVICE string categorical"))


class Asked(Exception):
    """Somebody wants it to end."""


@pytest.mark.parametrize("steps", [1, 3, 6, 10, 15, 20, 30])
def test_a_long_reading_ends_within_two_seconds_of_being_asked(
    dataset: Dataset, large: DatasetFiles, steps: int
) -> None:
    made = []

    def on_step() -> None:
        made.append(time.monotonic())
        if len(made) == steps:
            raise Asked

    with pytest.raises(Asked):
        dataset.prepare(interactions=large, on_step=on_step)
    assert len(made) == steps
    assert time.monotonic() - made[-1] < 2.0
    assert not list(dataset.folder.iterdir())


def test_steps_are_never_far_apart(dataset: Dataset, large: DatasetFiles) -> None:
    steps = [time.monotonic()]
    dataset.prepare(interactions=large, on_step=lambda: steps.append(time.monotonic()))
    # 0.5 s is what is promised; a busy machine may be late by as much again.
    assert max(np.diff([*steps, time.monotonic()])) < 1.0


def test_a_reading_of_texts_can_be_ended_too(dataset: Dataset) -> None:
    steps = itertools.count()

    def on_step() -> None:
        if (dataset.folder / "data.draft" / "scratch" / "texts").exists() and next(steps) == 3:
            raise Asked

    items = dataset.items("STORY string textual", rows=[(f"i{number}", "a word " * 50) for number in range(3000)])
    sources = TrainingSources(interactions=dataset.interactions(), items=items, metadata=True, all_items=True)
    with pytest.raises(Asked):
        training_data.prepare_training_data(dataset.folder / "data", sources, memory_mb=MEMORY_MB, on_step=on_step)


def test_a_file_that_is_gone_is_a_reason(dataset: Dataset) -> None:
    interactions = dataset.interactions()
    Path(interactions.files[0]).unlink()
    with pytest.raises(DataRefused, match="cannot be read, or there is no room on the disk"):
        dataset.prepare(interactions=interactions)


def test_too_little_memory_is_a_reason(dataset: Dataset, large: DatasetFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.data.duckdb_session._MIN_MEMORY_MB", 4)
    with pytest.raises(DataRefused, match=r"more than 4 MiB of memory.* FORETASTE_IMPORT_MEMORY_MB"):
        training_data.prepare_training_data(dataset.folder / "data", TrainingSources(interactions=large), memory_mb=4)
