"""Help with work that another worker has claimed: with real child processes, and a store in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog.testing

from shared.jobs import runner
from shared.jobs.helper_runner import run_helper
from shared.jobs.subprocess_pool import JobProcessPool
from shared.jobs.worker_process import WorkerProcess
from shared.settings import Settings
from shared.state.lifecycle import ACTIVE, CREATE_IN_PROGRESS
from shared.state.messages import Command, RunTrial, TrainSolutionVersion
from shared.storage.artifacts import Artifacts
from shared.store import Record
from shared.store.memory import MemoryStore
from tests.conftest import until
from tests.unit.shared.jobs.sample_jobs import MODULE


class Silent:
    """A queue to which a helper must send nothing."""

    def send(self, message: Any) -> None:
        raise AssertionError(message)


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerProcess]:
    pool = JobProcessPool()
    monkeypatch.setattr(runner, "_pool", pool)
    ending = threading.Event()
    queue: Any = Silent()
    yield WorkerProcess(
        name="inference@test:1",
        settings=Settings(child_idle_seconds=0, trial_silence_seconds=30),
        store=MemoryStore(),
        queue=queue,
        artifacts=Artifacts(tmp_path),
        ending=ending,
    )
    ending.set()


def put(process: WorkerProcess, arn: str, status: str = CREATE_IN_PROGRESS) -> Record:
    record = Record(arn=arn, kind="trial", status=status, created=1.0, updated=1.0, attempt=7)
    process.store.create(record, invocation=arn)
    found = process.store.get(arn)
    assert found is not None
    return found


def run(process: WorkerProcess, command: Command) -> list[Any]:
    with structlog.testing.capture_logs() as logged:
        run_helper(command, process, MODULE)
    return [line["event"] for line in logged]


def test_it_runs_next_to_the_lease_and_reports_nothing(process: WorkerProcess) -> None:
    put(process, "a")
    lease = process.store.claim_lease("a", "another", frozenset({CREATE_IN_PROGRESS}), 60)
    assert lease is not None
    assert run(process, TrainSolutionVersion(arn="a")) == []
    held = process.store.get_lease("a")
    assert held is not None
    assert (held.worker, held.attempt) == ("another", lease.attempt)


@pytest.mark.parametrize("arn", ["the model", "b"])
def test_its_failure_is_logged_and_leaves_the_work_as_it_is(process: WorkerProcess, arn: str) -> None:
    before = put(process, arn)
    assert "help ended early" in run(process, RunTrial(arn=arn))
    assert process.store.get(arn) == before


def start_helper(process: WorkerProcess, arn: str) -> threading.Thread:
    """Start a helper, which is at work when this returns."""
    looks: list[str] = []
    get = process.store.get

    def look(arn: str) -> Record | None:
        looks.append(arn)
        return get(arn)

    process.store.get = look  # type: ignore[method-assign]
    helper = threading.Thread(target=run_helper, args=(RunTrial(arn=arn), process, MODULE))
    helper.start()
    until(lambda: len(looks) > 1, 20, "the helper to be monitored")
    return helper


def test_work_that_has_ended_needs_no_help(process: WorkerProcess) -> None:
    put(process, "slow", ACTIVE)
    assert run(process, RunTrial(arn="slow")) == ["no work to help with"]
    assert run(process, RunTrial(arn="unknown")) == ["no work to help with"]


def test_it_ends_with_the_work_that_it_helps_with(process: WorkerProcess) -> None:
    record = put(process, "endless")
    helper = start_helper(process, "endless")
    process.store.remove(record)
    helper.join(20)
    assert not helper.is_alive()


def test_what_it_has_written_after_the_end_of_the_work_is_discarded(process: WorkerProcess) -> None:
    record = put(process, "endless")
    helper = start_helper(process, "endless")
    (process.artifacts.create_workspace("endless") / "part").touch()
    process.store.replace(replace(record, status=ACTIVE))
    helper.join(20)
    assert not helper.is_alive()
    assert not process.artifacts.get_workspace("endless").exists()


def test_it_ends_when_its_worker_is_told_to_end(process: WorkerProcess) -> None:
    put(process, "endless")
    process.ending.set()
    assert "help ended early" in run(process, RunTrial(arn="endless"))
