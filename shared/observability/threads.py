"""Threads that a process can't do without, in the background for as long as it lives.

One that ends is started again. Until it has run for a while /healthz says so: a process whose thread goes on ending
does not do its work, however well it answers.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

import structlog

from shared.observability import metrics

log = structlog.get_logger()

#: A thread that ended is started again after so long, then after twice that, and so on (seconds).
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
#: One that was started again is well when it has run for so long (seconds).
STEADY_SECONDS = 5.0


class BackgroundThreads:
    """Those of one process."""

    def __init__(self) -> None:
        self._threads: dict[str, _RestartedThread] = {}

    def start_thread(self, name: str, run: Callable[[], None], ending: threading.Event) -> None:
        """``run`` goes on until ``ending`` is set. ``name`` is the check of /healthz and the label of the metric."""
        self._threads[name] = _RestartedThread(name, run, ending)

    def run_checks(self) -> Mapping[str, bool]:
        """Which of them are well."""
        return {name: kept.is_well() for name, kept in list(self._threads.items())}


class _RestartedThread:
    def __init__(self, name: str, run: Callable[[], None], ending: threading.Event) -> None:
        self._name = name
        self._run = run
        self._ending = ending
        self._ends = 0
        #: Since when it runs; None between its end and its next start.
        self._since: float | None = time.monotonic()
        self._thread = threading.Thread(target=self._run_with_restarts, name=name, daemon=True)
        self._thread.start()

    def is_well(self) -> bool:
        if self._ending.is_set():
            return True
        since = self._since
        steady = since is not None and (self._ends == 0 or time.monotonic() >= since + STEADY_SECONDS)
        return steady and self._thread.is_alive()

    def _run_with_restarts(self) -> None:
        while not self._ending.is_set():
            self._since = time.monotonic()
            try:
                self._run()
            except BaseException:
                # SystemExit too: of a thread it is heard by nobody.
                log.exception("a background thread has died", thread=self._name)
            else:
                if self._ending.is_set():
                    return
                log.error("a background thread has ended", thread=self._name)
            steady = time.monotonic() >= self._since + STEADY_SECONDS
            self._ends = 1 if steady else self._ends + 1
            self._since = None
            metrics.count_thread_end(self._name)
            self._ending.wait(min(FIRST_PAUSE_SECONDS * 2.0 ** (self._ends - 1), LONGEST_PAUSE_SECONDS))
