"""Periodic tasks of the status service, each run by one process at a time.

A task is idempotent and may run in several processes at once: the lock only saves the other processes the work.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import structlog

from shared.jobs.worker_process import WorkerProcess, get_current_process
from shared.store import redis_errors

log = structlog.get_logger()

#: How long after a missed round another process takes over the lock (seconds).
SILENCE = 4.0


def run_periodically(name: str, every: float, task: Callable[[WorkerProcess], None]) -> None:
    """Run a task every so many seconds in a background thread. ``name`` names the thread and the lock."""
    process = get_current_process()
    process.threads.start_thread(name, partial(_run_until_end, process, name, every, task), process.ending)


def _run_until_end(process: WorkerProcess, name: str, every: float, task: Callable[[WorkerProcess], None]) -> None:
    while not process.ending.wait(every):
        try:
            if process.store.acquire_lock(name, process.name, every + SILENCE):
                task(process)
        except Exception as error:
            # The state of Redis passes; any other error ends the thread, which logs it and restarts.
            if not redis_errors.is_redis_unavailable(error):
                raise
            log.warning("periodic task waits for Redis", round=name, reason=str(error))
