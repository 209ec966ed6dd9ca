"""A worker's job processes, which run jobs one after the other. ``entrypoint.py`` is the code of their side.

Reusing a process saves heavy imports (torch: seconds) for each of forty trials. A process whose job failed, or that was
killed, is not used again; one that is idle for a while is ended, which frees its memory.
"""

from __future__ import annotations

import contextlib
import os
import queue
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

#: A killed process is gone after so long (seconds), unless the system can't end it: it waits for a dead disk.
GONE_SECONDS = 10.0

#: A process is replaced after so many jobs, which frees the leaks of libraries.
MAX_JOBS = 50

#: A job process gets a signal when the thread that started it ends: this thread lives as long as the worker.
_starter = ThreadPoolExecutor(1, "starter")


class JobProcess:
    """A process that runs ``module`` and executes the jobs submitted to it."""

    def __init__(self, module: str) -> None:
        self.module = module
        self.jobs = 0
        self._answers: queue.Queue[bytes | None] = queue.Queue()
        self._process = _starter.submit(
            subprocess.Popen,
            module_with_parent_death_signal(module),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Threads that spin while they wait are far slower as soon as another process needs the cores.
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
        """Submit the next job; ``receive`` returns its answers."""
        self.jobs += 1
        self._send_line({"job": job, "arn": arn, "attempt": attempt})

    def cancel(self) -> None:
        """Ask the current job to stop; the process stays for the next job."""
        self._send_line({"stop": True})

    def _send_line(self, members: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        with contextlib.suppress(BrokenPipeError):  # it has ended: ``receive`` returns that
            self._process.stdin.write(orjson.dumps(members) + b"\n")
            self._process.stdin.flush()

    def receive(self, seconds: float) -> Mapping[str, Any] | None:
        """Return the next answer; None when the process has ended. Raises queue.Empty after so many seconds."""
        line = self._answers.get(timeout=seconds)
        if line is None:
            self._answers.put(None)
            return None
        answer: Mapping[str, Any] = orjson.loads(line)
        return answer

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            # The whole process group, with the processes that it has started.
            os.killpg(self._process.pid, signal.SIGKILL)

    def wait_or_kill(self, patience: float = 0.0) -> int:
        """Wait for its end, then kill it; return its exit status, or minus the signal that ended it."""
        try:
            return self._process.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            self.kill()
        try:
            return self._process.wait(timeout=GONE_SECONDS)
        except subprocess.TimeoutExpired:
            log.exception("job process can't be killed: it waits for the system", pid=self._process.pid)
            return -signal.SIGKILL


class JobProcessPool:
    """The idle job processes of a worker, at most one of each module."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[str, tuple[JobProcess, threading.Timer]] = {}

    def acquire(self, module: str) -> JobProcess:
        """Return the idle process of a module, or start one."""
        with self._lock:
            idle, timer = self._idle.pop(module, (None, None))
        if timer is not None:
            timer.cancel()
        return idle if idle is not None and idle.alive else JobProcess(module)

    def release(self, process: JobProcess, seconds: float) -> None:
        """Keep a process whose job succeeded for so many seconds, for the next job."""
        if process.jobs >= MAX_JOBS or seconds <= 0:
            process.wait_or_kill()
            return
        timer = threading.Timer(seconds, self._end_idle, args=(process,))
        timer.daemon = True
        with self._lock:
            before = self._idle.pop(process.module, None)
            self._idle[process.module] = (process, timer)
        timer.start()
        if before is not None:
            before[1].cancel()
            before[0].wait_or_kill()

    def _end_idle(self, process: JobProcess) -> None:
        with self._lock:
            if self._idle.get(process.module, (None,))[0] is not process:
                return  # acquired, or replaced
            del self._idle[process.module]
        process.wait_or_kill()
