"""Background threads that a process needs for as long as it lives.

A thread that ends is restarted, and its check in /healthz fails until it has run for a while: a process that keeps
losing a thread does not do its work, however well it answers requests.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

import structlog

from shared.observability import metrics

log = structlog.get_logger()

#: The pause before the first restart of a thread (seconds); each further restart doubles it, up to the longest.
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
#: A restarted thread is healthy once it has run for so long (seconds).
STEADY_SECONDS = 5.0


class BackgroundThreads:
    """The background threads of one process."""

    def __init__(self) -> None:
        self._threads: dict[str, _RestartedThread] = {}

    def start_thread(self, name: str, run: Callable[[], None], ending: threading.Event) -> None:
        """Start ``run``, which returns once ``ending`` is set. ``name`` names the check of /healthz and the label."""
        self._threads[name] = _RestartedThread(name, run, ending)

    def run_checks(self) -> Mapping[str, bool]:
        """Return for each thread whether it is healthy."""
        return {name: thread.is_healthy() for name, thread in list(self._threads.items())}


class _RestartedThread:
    def __init__(self, name: str, run: Callable[[], None], ending: threading.Event) -> None:
        self._name = name
        self._run = run
        self._ending = ending
        self._restarts = 0
        #: When the thread last started (monotonic seconds); None between its end and its restart.
        self._started: float | None = time.monotonic()
        self._thread = threading.Thread(target=self._run_with_restarts, name=name, daemon=True)
        self._thread.start()

    def is_healthy(self) -> bool:
        if self._ending.is_set():
            return True
        started = self._started
        steady = started is not None and (self._restarts == 0 or time.monotonic() >= started + STEADY_SECONDS)
        return steady and self._thread.is_alive()

    def _run_with_restarts(self) -> None:
        while not self._ending.is_set():
            self._started = time.monotonic()
            try:
                self._run()
            except BaseException:
                # SystemExit too: in a thread it has no effect on the process.
                log.exception("background thread failed", thread=self._name)
            else:
                if self._ending.is_set():
                    return
                log.error("background thread ended", thread=self._name)
            steady = time.monotonic() >= self._started + STEADY_SECONDS
            self._restarts = 1 if steady else self._restarts + 1
            self._started = None
            metrics.count_thread_end(self._name)
            self._ending.wait(min(FIRST_PAUSE_SECONDS * 2.0 ** (self._restarts - 1), LONGEST_PAUSE_SECONDS))
