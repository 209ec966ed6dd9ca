"""The threads of an HTTP process, which take turns where working side by side would only make them slower.

Threads share one interpreter. Eight requests that work at once hand it to and fro at system calls and at numpy's longer
operations, some twenty times a request, and sleep in between. Where requests are short and wait for little it is faster
to do them in a row: one thread works, and goes on with the next job without having slept.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

#: A job that has worked for so long (seconds) waits for something, whether it said so or not: others may begin.
LONG = 0.1

_here = threading.local()


def aside() -> AbstractContextManager[None]:
    """Around what a job waits for, or computes without the interpreter: another may begin meanwhile."""
    turns: Turns | None = getattr(_here, "turns", None)
    return nullcontext() if turns is None else _Aside(turns)


class Turns(Executor):
    """Up to ``threads`` threads, of which ``at_once`` begin jobs side by side; the others have stepped aside."""

    def __init__(self, threads: int) -> None:
        self.at_once = threads
        self._most = threads
        self._jobs: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._threads = 0
        #: Those that sleep and have not been called.
        self._idle = 0
        #: Thread -> since when it has worked (monotonic seconds).
        self._working: dict[int, float] = {}
        self._closed = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        with self._changed:
            if self._closed:
                raise RuntimeError("it was shut down")
            self._jobs.append(lambda: _do(future, lambda: fn(*args, **kwargs)))
            self._call()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002
        """What was submitted is still done, and not waited for: gunicorn waits for connections, not for threads."""
        with self._changed:
            self._closed = True
            self._idle = 0
            self._changed.notify_all()

    def look_after(self) -> None:
        """To be called every second or so: somebody may wait for a job that takes long, and nothing else happens."""
        with self._changed:
            self._call()

    def step_aside(self) -> None:
        with self._changed:
            self._working.pop(threading.get_ident(), None)
            self._call()

    def step_back(self) -> None:
        # Without waiting: for a moment one more works than should begin.
        with self._changed:
            self._working[threading.get_ident()] = time.monotonic()

    def _call(self) -> None:
        """Has a thread come for the next job, if one may begin."""
        if len(self._working) >= self.at_once:
            now = time.monotonic()
            self._working = {one: since for one, since in self._working.items() if now - since < LONG}
        if not self._jobs or len(self._working) >= self.at_once:
            return
        if self._idle:
            self._idle -= 1
            self._changed.notify()
        elif self._threads < self._most:
            self._threads += 1
            threading.Thread(target=self._run, name=f"request-{self._threads}", daemon=True).start()

    def _run(self) -> None:
        _here.turns = self
        me = threading.get_ident()
        while True:
            with self._changed:
                self._working.pop(me, None)
                while not self._jobs or len(self._working) >= self.at_once:
                    if self._closed and not self._jobs:
                        self._changed.notify_all()
                        return
                    self._idle += 1
                    self._changed.wait()
                self._working[me] = time.monotonic()
                job = self._jobs.popleft()
            job()


class _Aside:
    def __init__(self, turns: Turns) -> None:
        self._turns = turns

    def __enter__(self) -> None:
        self._turns.step_aside()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._turns.step_back()


def _do(future: Future[Any], job: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = job()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)
