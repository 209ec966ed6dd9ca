"""A watchdog that ends a Celery process whose consumer has stalled, so that its supervisor restarts it.

A stalled consumer (after several quick restarts of Redis, say) keeps running and sends heartbeats, but receives no
messages any more. The commands that the reconciler sends again wait on the same queue.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

import redis.exceptions
import structlog
from kombu.exceptions import OperationalError

from shared.observability.threads import BackgroundThreads

log = structlog.get_logger()

#: An idle process that leaves messages waiting for so long (seconds) has stalled.
STALL_SECONDS = 20.0
CHECK_EVERY = 2.0


class ConsumerWatchdog:
    """Counts the messages that this process handles, as a context manager around each handler."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._busy = 0
        self._quiet_since: float | None = None

    def __enter__(self) -> None:
        with self._lock:
            self._busy += 1
            self._quiet_since = None

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._busy -= 1
            self._quiet_since = None

    def is_stalled(self, waiting: int) -> bool:
        """Whether messages have waited at every check for STALL_SECONDS while the process was idle."""
        with self._lock:
            if not waiting or self._busy:
                self._quiet_since = None
                return False
            if self._quiet_since is None:
                self._quiet_since = self._clock()
            return self._clock() - self._quiet_since >= STALL_SECONDS


def watch_consumer(
    watchdog: ConsumerWatchdog, count_waiting: Callable[[], int], threads: BackgroundThreads, ending: threading.Event
) -> None:
    """Check the consumer every CHECK_EVERY seconds in the background; end the process at once when it has stalled."""

    def check_until_end() -> None:
        while not ending.wait(CHECK_EVERY):
            try:
                is_stalled = watchdog.is_stalled(count_waiting())
            except (redis.exceptions.RedisError, OperationalError, OSError):
                continue  # Redis is away: no consumer receives anything.
            if is_stalled:
                log.error("consumer stalled: this process exits to be restarted")
                os._exit(1)

    threads.start_thread("hearing", check_until_end, ending)
