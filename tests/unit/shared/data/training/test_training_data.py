"""Training data: the parts of a prepared folder, and when it is written or only opened."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shared.data.arrays.histories import DataRefused, TooLittleData
from shared.data.training import training_data
from shared.data.training.rewards import Objective
from shared.data.training.training_data import DatasetFiles, TrainingSources
from tests.unit.shared.data.parquet_files import INTERACTIONS, enough, table
from tests.unit.shared.data.training.dataset import LONG_AGO, MEMORY_MB, Dataset, named


def test_it_works(dataset: Dataset) -> None:
    data = dataset.prepare(
        interactions=dataset.interactions(
            "DEVICE string categorical", cells=lambda number: (("tv", "phone", "tv")[number % 3],)
        ),
        items=dataset.items(
            "CREATION_TIMESTAMP long",
            "GENRES string categorical",
            "PRICE float",
            rows=[("i0", LONG_AGO, "Drama|War", 1.5), ("i2", None, "Drama", None), ("never seen", 5, "Western", 3.0)],
        ),
        users=dataset.table("Users", ["USER_ID string", "AGE int"], [("u001", 20), ("u002", 50)]),
    )
    assert data.histories.item_ids == [f"i{number}" for number in range(10)]
    assert named(data.items, 0) == {"GENRES": {"Drama": 0.5, "War": 0.5}, "PRICE": {0: 1.0}}
    assert named(data.items, 1) == {}
    assert named(data.items, 2) == {"GENRES": {"Drama": 1.0}}
    assert named(data.users, 0) == {}
    assert named(data.users, 1) == {"AGE": {0: 1.0}}
    assert named(data.users, 2) == {"AGE": {1: 1.0}}
    assert data.item_created is not None
    assert data.item_created.tolist() == [LONG_AGO, *[-1] * 9]
    assert data.items is not None
    assert data.contexts is not None
    assert (len(data.items.offsets), len(data.contexts.offsets)) == (11, 1201)
    assert [named(data.contexts, event)["DEVICE"] for event in (0, 1, 1199)] == [{"tv": 1}, {"phone": 1}, {"tv": 1}]
    types = (data.items.offsets.dtype, data.items.values.dtype, data.items.weights.dtype, data.item_created.dtype)
    assert types == (np.int64, np.int32, np.float32, np.int64)


def test_a_recipe_without_metadata_trains_on_none(dataset: Dataset) -> None:
    items = dataset.items("GENRES string categorical", rows=[("i0", "Drama")])
    interactions = dataset.interactions("DEVICE string categorical", cells=lambda number: ("tv",))
    data = dataset.prepare(interactions=interactions, items=items, metadata=False)
    assert (data.items, data.users, data.contexts, data.item_created) == (None, None, None, None)
    assert not (dataset.folder / "items").exists()


def test_strings_and_booleans_are_not_trained_on(dataset: Dataset) -> None:
    fields = ("TITLE string", "IS_NEW boolean")
    assert dataset.features_of_items(*fields, rows=[("i0", "Casablanca", True)]) is None


def test_excluded_columns_are_not_trained_on(dataset: Dataset) -> None:
    fields = ("GENRES string categorical", "PRICE float")
    rows = [("i0", "Drama", 1.5), ("i1", "War", 2.5)]
    features = dataset.features_of_items(*fields, rows=rows, excluded={"ITEMS": {"PRICE"}, "USERS": {"GENRES"}})
    assert features is not None
    assert [column.name for column in features.columns] == ["GENRES"]
    assert dataset.features_of_items(*fields, rows=rows, excluded={"ITEMS": frozenset({"PRICE", "GENRES"})}) is None


def test_an_excluded_creation_is_not_trained_on(dataset: Dataset) -> None:
    items = dataset.items("CREATION_TIMESTAMP long", "PRICE float", rows=[("i0", LONG_AGO, 2.0)])
    assert dataset.prepare(items=items, excluded={"ITEMS": {"CREATION_TIMESTAMP"}}).item_created is None


def test_a_domain_has_columns_of_its_own(dataset: Dataset) -> None:
    fields = ["ITEM_ID string", "CREATION_TIMESTAMP long", "GENRES string categorical", "DURATION float"]
    made = table(dataset.folder / "vod.parquet", "Items", fields, [("i0", LONG_AGO, "Drama", 90.0)])
    text = made.schema.replace('["null", "string"]', '"string"').replace('["null", "long"]', '"long"')
    data = dataset.prepare(items=DatasetFiles(files=made.files, schema=text, domain="VIDEO_ON_DEMAND"))
    assert named(data.items, 0) == {"GENRES": {"Drama": 1.0}, "DURATION": {0: 1.0}}


def test_the_column_of_an_objective_becomes_rewards_in_the_order_of_items(dataset: Dataset) -> None:
    """Trained on or not."""
    data = dataset.prepare(
        items=dataset.items("PRICE float", rows=[("i1", 2.0), ("i3", 4.0), ("i1", 6.0)]),
        objective=Objective(column="PRICE", sensitivity="HIGH"),
        excluded={"ITEMS": {"PRICE"}},
    )
    assert data.items is None
    assert data.rewards is not None
    assert data.rewards.sensitivity == "HIGH"
    assert data.rewards.values.tolist() == [5, 6, 5, 4, 5, 5, 5, 5, 5, 5]
    assert dataset.prepare(items=dataset.items("PRICE float", rows=[("i1", 2.0)])).rewards is None


@pytest.mark.parametrize("column", ["TITLE", "GONE"])
def test_an_objective_that_is_no_column_of_numbers_is_refused(dataset: Dataset, column: str) -> None:
    items = dataset.items("TITLE string", rows=[("i1", "5")])
    with pytest.raises(DataRefused, match=f"needs {column} to be a column of numbers"):
        dataset.prepare(items=items, objective=Objective(column=column))


def test_an_objective_without_items_is_refused(dataset: Dataset) -> None:
    with pytest.raises(DataRefused, match="needs the column PRICE of an Items dataset"):
        dataset.prepare(objective=Objective(column="PRICE"))


def test_a_second_time_it_is_only_opened(tmp_path: Path) -> None:
    interactions = table(tmp_path / "a.parquet", "Interactions", list(INTERACTIONS), enough())
    folder = tmp_path / "data"
    first = training_data.prepare_training_data(folder, TrainingSources(interactions=interactions), memory_mb=MEMORY_MB)
    written = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    (tmp_path / "a.parquet").unlink()
    second = training_data.prepare_training_data(
        folder, TrainingSources(interactions=interactions), memory_mb=MEMORY_MB
    )
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == written
    np.testing.assert_array_equal(first.histories.items, second.histories.items)
    for array in (second.histories.items, second.histories.timestamps, second.histories.offsets):
        assert isinstance(array.base, np.memmap)


def test_features_are_mapped(dataset: Dataset) -> None:
    features = dataset.features_of_items("PRICE float", rows=[("i0", 1.0)])
    assert features is not None
    for array in (features.offsets, features.values, features.weights):
        assert isinstance(array.base, np.memmap)


def test_what_a_killed_attempt_left_is_written_anew(dataset: Dataset, tmp_path: Path) -> None:
    draft = tmp_path / "data0.draft" / "histories"
    draft.mkdir(parents=True)
    (draft / "items.npy").write_bytes(b"half")
    folder = tmp_path / "data0"
    sources = TrainingSources(interactions=dataset.interactions())
    data = training_data.prepare_training_data(folder, sources, memory_mb=MEMORY_MB)
    assert len(data.histories.items) == 1200
    assert not draft.exists()
    assert sorted(path.name for path in folder.iterdir()) == ["histories"]


def test_data_that_is_refused_leaves_nothing(dataset: Dataset, tmp_path: Path) -> None:
    few = dataset.table("Interactions", list(INTERACTIONS), enough(5, 5))
    before = set(tmp_path.iterdir())
    with pytest.raises(TooLittleData, match="fewer than 1000 interactions"):
        dataset.prepare(interactions=few)
    assert set(tmp_path.iterdir()) == before
