"""Work of seconds or hours in one call, above all a query: its caller can end it, and is told while it does something.

Needs DuckDB alone.
"""

from __future__ import annotations

import concurrent.futures
import resource
import time
from collections.abc import Callable
from typing import TypeVar

import duckdb

T = TypeVar("T")

#: Threads that merely wait for each other wake now and then: below this share of a core nothing is done.
MIN_CPU_SHARE = 0.02
#: What is read from or written to disks, in blocks of 512 bytes: less is a page that was fetched back to memory.
MIN_DISK_BLOCKS = 128


def run_cancellable_query(
    connection: duckdb.DuckDBPyConnection, work: Callable[[], T], on_step: Callable[[], None], seconds: float
) -> T:
    """``work()``, which queries ``connection``, in a thread of its own; what ``on_step`` raises ends it.

    ``on_step`` is called as by ``attended``.
    """
    return run_with_steps(work, on_step, seconds, connection.interrupt)


def run_with_steps(
    work: Callable[[], T], on_step: Callable[[], None], seconds: float, interrupt: Callable[[], None] = lambda: None
) -> T:
    """``work()`` in a thread of its own. ``on_step`` is called in the caller's thread, each time that another
    ``seconds`` have passed in which the process did something: one that is blocked, on a disk that does not answer,
    is not told of.

    What ``on_step`` raises comes out when the work has ended, which is ``interrupt``ed again and again.
    """
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(work)
        doings = _ActivityMonitor()
        try:
            while not concurrent.futures.wait([running], seconds).done:
                if doings.has_progressed():
                    on_step()
        except BaseException:
            # The thread may not have begun its query, and an interrupt before that is forgotten.
            while not concurrent.futures.wait([running], 0.05).done:
                interrupt()
            raise
        return running.result()


class _ActivityMonitor:
    """What the other threads of this process do, as the system counts it."""

    def __init__(self) -> None:
        self._looked = time.monotonic()
        self._seconds, self._blocks = self._read_counters()

    def has_progressed(self) -> bool:
        """Have they computed, or read or written a disk, since this was asked last?"""
        before, seconds_before, blocks_before = self._looked, self._seconds, self._blocks
        self._looked = time.monotonic()
        self._seconds, self._blocks = self._read_counters()
        computed = self._seconds - seconds_before >= MIN_CPU_SHARE * (self._looked - before)
        return computed or self._blocks - blocks_before >= MIN_DISK_BLOCKS

    def _read_counters(self) -> tuple[float, int]:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return time.process_time() - time.thread_time(), used.ru_inblock + used.ru_oublock
