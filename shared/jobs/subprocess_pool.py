"""A worker's child process, which does its jobs one after the other: the worker's side. The child's is ``job.py``.

What is heavy to import (torch: seconds) is imported once, and not for each of forty trials. A child that failed, or
was killed, is not used again; one that has nothing to do for a while is ended and gives its memory back.
"""

from __future__ import annotations

import contextlib
import os
import queue as threads
import signal
import subprocess
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import structlog

from shared.system.parent_death import module_with_parent_death_signal, with_our_packages

log = structlog.get_logger()

#: A child that was killed is gone by then (seconds), unless the system can't end it: it waits for a dead disk.
GONE_SECONDS = 10.0

#: A child is replaced after so many jobs: whatever a library has leaked by then goes with it.
MAX_JOBS = 50

#: Its thread lives as long as this process, and children on its leash with it.
_starter = ThreadPoolExecutor(1, "starter")


class JobProcess:
    """A process that runs ``module`` and takes jobs."""

    def __init__(self, module: str) -> None:
        self.module = module
        self.jobs = 0
        self._answers: threads.Queue[bytes | None] = threads.Queue()
        self._process = _starter.submit(
            subprocess.Popen,
            module_with_parent_death_signal(module),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Threads that wait by spinning are slower by far as soon as anything else wants the cores.
            env={"OMP_WAIT_POLICY": "passive", **with_our_packages(os.environ)},
            start_new_session=True,
        ).result()
        threading.Thread(target=self._read_output, daemon=True).start()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def _read_output(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put(None)

    def submit(self, job: str, arn: str, attempt: int) -> None:
        """Have it do one more job. What it answers is ``heard``."""
        self.jobs += 1
        self._send_line({"job": job, "arn": arn, "attempt": attempt})

    def cancel(self) -> None:
        """The job, not the child."""
        self._send_line({"stop": True})

    def _send_line(self, what: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        with contextlib.suppress(BrokenPipeError):  # it has ended: that is heard
            self._process.stdin.write(orjson.dumps(what) + b"\n")
            self._process.stdin.flush()

    def receive(self, seconds: float) -> Mapping[str, Any] | None:
        """What it said next; None when it has ended. Raises queue.Empty after so many seconds."""
        line = self._answers.get(timeout=seconds)
        if line is None:
            self._answers.put(None)
            return None
        said: Mapping[str, Any] = orjson.loads(line)
        return said

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            # With whatever it has started: it leads its own group.
            os.killpg(self._process.pid, signal.SIGKILL)

    def wait_or_kill(self, patience: float = 0.0) -> int:
        """See it end, by force if need be; returns its exit status, or minus the signal that ended it."""
        try:
            return self._process.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            self.kill()
        try:
            return self._process.wait(timeout=GONE_SECONDS)
        except subprocess.TimeoutExpired:
            log.exception("a child can't be ended: it waits for the system", pid=self._process.pid)
            return -signal.SIGKILL


class JobProcessPool:
    """The children of a worker that wait for their next job, at most one of each module."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[str, tuple[JobProcess, threading.Timer]] = {}

    def acquire(self, module: str) -> JobProcess:
        with self._lock:
            child, timer = self._idle.pop(module, (None, None))
        if timer is not None:
            timer.cancel()
        return child if child is not None and child.alive else JobProcess(module)

    def release(self, child: JobProcess, seconds: float) -> None:
        """Keep a child that has done its job well for so long."""
        if child.jobs >= MAX_JOBS or seconds <= 0:
            child.wait_or_kill()
            return
        timer = threading.Timer(seconds, self._end_idle, args=(child,))
        timer.daemon = True
        with self._lock:
            before = self._idle.pop(child.module, None)
            self._idle[child.module] = (child, timer)
        timer.start()
        if before is not None:
            before[1].cancel()
            before[0].wait_or_kill()

    def _end_idle(self, child: JobProcess) -> None:
        with self._lock:
            if self._idle.get(child.module, (None,))[0] is not child:
                return  # taken, or replaced
            del self._idle[child.module]
        child.wait_or_kill()
