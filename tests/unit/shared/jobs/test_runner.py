"""How a worker does a piece of work: with real child processes, whose jobs take no time, and a store in memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from services.status import transitions
from shared.jobs import runner
from shared.jobs.subprocess_pool import JobProcessPool
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
)
from shared.state.messages import (
    Command,
    CompactEvents,
    Fact,
    ImportDataset,
    Message,
    Progressed,
    RunTrial,
    TrainSolutionVersion,
    TuneSolutionVersion,
)
from shared.storage.artifacts import Artifacts
from shared.store import Lease, Record
from shared.store.memory import MemoryStore
from tests.conftest import gone, until
from tests.unit.shared.jobs.sample_jobs import LIMIT, MODULE, PATIENCE


class Applied:
    """Stands where the queue stands: facts are applied as the status service does it, commands kept."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.commands: list[Message] = []
        self.progress: list[Mapping[str, Any]] = []

    def send(self, message: Message) -> None:
        if isinstance(message, Fact):
            transitions.write_transition(self._store, message)
        else:
            self.commands.append(message)
        if isinstance(message, Progressed):
            self.progress.append(message.progress)


class Worker:
    """A training worker's process, and trials for it."""

    def __init__(self, folder: Path) -> None:
        self.store = MemoryStore()
        self.queue: Any = Applied(self.store)
        self.process = WorkerProcess(
            name="training@test:1",
            settings=Settings(child_idle_seconds=PATIENCE),
            store=self.store,
            queue=self.queue,
            artifacts=Artifacts(folder),
            ending=threading.Event(),
        )

    def put(self, arn: str, status: str = CREATE_PENDING) -> None:
        record = Record(arn=arn, kind="trial", status=status, created=1.0, updated=1.0)
        self.store.create(record, invocation=arn)

    def get(self, arn: str) -> Record:
        record = self.store.get(arn)
        assert record is not None
        return record

    def work(self, command: Command) -> Record:
        runner.run_leased(command, self.process, MODULE)
        return self.get(command.arn)

    def done(self, arn: str) -> int:
        """The process that does a job which goes well."""
        self.put(arn)
        record = self.work(TrainSolutionVersion(arn=arn))
        assert record.status == ACTIVE
        return int(record.state["pid"])

    def begun(self, arn: str) -> tuple[threading.Thread, int]:
        """A job that goes on until it is stopped, under way in another thread; and its process."""
        self.put(arn)
        thread = threading.Thread(target=self.work, args=(RunTrial(arn=arn),), daemon=True)
        thread.start()
        until(lambda: self.queue.progress)
        return thread, int(self.queue.progress.pop()["pid"])


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    idle = JobProcessPool()
    monkeypatch.setattr(runner, "_pool", idle)
    monkeypatch.setattr(runner, "RENEW_EVERY", 0.05)
    yield Worker(tmp_path)
    idle.acquire(MODULE).wait_or_kill()


def test_work_that_goes_well_keeps_the_child(worker: Worker) -> None:
    assert worker.done("a") == worker.done("b")


def test_work_that_failed_ends_the_child(worker: Worker) -> None:
    before = worker.done("a")
    worker.put("the box")
    assert worker.work(RunTrial(arn="the box")).reason == "There is nothing in the box."
    assert gone(before)
    assert worker.done("b") != before


def test_work_whose_child_was_killed_is_another_childs(worker: Worker) -> None:
    before = worker.done("a")
    worker.put("b")
    after = worker.work(ImportDataset(arn="b"))
    assert (after.status, after.failures) == (CREATE_IN_PROGRESS, 1)
    assert worker.queue.commands == [ImportDataset(arn="b")]
    assert gone(before)
    assert worker.done("c") != before


def test_work_that_was_stopped_keeps_the_child(worker: Worker) -> None:
    thread, pid = worker.begun("a")
    worker.store.replace(replace(worker.get("a"), status=CREATE_STOPPING))
    thread.join(PATIENCE)
    assert worker.get("a").status == CREATE_STOPPED
    assert worker.done("b") == pid


def test_work_that_was_stopped_before_its_start_was_known_is_ended(worker: Worker) -> None:
    thread, pid = worker.begun("a")
    worker.store.replace(replace(worker.get("a"), status=CREATE_STOPPED))
    thread.join(PATIENCE)
    assert gone(pid)
    assert worker.get("a").status == CREATE_STOPPED


def test_work_that_does_not_stop_is_ended_by_force(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "STOP_SECONDS", 0.1)
    thread, pid = worker.begun("deaf")
    worker.store.replace(replace(worker.get("deaf"), status=CREATE_STOPPING))
    thread.join(PATIENCE)
    assert worker.get("deaf").status == CREATE_STOPPED
    assert gone(pid)


def test_a_worker_that_is_told_to_end_hands_its_work_back_and_keeps_no_child(worker: Worker) -> None:
    thread, pid = worker.begun("a")
    worker.process.ending.set()
    thread.join(PATIENCE)
    assert (worker.get("a").status, worker.get("a").failures) == (CREATE_IN_PROGRESS, 0)
    assert worker.queue.commands == [RunTrial(arn="a")]
    assert worker.store.get_lease("a") is None
    assert gone(pid)


def test_work_that_was_lost_to_another_is_ended(worker: Worker) -> None:
    thread, pid = worker.begun("a")
    lease = worker.store.get_lease("a")
    assert lease is not None
    worker.store.release_lease(lease, failed=True)
    thread.join(PATIENCE)
    assert gone(pid)
    assert worker.get("a").status == CREATE_IN_PROGRESS


COMMANDS = (ImportDataset, CompactEvents, TrainSolutionVersion, RunTrial)


def impatient(worker: Worker, seconds: float, **more: Any) -> int:
    """Let its jobs be silent for no longer. Its child has been started: how long that takes is not what is meant."""
    pid = worker.done("a")
    limits = {command.silence: seconds for command in COMMANDS}
    worker.process = replace(worker.process, settings=replace(worker.process.settings, **limits, **more))
    return pid


def hung(queue: str) -> float:
    return REGISTRY.get_sample_value("foretaste_jobs_total", {"queue": queue, "outcome": "Hung"}) or 0.0


@pytest.mark.parametrize(
    ("command", "arn"),
    [(ImportDataset, "fifo"), (ImportDataset, "stopped"), (TrainSolutionVersion, "stopped"), (RunTrial, "fifo")],
)
def test_a_job_that_hangs_is_killed_counted_and_rung_for_again(
    worker: Worker, command: type[Command], arn: str
) -> None:
    pid, before = impatient(worker, 0.2), hung(command.get_queue_name())
    worker.put(arn)
    after = worker.work(command(arn=arn))
    assert (after.status, after.failures) == (CREATE_IN_PROGRESS, 1)
    assert worker.queue.commands == [command(arn=arn)]
    assert worker.store.get_lease(arn) is None
    assert gone(pid)
    assert hung(command.get_queue_name()) == before + 1


def test_a_job_that_hangs_each_time_fails_and_says_by_which_setting(worker: Worker) -> None:
    impatient(worker, 0.2, max_attempts=1)
    worker.put("fifo")
    failed = worker.work(ImportDataset(arn="fifo"))
    assert failed.status == CREATE_FAILED
    assert "had made no progress for 0.2 seconds" in (failed.reason or "")
    assert "FORETASTE_IMPORT_SILENCE_SECONDS" in (failed.reason or "")


def test_a_job_that_gets_on_is_not_killed_however_long_it_has_nothing_to_tell(worker: Worker) -> None:
    impatient(worker, LIMIT)
    worker.put("slow")
    assert worker.work(RunTrial(arn="slow")).status == ACTIVE


def held(worker: Worker) -> Lease:
    worker.put("a")
    lease = worker.store.claim_lease("a", worker.process.name, CLAIMABLE, 15)
    assert lease is not None
    return lease


def test_a_lease_is_kept_while_the_block_gives_signs_and_no_longer(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease, signs, renewed = held(worker), runner.ActivityTracker(), list[float]()
    settings = replace(worker.process.settings, deploy_silence_seconds=0.5)
    renew = worker.store.renew_lease
    monkeypatch.setattr(worker.store, "renew_lease", lambda *args: (renewed.append(time.monotonic()), renew(*args))[1])
    before = hung("training")
    with runner.keep_lease(replace(worker.process, settings=settings), lease, signs):
        while len(renewed) < 20:  # at 0.05 s: for longer than it may be silent
            signs.record_activity()
            time.sleep(0.01)
        silent = time.monotonic()
        until(lambda: hung("training") == before + 1, 10)
    assert renewed[-1] < silent + 0.6


def test_a_process_whose_work_hangs_ends_and_one_whose_work_does_not_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    monkeypatch.setattr(runner, "end_process", lambda _status: ended.set())
    before = hung("tuning")
    with runner.end_process_if_hung(TuneSolutionVersion(arn="a"), 0.05):
        assert ended.wait(PATIENCE)
    assert hung("tuning") == before + 1
    ended.clear()
    with runner.end_process_if_hung(TuneSolutionVersion(arn="a"), 0.05):
        pass
    assert not ended.wait(0.1)


ENDS = [
    ("training", "Finished"),
    ("importing", "Failed"),
    ("importing", "Died"),
    ("training", "Lost"),
    ("training", "HandedBack"),
]


def counted() -> list[float]:
    found = [
        REGISTRY.get_sample_value("foretaste_jobs_total", {"queue": queue, "outcome": outcome})
        for queue, outcome in ENDS
    ]
    return [number or 0.0 for number in found]


def test_every_attempt_is_counted_by_how_it_ended(worker: Worker) -> None:
    before = counted()
    worker.done("a")
    for command in (ImportDataset(arn="the box"), ImportDataset(arn="b")):
        worker.put(command.arn)
        worker.work(command)
    worker.queue.progress.clear()
    thread, _ = worker.begun("c")
    lease = worker.store.get_lease("c")
    assert lease is not None
    worker.store.release_lease(lease, failed=True)
    thread.join(PATIENCE)
    thread, _ = worker.begun("d")
    worker.process.ending.set()
    thread.join(PATIENCE)
    assert [after - earlier for after, earlier in zip(counted(), before, strict=True)] == [1] * len(ENDS)
    assert (REGISTRY.get_sample_value("foretaste_job_seconds_count", {"queue": "importing"}) or 0) >= 1


def test_work_that_waits_for_other_work_stays_in_progress_and_holds_no_worker(worker: Worker) -> None:
    worker.put("waiting")
    record = worker.work(RunTrial(arn="waiting"))
    assert (record.status, record.failures, record.state["progress"]) == (CREATE_IN_PROGRESS, 0, {"phase": "waiting"})
    # The reconciler sends the command again, as it does for all work without a lease.
    assert worker.store.get_lease("waiting") is None
    assert worker.queue.commands == []
    assert worker.work(RunTrial(arn="waiting")).attempt == record.attempt + 1


def run_upkeep(worker: Worker, arn: str) -> None:
    runner.run_locked(CompactEvents(arn=arn), worker.process, MODULE)


def count_importing(outcome: str) -> float:
    return REGISTRY.get_sample_value("foretaste_jobs_total", {"queue": "importing", "outcome": outcome}) or 0.0


@pytest.mark.parametrize(
    ("arn", "outcome"), [("slow", "Finished"), ("the box", "Failed"), ("b", "Died"), ("fifo", "Hung")]
)
def test_upkeep_is_counted_by_how_it_ended_and_reported_to_no_record(worker: Worker, arn: str, outcome: str) -> None:
    worker.done("a")
    limit = 0.2 if outcome == "Hung" else LIMIT
    worker.process = replace(
        worker.process, settings=replace(worker.process.settings, **{CompactEvents.silence: limit})
    )
    before = count_importing(outcome)
    run_upkeep(worker, arn)
    assert count_importing(outcome) == before + 1
    assert worker.queue.commands == []
    assert worker.store.list_outbox() == []


def test_upkeep_is_one_workers_at_a_time(worker: Worker) -> None:
    worker.store.acquire_lock(f"{CompactEvents.wire}:slow", "another", 60.0)
    before = count_importing("Finished")
    run_upkeep(worker, "slow")
    assert count_importing("Finished") == before


def test_upkeep_whose_lock_is_lost_is_ended_and_upkeep_of_a_worker_that_ends_is_stopped(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for end, outcome in (
        (lambda: monkeypatch.setattr(worker.store, "acquire_lock", lambda *_: False), "Lost"),
        (worker.process.ending.set, "HandedBack"),
    ):
        before = count_importing(outcome)
        thread = threading.Thread(target=run_upkeep, args=(worker, "long"), daemon=True)
        thread.start()
        until(lambda: worker.queue.progress)
        worker.queue.progress.clear()
        end()
        thread.join(PATIENCE)
        assert not thread.is_alive()
        assert count_importing(outcome) == before + 1
        monkeypatch.undo()
        monkeypatch.setattr(runner, "RENEW_EVERY", 0.05)
