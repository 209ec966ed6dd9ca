"""Run long calls, above all DuckDB queries, in a thread: the caller hears of progress and can end them.

The module needs no library but DuckDB.
"""

from __future__ import annotations

import concurrent.futures
import resource
import time
from collections.abc import Callable
from typing import TypeVar

import duckdb

T = TypeVar("T")

#: Threads that only wait for each other wake now and then: a smaller share of a core than this is no work.
MIN_CPU_SHARE = 0.02
#: Disk reads and writes in blocks of 512 bytes: fewer are a page that was fetched back into memory.
MIN_DISK_BLOCKS = 128


def run_cancellable_query(
    connection: duckdb.DuckDBPyConnection, work: Callable[[], T], on_step: Callable[[], None], seconds: float
) -> T:
    """Return ``work()``, which queries ``connection``; an exception of ``on_step`` interrupts the query.

    ``on_step`` is called as in ``run_with_steps``.
    """
    return run_with_steps(work, on_step, seconds, connection.interrupt)


def run_with_steps(
    work: Callable[[], T], on_step: Callable[[], None], seconds: float, interrupt: Callable[[], None] = lambda: None
) -> T:
    """Return ``work()``, run in a thread of its own.

    ``on_step`` is called in the caller's thread after every ``seconds`` in which the process did something. It is not
    called while the process is blocked, as by a disk that does not answer.

    When ``on_step`` raises, ``interrupt`` is called until the work has ended; then the exception is raised.
    """
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(work)
        activity = _ActivityMonitor()
        try:
            while not concurrent.futures.wait([running], seconds).done:
                if activity.has_progressed():
                    on_step()
        except BaseException:
            # DuckDB forgets an interrupt that comes before the thread has begun its query.
            while not concurrent.futures.wait([running], 0.05).done:
                interrupt()
            raise
        return running.result()


class _ActivityMonitor:
    """CPU time and disk transfers of this process's other threads, as the system counts them."""

    def __init__(self) -> None:
        self._read_at = time.monotonic()
        self._seconds, self._blocks = self._read_counters()

    def has_progressed(self) -> bool:
        """Return whether the threads computed, or read or wrote a disk, since the last call."""
        before, seconds_before, blocks_before = self._read_at, self._seconds, self._blocks
        self._read_at = time.monotonic()
        self._seconds, self._blocks = self._read_counters()
        computed = self._seconds - seconds_before >= MIN_CPU_SHARE * (self._read_at - before)
        return computed or self._blocks - blocks_before >= MIN_DISK_BLOCKS

    def _read_counters(self) -> tuple[float, int]:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return time.process_time() - time.thread_time(), used.ru_inblock + used.ru_oublock
