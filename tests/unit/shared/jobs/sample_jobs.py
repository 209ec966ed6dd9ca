"""A child process with jobs that only tests have: ``python -m tests.unit.shared.jobs.sample_jobs``."""

from __future__ import annotations

import ctypes
import os
import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

from shared.jobs.entrypoint import Job, ReportProgress, WorkFailed, WorkPostponed, WorkStopped, run_jobs
from shared.state.messages import CompactEvents, ImportDataset, RunTrial, TrainSolutionVersion

MODULE = "tests.unit.shared.jobs.sample_jobs"
PATIENCE = 30.0
#: For how long a job may be silent in the tests of that (seconds); more than a job says that it gets on.
LIMIT = 1.2


def done(arn: str, attempt: int, progress: ReportProgress, _: Callable[[], bool]) -> Mapping[str, Any]:
    progress({"phase": arn})
    print("what a library prints is no answer")  # noqa: T201
    return {"pid": os.getpid(), "attempt": attempt}


def blocked(arn: str, _attempt: int, progress: ReportProgress, _: Callable[[], bool]) -> Mapping[str, Any]:
    """Waits for the other end of a pipe, or is stopped: what a network file system that is gone does to a job."""
    progress({"pid": os.getpid()})
    if arn == "stopped":
        os.kill(os.getpid(), signal.SIGSTOP)
    with tempfile.TemporaryDirectory() as folder:
        os.mkfifo(f"{folder}/pipe")
        with open(f"{folder}/pipe"):
            return {}


def slow(_arn: str, _attempt: int, _progress: ReportProgress, should_stop: Callable[[], bool]) -> Mapping[str, Any]:
    """Has nothing to tell for longer than a test's limit, but gets on."""
    until = time.monotonic() + 3 * LIMIT  # a test may count half of what is waited
    while time.monotonic() < until:
        should_stop()
        time.sleep(0.01)
    return {"pid": os.getpid()}


def of_kind(arn: str, *rest: Any) -> Mapping[str, Any]:
    """What a job of each kind of command does, by the first word of the resource's name."""
    kinds: Mapping[str, Job] = {
        "waiting": waiting,
        "stopped": blocked,
        "fifo": blocked,
        "slow": slow,
        "the": failed,
        "b": killed,
    }
    return kinds.get(arn.partition(" ")[0], stopped)(arn, *rest)


def failed(arn: str, _attempt: int, _progress: ReportProgress, _should_stop: Callable[[], bool]) -> Mapping[str, Any]:
    faults = {"memory": MemoryError(), "disk": OSError(28, "No space left"), "fault": KeyError("x")}
    raise faults.get(arn, WorkFailed(f"There is nothing in {arn}."))


def waiting(_arn: str, _attempt: int, progress: ReportProgress, _should_stop: Callable[[], bool]) -> Mapping[str, Any]:
    progress({"phase": "waiting"})
    raise WorkPostponed


def killed(_arn: str, _attempt: int, _progress: ReportProgress, _should_stop: Callable[[], bool]) -> Mapping[str, Any]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def stopped(arn: str, _attempt: int, progress: ReportProgress, should_stop: Callable[[], bool]) -> Mapping[str, Any]:
    """Goes on until it is asked to stop; one called "deaf" does not hear it."""
    progress({"pid": os.getpid()})
    while arn == "deaf" or not should_stop():
        time.sleep(0.01)
    raise WorkStopped


def numb(_arn: str, _attempt: int, progress: ReportProgress, _should_stop: Callable[[], bool]) -> Mapping[str, Any]:
    """Keeps the interpreter to itself, as an import of native code does."""
    progress({"pid": os.getpid()})
    ctypes.PyDLL(None).sleep(int(PATIENCE))
    return {}


#: By the names of the commands that a test can send, and by plain ones.
JOBS = {
    "done": done,
    "failed": failed,
    "killed": killed,
    "stopped": stopped,
    "numb": numb,
    TrainSolutionVersion.wire: lambda arn, *rest: (done if len(arn) == 1 else of_kind)(arn, *rest),
    RunTrial.wire: of_kind,
    ImportDataset.wire: of_kind,
    CompactEvents.wire: of_kind,
}

if __name__ == "__main__":
    run_jobs(JOBS)
