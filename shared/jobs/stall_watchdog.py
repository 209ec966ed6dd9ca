"""Ends a Celery process that hears nothing any more, so that whoever started it starts it again.

A consumer that went deaf (after several quick restarts of Redis, say) lives and gives signs of life, and its messages
wait for good. The reconciler rings again, but into the same deaf ear.
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

#: A process with nothing to do that leaves messages lying for so long (seconds) is deaf.
STALL_SECONDS = 20.0
CHECK_EVERY = 2.0


class ConsumerWatchdog:
    """When this process last took a message up, and how many it is at."""

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
        """Have messages waited, at every look of late, while nothing was done?"""
        with self._lock:
            if not waiting or self._busy:
                self._quiet_since = None
                return False
            if self._quiet_since is None:
                self._quiet_since = self._clock()
            return self._clock() - self._quiet_since >= STALL_SECONDS


def watch_consumer(
    hearing: ConsumerWatchdog, waiting: Callable[[], int], threads: BackgroundThreads, ending: threading.Event
) -> None:
    """Look from time to time, in the background; a deaf process is ended at once."""

    def look() -> None:
        while not ending.wait(CHECK_EVERY):
            try:
                deaf = hearing.is_stalled(waiting())
            except (redis.exceptions.RedisError, OperationalError, OSError):
                continue  # Nobody hears anything now.
            if deaf:
                log.error("messages wait and none is taken: this process ends, to be started anew")
                os._exit(1)

    threads.start_thread("hearing", look, ending)
