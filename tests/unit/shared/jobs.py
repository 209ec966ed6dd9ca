"""A child process with jobs that only tests have: ``python -m tests.unit.shared.jobs``."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

from shared.job import Progress, WorkFailed, WorkStopped, child
from shared.messages import ImportDataset, RunTrial, TrainSolutionVersion, TuneSolutionVersion

MODULE = "tests.unit.shared.jobs"
PATIENCE = 30.0


def done(arn: str, attempt: int, progress: Progress, _: Callable[[], bool]) -> Mapping[str, Any]:
    progress({"phase": arn})
    print("what a library prints is no answer")  # noqa: T201
    return {"pid": os.getpid(), "attempt": attempt}


def failed(arn: str, _attempt: int, _progress: Progress, _should_stop: Callable[[], bool]) -> Mapping[str, Any]:
    faults = {"memory": MemoryError(), "disk": OSError(28, "No space left"), "fault": KeyError("x")}
    raise faults.get(arn, WorkFailed(f"There is nothing in {arn}."))


def killed(_arn: str, _attempt: int, _progress: Progress, _should_stop: Callable[[], bool]) -> Mapping[str, Any]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def stopped(arn: str, _attempt: int, progress: Progress, should_stop: Callable[[], bool]) -> Mapping[str, Any]:
    """Goes on until it is asked to stop; one called "deaf" does not hear it."""
    progress({"pid": os.getpid()})
    while arn == "deaf" or not should_stop():
        time.sleep(0.01)
    raise WorkStopped


def numb(_arn: str, _attempt: int, progress: Progress, _should_stop: Callable[[], bool]) -> Mapping[str, Any]:
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
    TrainSolutionVersion.wire: done,
    RunTrial.wire: stopped,
    TuneSolutionVersion.wire: failed,
    ImportDataset.wire: killed,
}

if __name__ == "__main__":
    child(JOBS)
