"""Items that come after a training: which rows a model is updated from, and when."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, ClassVar, cast

import pytest

from shared.recipes.scoring_api import NewItem
from shared.serving.catalogue_updates import CatalogueUpdater
from shared.store import PutRecord, Record
from shared.store.memory import MemoryStore

ITEMS, SOLUTION, VERSION = "items", "solution", "version"


class Model:
    """A model that knows the items it was given, with the newest columns of each."""

    recipe = SimpleNamespace(catalogue="ITEMS", serving=SimpleNamespace(takes_new_items=True))
    datasets: ClassVar = {"ITEMS": ITEMS}

    def __init__(self, known: dict[str, Any]) -> None:
        self.known = known

    def with_items(self, items: list[NewItem], on_block: Any) -> Model:
        new = {item.item_id: item.columns["NAME"] for item in items}
        return self if all(self.known.get(item) == name for item, name in new.items()) else Model(self.known | new)


class World:
    """A dataset with put records, imports and a snapshot."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.jobs: list[Record] = [self.job("first", 100.0)]
        self.body: dict[str, Any] = {"performIncrementalUpdate": True}
        self.rows: dict[str, str] = {}
        self.snapshots = 0
        reader: Any = SimpleNamespace(
            records=SimpleNamespace(
                get=lambda arn: Record(arn=arn, kind="solution", created=0, updated=0, body=self.body)
            ),
            iter_children=lambda kind, arn: iter(self.jobs),
        )
        self.updater = CatalogueUpdater(reader, self.store, self.open_rows)
        self.version = Record(
            arn=VERSION, kind="solution_version", created=0, updated=0, parents=(SOLUTION,),
            state={"imports": {"ITEMS": ["first"]}},
        )  # fmt: skip

    def job(self, arn: str, at: float) -> Record:
        body = {"importMode": "INCREMENTAL"}
        return Record(arn=arn, kind="dataset_import_job", created=at, updated=at, status="ACTIVE", body=body)

    def put(self, item: str, name: str, at: float) -> None:
        record = PutRecord(id=item, properties={"NAME": name}, at=at)
        self.store.save_put_records(ITEMS, [record], invocation=f"{item}{name}")

    def open_rows(self, _: Any) -> Any:
        self.snapshots += 1
        return Rows(self.rows)

    def update(self, model: Model) -> Model:
        return cast(Model, self.updater.update_model(self.version, cast(Any, model), lambda: None))


class Rows:
    def __init__(self, rows: dict[str, str]) -> None:
        self.ids = sorted(rows)
        self._rows = rows
        name = SimpleNamespace(name="NAME", type="string")
        self.schema = SimpleNamespace(metadata=[name], columns={"NAME": name})

    def __len__(self) -> int:
        return len(self.ids)

    def read_cell(self, row: int, column: str) -> str:
        return self._rows[self.ids[row]]


@pytest.fixture
def world() -> World:
    return World()


def test_items_put_since_the_last_import_are_known(world: World) -> None:
    world.put("old", "replaced by the import", at=50.0)
    world.put("new", "New", at=150.0)
    updated = world.update(Model({}))
    assert updated.known == {"new": "New"}
    assert world.update(updated) is updated
    assert world.snapshots == 0


def test_imports_that_were_not_trained_on_are_read_from_the_snapshot(world: World) -> None:
    world.put("newer", "Newer", at=300.0)
    world.put("both", "Put before the import", at=150.0)
    world.jobs.append(world.job("second", 200.0))
    world.rows = {"imported": "Imported", "newer": "as the snapshot had it", "both": "Imported over it"}
    assert world.update(Model({})).known == {"imported": "Imported", "newer": "Newer", "both": "Imported over it"}


def test_a_solution_without_incremental_updates_stays_as_trained(world: World) -> None:
    world.put("new", "New", at=150.0)
    world.body = {"performIncrementalUpdate": False}
    model = Model({})
    assert world.update(model) is model
    world.body = {}
    assert world.update(model).known == {"new": "New"}


def test_a_model_that_is_loaded_again_is_updated_again(world: World) -> None:
    world.put("new", "New", at=150.0)
    assert world.update(Model({})).known == {"new": "New"}
    world.updater.forget(VERSION)
    assert world.update(Model({})).known == {"new": "New"}
