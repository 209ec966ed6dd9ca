"""A walk of the status service: made every so often, by one process at a time, until the process ends.

What walks is idempotent and may run anywhere, any number of times: the lock only spares the others the work.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import structlog

from shared.jobs.worker_process import WorkerProcess, get_current_process
from shared.store import redis_errors

log = structlog.get_logger()

#: The lock passes on when its owner has been silent for so long after a round was due (seconds).
SILENCE = 4.0


def run_periodically(name: str, every: float, walk: Callable[[WorkerProcess], None]) -> None:
    """Walk every so many seconds, in a thread of its own."""
    process = get_current_process()
    process.threads.start_thread(name, partial(_run_until_end, process, name, every, walk), process.ending)


def _run_until_end(process: WorkerProcess, name: str, every: float, walk: Callable[[WorkerProcess], None]) -> None:
    while not process.ending.wait(every):
        try:
            if process.store.acquire_lock(name, process.name, every + SILENCE):
                walk(process)
        except Exception as error:
            # The state of Redis passes; anything else ends the thread, which is said, and started again.
            if not redis_errors.is_redis_unavailable(error):
                raise
            log.warning("a round waits for Redis", round=name, reason=str(error))
