"""Rows of Items and Users: the newest row of an id, missing columns, and large catalogues."""

from __future__ import annotations

import duckdb
import numpy as np
import pytest

from shared.data.training.training_data import DatasetFiles
from tests.unit.shared.data.parquet_files import schema
from tests.unit.shared.data.training.dataset import Dataset, named


def test_the_last_row_of_an_id_counts(dataset: Dataset) -> None:
    first = dataset.items("GENRES string categorical", "PRICE float", rows=[("i0", "old", 1.0), ("i1", "kept", 2.0)])
    second = dataset.items(
        "GENRES string categorical", "PRICE float", rows=[("i0", "middle", 3.0), ("i0", "new", None)]
    )
    items = DatasetFiles(files=[*first.files, *second.files], schema=first.schema)
    data = dataset.prepare(items=items)
    assert named(data.items, 0) == {"GENRES": {"new": 1.0}}
    assert named(data.items, 1) == {"GENRES": {"kept": 1.0}, "PRICE": {0: 1.0}}


def test_files_may_lack_columns(dataset: Dataset) -> None:
    old = dataset.items("PRICE float", rows=[("i0", 1.0), ("i1", 2.0)])
    new = dataset.items("PRICE float", "GENRES string categorical", "YEAR int", rows=[("i2", 3.0, "Drama", None)])
    later = schema("Items", "ITEM_ID string", "PRICE float", "GENRES string categorical", "YEAR int", "SIZE int")
    features = dataset.prepare(items=DatasetFiles(files=[*old.files, *new.files], schema=later)).items
    assert features is not None
    assert [column.name for column in features.columns] == ["PRICE", "GENRES"]
    assert named(features, 2) == {"PRICE": {2: 1.0}, "GENRES": {"Drama": 1.0}}


def test_a_catalogue_of_all_items_has_those_that_nobody_saw(dataset: Dataset) -> None:
    rows = [("new", "Drama", 10), ("i3", "War", 20), ("", "War", 30), (None, "War", 40)]
    items = dataset.items("GENRES string categorical", "CREATION_TIMESTAMP long", rows=rows)
    data = dataset.prepare(items=items, all_items=True)
    assert data.histories.item_ids == [*(f"i{number}" for number in range(10)), "new"]
    assert data.item_created is not None
    assert data.item_created.tolist() == [-1, -1, -1, 20, *[-1] * 6, 10]
    assert named(data.items, 10) == {"GENRES": {"Drama": 1.0}}
    assert named(data.items, 9) == {}
    assert data.histories.items.max() == 9


def test_a_million_items_of_which_ten_are_seen(dataset: Dataset) -> None:
    path = dataset.folder / "items.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT 'i' || i AS ITEM_ID, 'c' || (i % 7) AS GENRES FROM range(1000000) AS t(i)) TO '{path}'"
        )
    items = DatasetFiles(files=[path], schema=schema("Items", "ITEM_ID string", "GENRES string categorical"))
    data = dataset.prepare(items=items, all_items=True)
    assert len(data.histories.item_ids) == 1_000_000
    for item in ("i0", "i9", "i999999"):
        assert named(data.items, data.histories.item_ids.index(item)) == {"GENRES": {f"c{int(item[1:]) % 7}": 1.0}}
    assert len(np.unique(data.histories.items)) == 10


@pytest.mark.parametrize("names", [("PLACE", "NUMBER"), ("VALUE", "ID"), ("BAG", "N")])
def test_columns_may_be_called_what_they_like(dataset: Dataset, names: tuple[str, str]) -> None:
    fields = (f"{names[0]} string categorical", f"{names[1]} int")
    features = dataset.features_of_items(*fields, rows=[("i0", "a", 5), ("i1", "b", 6)])
    assert named(features, 1) == {names[0]: {"b": 1.0}, names[1]: {1: 1.0}}
