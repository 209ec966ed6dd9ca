"""A quarantine for entries that fail, so that one bad entry (a record that another release wrote, say) stops no loop.

An entry that raises is logged and counted, and skipped for a while that doubles with each failure; the loop goes on
with the next entry. Errors that come from the state of Redis (``redis_errors``) are raised, and the whole loop waits.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import structlog

from shared.observability import metrics
from shared.store import redis_errors

log = structlog.get_logger()

T = TypeVar("T")

#: An entry that failed is tried again after this pause, then after twice that, and so on (seconds).
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
#: The failures of one entry are logged at most this often (seconds).
LOG_EVERY = 60.0
#: How many failed entries are remembered; beyond that the oldest is forgotten and tried at once.
MAX_ENTRIES = 10_000


@dataclass(frozen=True)
class _Failure:
    times: int
    retry_at: float
    logged_at: float


class Quarantine:
    """The failed entries of one loop. Safe to share between threads."""

    def __init__(self, walk: str, *, longest_pause: float = LONGEST_PAUSE) -> None:
        """``walk`` is the label of the metric. With ``longest_pause`` 0 an entry is tried at every call."""
        self._walk = walk
        self._longest_pause = longest_pause
        self._failed: OrderedDict[str, _Failure] = OrderedDict()
        self._lock = threading.Lock()

    def run_unless_quarantined(self, entry: str, do: Callable[[], T]) -> T | None:
        """Return the result of ``do``; None where it raised or the entry is skipped. Raises errors of Redis' state."""
        failed = self._failed.get(entry)
        if failed is not None and time.monotonic() < failed.retry_at:
            return None
        try:
            result = do()
        except Exception as error:
            # No error of one entry may stop the loop over the rest.
            if redis_errors.is_redis_unavailable(error):
                raise
            self._add_failure(entry, error)
            return None
        if failed is not None:
            with self._lock:
                self._failed.pop(entry, None)
        return result

    def _add_failure(self, entry: str, error: Exception) -> None:
        metrics.count_set_aside(self._walk)
        now = time.monotonic()
        with self._lock:
            before = self._failed.pop(entry, _Failure(times=0, retry_at=now, logged_at=now - LOG_EVERY))
            times = before.times + 1
            is_due = now >= before.logged_at + LOG_EVERY
            pause = min(FIRST_PAUSE * 2.0 ** min(before.times, 30), self._longest_pause)
            self._failed[entry] = _Failure(times, now + pause, now if is_due else before.logged_at)
            while len(self._failed) > MAX_ENTRIES:
                self._failed.popitem(last=False)
        if is_due:
            log.error("set aside", walk=self._walk, entry=entry, times=times, exc_info=error)
