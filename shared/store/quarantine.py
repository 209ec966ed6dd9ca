"""Walks over many entries, which one odd entry does not end: a record that another release wrote, say.

An entry whose turn raises anything is said and counted, and left alone for a while that grows; the walk goes on. What
is Redis' own state (``refusals``) is nobody's fault: it is raised, and the whole round waits.
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

#: An entry that failed is tried again after so long, then after twice that, and so on (seconds).
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
#: One entry is said again at the earliest after so long (seconds).
LOG_EVERY = 60.0
#: So many are remembered; of more the oldest are tried at once.
MAX_ENTRIES = 10_000


@dataclass(frozen=True)
class _Failure:
    times: int
    again_at: float
    said_at: float


class Quarantine:
    """What one walk has set aside. Safe to share between threads."""

    def __init__(self, walk: str, *, longest_pause: float = LONGEST_PAUSE) -> None:
        """``walk`` is the label of the metric. With ``longest_pause`` 0 an entry is tried at each turn."""
        self._walk = walk
        self._longest_pause = longest_pause
        self._failed: OrderedDict[str, _Failure] = OrderedDict()
        self._lock = threading.Lock()

    def run_unless_quarantined(self, entry: str, do: Callable[[], T]) -> T | None:
        """What ``do`` returns; None where it raised, or the entry is left alone. Raises what Redis' state is."""
        failed = self._failed.get(entry)
        if failed is not None and time.monotonic() < failed.again_at:
            return None
        try:
            done = do()
        except Exception as error:
            # Whatever it is: it must not take the turns of the others.
            if redis_errors.is_redis_unavailable(error):
                raise
            self._add_failure(entry, error)
            return None
        if failed is not None:
            with self._lock:
                self._failed.pop(entry, None)
        return done

    def _add_failure(self, entry: str, error: Exception) -> None:
        metrics.count_set_aside(self._walk)
        now = time.monotonic()
        with self._lock:
            before = self._failed.pop(entry, _Failure(times=0, again_at=now, said_at=now - LOG_EVERY))
            times = before.times + 1
            say = now >= before.said_at + LOG_EVERY
            pause = min(FIRST_PAUSE * 2.0 ** min(before.times, 30), self._longest_pause)
            self._failed[entry] = _Failure(times, now + pause, now if say else before.said_at)
            while len(self._failed) > MAX_ENTRIES:
                self._failed.popitem(last=False)
        if say:
            log.error("set aside", walk=self._walk, entry=entry, times=times, exc_info=error)
