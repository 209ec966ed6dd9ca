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
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
#: One that was started again is well when it has run for so long (seconds).
STEADY = 5.0


class Threads:
    """Those of one process."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}

    def start(self, name: str, run: Callable[[], None], ending: threading.Event) -> None:
        """``run`` goes on until ``ending`` is set. ``name`` is the check of /healthz and the label of the metric."""
        self._kept[name] = _Kept(name, run, ending)

    def checks(self) -> Mapping[str, bool]:
        """Which of them are well."""
        return {name: kept.is_well() for name, kept in list(self._kept.items())}


class _Kept:
    def __init__(self, name: str, run: Callable[[], None], ending: threading.Event) -> None:
        self._name = name
        self._run = run
        self._ending = ending
        self._ends = 0
        #: Since when it runs; None between its end and its next start.
        self._since: float | None = time.monotonic()
        self._thread = threading.Thread(target=self._keep, name=name, daemon=True)
        self._thread.start()

    def is_well(self) -> bool:
        if self._ending.is_set():
            return True
        since = self._since
        steady = since is not None and (self._ends == 0 or time.monotonic() >= since + STEADY)
        return steady and self._thread.is_alive()

    def _keep(self) -> None:
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
            steady = time.monotonic() >= self._since + STEADY
            self._ends = 1 if steady else self._ends + 1
            self._since = None
            metrics.thread_ended(self._name)
            self._ending.wait(min(FIRST_PAUSE * 2.0 ** (self._ends - 1), LONGEST_PAUSE))
