"""What is deleted is seen as DELETE PENDING for a while, of every type whose deletion takes time at AWS."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.status import deletions, transitions
from shared.aws.errors import ResourceAlreadyExists, ResourceNotFound
from shared.jobs.worker_process import WorkerProcess
from shared.resources import RESOURCES, Resource
from shared.settings import Settings
from shared.state.lifecycle import ACTIVE, DELETE_IN_PROGRESS, DELETE_PENDING, TransitionRequest
from shared.state.messages import Message, Remove
from shared.storage.artifacts import Artifacts
from tests.strict import STRICT
from tests.unit.services.api.memory_api import PREFIX, MemoryApi

SLOW = [
    one
    for one in RESOURCES.values()
    if one.lifecycle and one.lifecycle.get_next_status(ACTIVE, TransitionRequest.DELETE)
]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class House:
    """An API, and the status service's round."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.api = MemoryApi()
        queue: Any = self.api.sent
        self.process = WorkerProcess(
            name="status@test:1",
            settings=Settings(**settings),
            store=self.api.store,
            queue=queue,
            artifacts=Artifacts(folder),
            ending=threading.Event(),
        )
        self._seen: deletions.FirstSeen = {}

    def walk(self) -> None:
        deletions.start_due_removals(self.process, self._seen, STRICT)

    def hear(self) -> list[Message]:
        """What the status service was told to remove, and it removed."""
        told, self.api.sent.messages = self.api.sent.messages, []
        removed = []
        for message in told:
            assert isinstance(message, Remove)
            record = self.api.store.get(message.arn)
            if record is not None and not deletions.is_waiting(self.process, record):
                transitions.remove_resource(self.api.store, self.process.artifacts, message)
                removed.append(message)
        return removed


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(deletions.time, "monotonic", clock)
    return clock


def put(api: MemoryApi, resource: Resource) -> Callable[[str], dict[str, Any]]:
    """Have one to delete. What asks an operation about it."""
    arn = api.put(f"{PREFIX}:{re.sub('_', '-', resource.noun)}/x", resource.noun, {"name": "x"})
    return lambda verb: api(f"{verb}{resource.name}", **{resource.arn_member: arn})


@pytest.mark.parametrize("resource", SLOW, ids=lambda one: one.noun)
def test_it_is_described_and_listed_for_two_seconds_and_then_gone(
    tmp_path: Path, clock: Clock, resource: Resource
) -> None:
    house = House(tmp_path)
    ask = put(house.api, resource)
    ask("Delete")
    for _ in range(4):
        house.walk()
        assert house.hear() == []
        assert ask("Describe")[resource.camel]["status"] == DELETE_PENDING
        (listed,) = [members for members in house.api(f"List{resource.name}s").values() if isinstance(members, list)]
        assert DELETE_PENDING in [one["status"] for one in listed]
        clock.now += 0.5
    house.walk()
    assert ask("Describe")[resource.camel]["status"] == DELETE_IN_PROGRESS
    assert len(house.hear()) == 1
    with pytest.raises(ResourceNotFound):
        ask("Describe")


def test_every_type_that_can_be_deleted_is_shown_but_schemas_which_go_at_once() -> None:
    deletable = {one.noun for one in RESOURCES.values() if f"Delete{one.name}" in MemoryApi().offered}
    assert {one.noun for one in SLOW} == deletable - {"schema"}


def test_one_that_is_made_and_deleted_again_is_seen_for_as_long(tmp_path: Path, clock: Clock) -> None:
    house = House(tmp_path)
    for _ in range(2):
        group = house.api("CreateDatasetGroup", name="again")["datasetGroupArn"]
        house.api.settle()
        house.api("DeleteDatasetGroup", datasetGroupArn=group)
        with pytest.raises(ResourceAlreadyExists):
            house.api("CreateDatasetGroup", name="again")
        house.walk()
        clock.now += 1.9
        house.walk()
        assert house.hear() == []
        clock.now += 0.1
        house.walk()
        assert house.hear()


def test_one_that_is_to_go_at_once_goes_at_once(tmp_path: Path) -> None:
    house = House(tmp_path, deletion_seconds=0.0)
    ask = put(house.api, RESOURCES["dataset_group"])
    ask("Delete")
    assert len(house.hear()) == 1
