"""Filters and metadata are made ready before the request that needs them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from services.runtime import deployer
from services.status import transitions
from shared.aws.errors import ServiceUnavailable
from shared.jobs.worker_process import WorkerProcess
from shared.recipes import Recipe
from shared.serving import filters, snapshots
from shared.serving.dataset_snapshot import Snapshot
from shared.serving.item_columns import ItemColumns
from shared.settings import Settings
from shared.state.lifecycle import ACTIVE, CREATE_IN_PROGRESS, CREATE_PENDING
from shared.state.messages import Provision
from shared.store import PutRecord
from tests.unit.services.runtime_world import GROUP, Runtime, dataset
from tests.unit.shared.serving.filter_world import (
    DRAMA,
    TOP_PICKS,
    UP,
)

# Before anybody asks


def test_what_nobody_will_ask_for_is_not_read(fresh: Runtime) -> None:
    fresh.serving(UP)
    fresh.filter(DRAMA, group=f"{GROUP}2")
    fresh.refresh()
    assert list(fresh.artifacts.create_workspace(dataset("ITEMS")).iterdir()) == []


def test_what_a_request_will_need_is_made_before_it_comes(fresh: Runtime) -> None:
    fresh.serving(TOP_PICKS, enableMetadataWithRecommendations=True)
    fresh.filter(f'{DRAMA} IF CurrentUser.AGE > 3 | EXCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("buy")')
    fresh.filter("INCLUDE UserID WHERE Users.AGE > 3")
    fresh.refresh()
    for dataset_type, kind in {"ITEMS": "snapshot", "USERS": "snapshot", "INTERACTIONS": "seen"}.items():
        [made] = fresh.artifacts.create_workspace(dataset(dataset_type)).iterdir()
        assert made.name.startswith(f"{kind}-")


# When it is made


@pytest.fixture
def making(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The threads in which anything was made that takes long with many items, in their order."""
    threads: list[str] = []

    def told(make: Callable[..., Any]) -> Callable[..., Any]:
        def tell(*args: Any, **more: Any) -> Any:
            threads.append(threading.current_thread().name)
            return make(*args, **more)

        return tell

    monkeypatch.setattr(snapshots.SnapshotCache, "_make_open", told(snapshots.SnapshotCache._make_open))
    monkeypatch.setattr(ItemColumns, "__init__", told(ItemColumns.__init__))
    monkeypatch.setattr(filters, "compile_filter", told(filters.compile_filter))
    monkeypatch.setattr("shared.serving.dataset_snapshot.Snapshot.read_numbers", told(Snapshot.read_numbers))
    return threads


ALL_OF_IT = (
    "INCLUDE ItemID WHERE Items.GENRE IN ($G) AND Items.PRICE < $P IF CurrentUser.AGE > 3 "
    '| EXCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("watch")'
)


def process_of(runtime: Runtime) -> WorkerProcess:
    """A runtime's, whose facts are applied at once."""
    queue: Any = SimpleNamespace(send=lambda fact: transitions.write_transition(runtime.store, fact))
    return WorkerProcess(
        name="runtime@test:1",
        settings=Settings(),
        store=runtime.store,
        queue=queue,
        artifacts=runtime.artifacts,
        ending=threading.Event(),
    )


def deployed(runtime: Runtime, recipe: Recipe, **config: Any) -> str:
    """A campaign or recommender that has just become ACTIVE."""
    arn = runtime.serving(recipe, CREATE_PENDING, **config)
    record = runtime.store.get(arn)
    assert record is not None
    deployer.deploy_model(
        process_of(runtime), runtime.serving_.loader, runtime.preparing, record, record.body["solutionVersionArn"]
    )
    return arn


def asked_all(runtime: Runtime, arn: str, filter_arn: str) -> None:
    values = {"G": '"War","Drama"', "P": "9.995"}
    assert runtime.recommended(arn, userId="u", filterArn=filter_arn, filterValues=values) == "a"


@pytest.mark.parametrize("recipe", [UP, TOP_PICKS])
def test_no_request_makes_what_a_filter_reads_however_soon_it_comes(
    fresh: Runtime, making: list[str], recipe: Recipe
) -> None:
    filter_arn = fresh.filter(ALL_OF_IT)
    arn = deployed(fresh, recipe)
    assert making
    making.clear()
    asked_all(fresh, arn, filter_arn)
    assert making == []


def test_no_request_makes_what_metadata_are_read_from(fresh: Runtime, making: list[str]) -> None:
    arn = deployed(fresh, UP, enableMetadataWithRecommendations=True)
    making.clear()
    assert fresh.answered(arn, userId="u", metadataColumns={"ITEMS": ["TITLE"]})[0]["metadata"] == {"title": "The A"}
    assert making == []


def test_a_new_filter_is_active_when_what_it_reads_is_there(fresh: Runtime, making: list[str]) -> None:
    arn = deployed(fresh, UP)
    filter_arn = fresh.filter(ALL_OF_IT, CREATE_PENDING)
    fresh.store.send_heartbeat("runtime@test:1", 5)
    transitions.provision_resource(fresh.store, Provision(arn=filter_arn))
    record = fresh.store.get(filter_arn)
    assert record is not None
    assert record.status == CREATE_IN_PROGRESS, "a runtime is there, which has not read anything yet"
    deployer.make_filter_usable(process_of(fresh), fresh.preparing, record)
    record = fresh.store.get(filter_arn)
    assert record is not None
    assert record.status == ACTIVE
    assert making
    making.clear()
    asked_all(fresh, arn, filter_arn)
    assert making == []


def test_a_new_filter_waits_for_no_runtime_that_is_not_there(fresh: Runtime) -> None:
    filter_arn = fresh.filter(ALL_OF_IT, CREATE_PENDING)
    transitions.provision_resource(fresh.store, Provision(arn=filter_arn))
    fresh.store.send_heartbeat("runtime@test:1", 5)
    late = fresh.filter(ALL_OF_IT, CREATE_PENDING)
    for _ in range(2):  # the second time by the reconciler, since nobody took it up
        transitions.provision_resource(fresh.store, Provision(arn=late))
    records = [fresh.store.get(arn) for arn in (filter_arn, late)]
    assert [record.status for record in records if record] == [ACTIVE, ACTIVE]


def test_no_request_makes_what_new_items_change(
    fresh: Runtime, making: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "PACE", 0.0)
    filter_arn = fresh.filter("INCLUDE ItemID WHERE Items.PRICE > 15")
    arn = deployed(fresh, UP)
    item = PutRecord(id="b", properties={"PRICE": 16.0}, at=time.time())
    fresh.store.save_put_records(dataset("ITEMS"), [item], invocation="1")
    making.clear()
    assert fresh.recommended(arn, userId="u", filterArn=filter_arn) == "c"
    assert making == []
    fresh.refresh()
    assert making
    making.clear()
    assert fresh.recommended(arn, userId="u", filterArn=filter_arn) == "bc"
    assert making == []


def test_who_comes_before_it_is_made_waits_a_moment_and_is_asked_to_try_again(
    fresh: Runtime, making: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at a runtime that has not heard yet of the campaign that another one has made ready."""
    arn, filter_arn = fresh.serving(UP), fresh.filter(ALL_OF_IT)
    let, make = threading.Event(), snapshots.SnapshotCache._make_file
    monkeypatch.setattr(snapshots.SnapshotCache, "_make_file", lambda *args: (let.wait(30), make(*args)))
    fresh.filters.patience = 0.05
    for _ in range(3):
        with pytest.raises(ServiceUnavailable, match="is being made ready"):
            asked_all(fresh, arn, filter_arn)
    let.set()
    fresh.filters.patience = 60.0
    asked_all(fresh, arn, filter_arn)
    assert threading.current_thread().name not in making
