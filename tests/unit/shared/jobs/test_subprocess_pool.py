"""A worker's child process, with real processes and jobs that take no time."""

from __future__ import annotations

import queue
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from shared.jobs import subprocess_pool as children
from shared.jobs.subprocess_pool import JobProcess, JobProcessPool
from tests.conftest import ROOT, gone, until
from tests.unit.shared.jobs.sample_jobs import MODULE, PATIENCE


@pytest.fixture
def child() -> Iterator[JobProcess]:
    started = JobProcess(MODULE)
    yield started
    started.wait_or_kill()


def answers(child: JobProcess, job: str, arn: str = "a", attempt: int = 1) -> list[Mapping[str, Any] | None]:
    """All that it says of a job."""
    child.submit(job, arn, attempt)
    said = [child.receive(PATIENCE)]
    while said[-1] is not None and "progress" in said[-1]:
        said.append(child.receive(PATIENCE))
    return said


# One child


def test_it_does_one_job_after_the_other_in_one_process(child: JobProcess) -> None:
    first = answers(child, "done", "a", 1)
    second = answers(child, "done", "b", 7)
    pid = child._process.pid
    assert first == [{"progress": {"phase": "a"}}, {"finished": {"pid": pid, "attempt": 1}}]
    assert second == [{"progress": {"phase": "b"}}, {"finished": {"pid": pid, "attempt": 7}}]
    assert (child.jobs, child.alive) == (2, True)


@pytest.mark.parametrize(
    ("arn", "reason"),
    [
        ("the box", "There is nothing in the box."),
        ("memory", "The work needs more memory than the worker has."),
        ("disk", "The worker's system refused what the work needs: No space left."),
        ("fault", "An internal error ended the work (KeyError). The worker's log says more."),
    ],
)
def test_it_says_why_a_job_failed(child: JobProcess, arn: str, reason: str) -> None:
    assert answers(child, "failed", arn) == [{"failed": reason}]


def test_a_stop_ends_the_job_that_runs_and_no_other(child: JobProcess) -> None:
    child.submit("stopped", "a", 1)
    assert child.receive(PATIENCE) == {"progress": {"pid": child._process.pid}}
    child.cancel()
    assert child.receive(PATIENCE) == {"stopped": True}
    child.cancel()  # came too late, and means the one before
    child.submit("stopped", "b", 1)
    assert child.receive(PATIENCE) == {"progress": {"pid": child._process.pid}}
    with pytest.raises(queue.Empty):
        child.receive(0.2)
    child.cancel()
    assert child.receive(PATIENCE) == {"stopped": True}


def test_one_that_was_killed_is_heard_to_have_ended_however_often_one_asks(child: JobProcess) -> None:
    assert answers(child, "killed") == [None]
    assert child.receive(0) is None
    assert child.wait_or_kill(PATIENCE) == -signal.SIGKILL
    child.cancel()  # does no harm


@pytest.mark.parametrize(
    "job",
    ["done", "stopped", pytest.param("numb", marks=pytest.mark.skipif(sys.platform != "linux", reason="of Linux"))],
)
def test_it_ends_when_its_worker_has_died(job: str) -> None:
    """Busy or idle, or unable to listen: whoever takes the work up next must not find it there."""
    worker = f"""
import time
from shared.jobs.subprocess_pool import JobProcess
process = JobProcess({MODULE!r})
process.submit({job!r}, "deaf", 1)
process.receive({PATIENCE})
print(process._process.pid, flush=True)
time.sleep({PATIENCE})
"""
    with subprocess.Popen([sys.executable, "-c", worker], stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert not gone(pid)
        process.kill()
    until(lambda: gone(pid), PATIENCE / 3)


# Children that wait


def test_a_child_is_used_again_and_a_dead_one_is_not() -> None:
    idle = JobProcessPool()
    first = idle.acquire(MODULE)
    idle.release(first, PATIENCE)
    assert idle.acquire(MODULE) is first
    assert idle.acquire(MODULE) is not first  # it is at work
    idle.release(first, PATIENCE)
    first.kill()
    until(lambda: not first.alive)
    second = idle.acquire(MODULE)
    assert second is not first
    assert second.alive
    second.wait_or_kill()


def test_of_two_that_come_back_one_is_kept() -> None:
    idle = JobProcessPool()
    first, second = idle.acquire(MODULE), idle.acquire(MODULE)
    idle.release(first, PATIENCE)
    idle.release(second, PATIENCE)
    assert not first.alive
    assert idle.acquire(MODULE) is second
    second.wait_or_kill()


def test_an_idle_child_is_dismissed() -> None:
    idle = JobProcessPool()
    child = idle.acquire(MODULE)
    idle.release(child, 0.05)
    until(lambda: not child.alive)
    again = idle.acquire(MODULE)
    assert again is not child
    idle.release(again, 0.0)
    assert not again.alive


def test_a_child_is_replaced_after_so_many_jobs(monkeypatch: pytest.MonkeyPatch, child: JobProcess) -> None:
    monkeypatch.setattr(children, "MAX_JOBS", 2)
    idle = JobProcessPool()
    answers(child, "done")
    idle.release(child, PATIENCE)
    assert idle.acquire(MODULE) is child
    answers(child, "done")
    idle.release(child, PATIENCE)
    assert not child.alive
