"""One round of the reconciler: what was lost is sent again, who died is noticed, what can't be done fails."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.status import reconcile
from shared.jobs.celery_app import build_outbox_entry
from shared.jobs.worker_process import WorkerProcess
from shared.settings import Settings
from shared.state.lifecycle import (
    ACTIVE,
    CLAIMABLE,
    CREATE_FAILED,
    CREATE_IN_PROGRESS,
    CREATE_PENDING,
    CREATE_STOPPED,
    CREATE_STOPPING,
    DELETE_PENDING,
)
from shared.state.messages import Finished, Message, Provision, Remove, TrainSolutionVersion
from shared.storage.artifacts import Artifacts
from shared.store import Record, UnreadableRecord
from shared.store.memory import MemoryStore
from shared.store.quarantine import Quarantine
from tests.strict import STRICT

ARN = "arn:aws:personalize:r:a:solution/s/1"


class Sent:
    """Stands where the queue stands, and keeps what is sent."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def send(self, message: Message) -> None:
        self.messages.append(message)

    def count_waiting(self, queue: str) -> int:
        return sum(message.get_queue_name() == queue for message in self.messages)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(reconcile.time, "monotonic", clock)
    monkeypatch.setattr(reconcile.time, "time", clock)
    return clock


@pytest.fixture
def process(tmp_path: Path, clock: Clock) -> WorkerProcess:
    sent: Any = Sent()
    return WorkerProcess(
        name="status@test:1",
        settings=Settings(),
        store=MemoryStore(clock),
        queue=sent,
        artifacts=Artifacts(tmp_path),
        ending=threading.Event(),
    )


def create(process: WorkerProcess, **more: Any) -> None:
    fields: dict[str, Any] = {
        "arn": ARN, "kind": "solution_version", "status": CREATE_PENDING, "created": 1000.0, "updated": 1000.0,
    }  # fmt: skip
    process.store.create(Record(**{**fields, **more}), invocation=str(more))


def standing(process: WorkerProcess) -> Record:
    record = process.store.get(ARN)
    assert record is not None
    return record


def sent(process: WorkerProcess) -> list[Message]:
    queue: Any = process.queue
    messages: list[Message] = queue.messages
    return messages


def test_a_command_left_in_the_outbox_is_sent(process: WorkerProcess, clock: Clock) -> None:
    command = Provision(arn=ARN)
    process.store.add_to_outbox(build_outbox_entry(command))
    reconcile.reconcile(process, {}, STRICT)
    assert sent(process) == []
    clock.now += 3
    reconcile.reconcile(process, {}, STRICT)
    assert sent(process) == [command]
    assert process.store.list_outbox() == []


def test_a_fact_left_in_the_outbox_is_applied(process: WorkerProcess, clock: Clock) -> None:
    create(process, kind="dataset_group", attempt=1)
    process.store.add_to_outbox(build_outbox_entry(Finished(arn=ARN, attempt=1)))
    clock.now += 3
    reconcile.reconcile(process, {}, STRICT)
    assert standing(process).status == ACTIVE
    assert process.store.list_outbox() == []


def test_work_that_nobody_takes_is_announced_again_and_not_twice_in_a_full_queue(
    process: WorkerProcess, clock: Clock
) -> None:
    create(process)
    since: dict[str, float] = {}
    reconcile.reconcile(process, since, STRICT)
    assert sent(process) == []
    clock.now += 11
    reconcile.reconcile(process, since, STRICT)
    assert sent(process) == [TrainSolutionVersion(arn=ARN)]
    clock.now += 11
    reconcile.reconcile(process, since, STRICT)
    assert len(sent(process)) == 1
    sent(process).clear()
    clock.now += 11
    reconcile.reconcile(process, since, STRICT)
    assert len(sent(process)) == 1


def test_work_under_a_live_lease_is_left_alone(process: WorkerProcess, clock: Clock) -> None:
    create(process)
    process.store.claim_lease(ARN, "worker", CLAIMABLE, 1000)
    since: dict[str, float] = {}
    for _ in range(5):
        clock.now += 100
        reconcile.reconcile(process, since, STRICT)
    assert sent(process) == []
    assert standing(process).failures == 0


def test_a_dead_workers_lease_is_taken_away_and_its_work_announced(process: WorkerProcess, clock: Clock) -> None:
    create(process)
    process.store.claim_lease(ARN, "worker", CLAIMABLE, 15)
    clock.now += 16
    reconcile.reconcile(process, {}, STRICT)
    assert process.store.get_lease(ARN) is None
    assert standing(process).failures == 1
    assert sent(process) == [TrainSolutionVersion(arn=ARN)]


def test_work_whose_process_died_too_often_fails_with_a_reason(process: WorkerProcess, clock: Clock) -> None:
    create(process)
    for _ in range(3):
        sent(process).clear()
        process.store.claim_lease(ARN, "worker", CLAIMABLE, 15)
        clock.now += 16
        reconcile.reconcile(process, {}, STRICT)
    assert standing(process).status == CREATE_FAILED
    assert "died 3 times" in (standing(process).reason or "")
    assert sent(process) == []  # whoever waits for work must not be the fourth


def test_who_gave_work_back_may_say_how_it_died_before_it_is_given_up(process: WorkerProcess, clock: Clock) -> None:
    create(process)
    for _ in range(3):
        lease = process.store.claim_lease(ARN, "worker", CLAIMABLE, 15)
        assert lease is not None
        process.store.release_lease(lease, failed=True)
    since: dict[str, float] = {}
    reconcile.reconcile(process, since, STRICT)
    assert standing(process).status != CREATE_FAILED
    clock.now += 11
    reconcile.reconcile(process, since, STRICT)
    assert standing(process).status == CREATE_FAILED


def test_a_version_whose_worker_dies_while_it_is_being_stopped_is_stopped(process: WorkerProcess, clock: Clock) -> None:
    create(process)
    process.store.claim_lease(ARN, "worker", CLAIMABLE, 15)
    process.store.replace(replace(standing(process), status=CREATE_STOPPING))
    clock.now += 16
    reconcile.reconcile(process, {}, STRICT)
    assert standing(process).status == CREATE_STOPPED
    assert sent(process) == []


def test_a_version_being_stopped_without_a_worker_is_stopped(process: WorkerProcess) -> None:
    create(process, status=CREATE_STOPPING, attempt=1)
    reconcile.reconcile(process, {}, STRICT)
    assert standing(process).status == CREATE_STOPPED


def test_a_deletion_that_was_forgotten_is_announced(process: WorkerProcess, clock: Clock) -> None:
    create(process, kind="solution", status=DELETE_PENDING)
    since: dict[str, float] = {}
    reconcile.reconcile(process, since, STRICT)
    clock.now += 11
    reconcile.reconcile(process, since, STRICT)
    assert sent(process) == [Remove(arn=ARN)]


def test_a_campaign_that_no_runtime_takes_fails_after_its_deadline(process: WorkerProcess, clock: Clock) -> None:
    create(process, kind="campaign", status=CREATE_IN_PROGRESS)
    since: dict[str, float] = {}
    for _ in range(50):
        clock.now += 11
        reconcile.reconcile(process, since, STRICT)
        assert standing(process).status == CREATE_IN_PROGRESS
    for _ in range(10):
        clock.now += 11
        reconcile.reconcile(process, since, STRICT)
    assert standing(process).status == CREATE_FAILED
    assert "No runtime" in (standing(process).reason or "")
    assert sent(process) == []


class Odd(MemoryStore):
    """Holds a record that can't be read, and notes of a kind that this release does not know how to apply."""

    unreadable = "arn:aws:personalize:r:a:solution/odd"

    def list_in_progress(self) -> list[str]:
        return [self.unreadable, *super().list_in_progress()]

    def get(self, arn: str) -> Record | None:
        if arn == self.unreadable:
            raise UnreadableRecord(arn)
        return super().get(arn)


def test_neither_a_record_nor_a_note_of_another_release_ends_the_walk(process: WorkerProcess, clock: Clock) -> None:
    store = Odd(clock)
    process = replace(process, store=store)
    store.create(
        Record(arn="arn:x:oracle/o", kind="oracle", status=CREATE_PENDING, created=1.0, updated=1.0), invocation="o"
    )
    create(process, arn="arn:aws:personalize:r:a:solution/s/2")
    create(process, kind="dataset_group", attempt=1)
    for arn in ("arn:x:oracle/o", store.unreadable, ARN):
        store.add_to_outbox(build_outbox_entry(Finished(arn=arn, attempt=1 if arn == ARN else 0)))
    since: dict[str, float] = {}
    aside = Quarantine("reconciler")
    for _ in range(3):
        clock.now += 11
        reconcile.reconcile(process, since, aside)
    assert standing(process).status == ACTIVE
    assert TrainSolutionVersion(arn="arn:aws:personalize:r:a:solution/s/2") in sent(process)
    # They wait for the release that knows them.
    assert [one.message.arn for one in store.list_outbox()] == ["arn:x:oracle/o", store.unreadable]
