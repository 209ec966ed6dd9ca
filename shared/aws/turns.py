"""The threads of an HTTP process, of which one at a time has the turn: it waits for requests, and answers them.

Threads share one interpreter. Where one waits for requests and hands them to others, each request is two calls from
thread to thread; and at every system call of who answers, who waits is woken for an interpreter that is taken again
before it has come: a queue of three requests then takes twice as long, and grows. Whoever has the turn does all of
that alone, and passes the turn on only when its request has to wait for something.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

#: A request that has been worked on for so long (seconds) waits for something, whether it said so or not.
LONG = 0.1

_here = threading.local()


def aside() -> AbstractContextManager[None]:
    """Around what a request waits for, or computes without the interpreter: others are answered meanwhile."""
    turns: Turns | None = getattr(_here, "turns", None)
    return nullcontext() if turns is None else turns.passed_on()


class Turns:
    """Up to ``most`` threads. All but who has the turn are idle, or have passed it on and are still at work."""

    def __init__(self, most: int) -> None:
        self._most = most
        lock = threading.Lock()
        self._called, self._over = threading.Condition(lock), threading.Condition(lock)
        self._round: Callable[[], None] | None = None
        self._error: BaseException | None = None
        self._threads = 0
        #: Those that sleep and have not been called.
        self._idle = 0
        self._whose: int | None = None
        #: Since when who has the turn has worked (monotonic seconds); None while it waits for requests.
        self._since: float | None = None
        self._closed = False

    def give(self, round_: Callable[[], None], seconds: float) -> None:
        """Has one of the threads do ``round_``, and returns when that is over, or goes on without the turn.

        Or when nobody could begin it for so many seconds, because all are still at work. Raises what it raised.
        """
        until = time.monotonic() + seconds
        with self._called:
            self._round = round_
            if self._idle:
                self._idle -= 1
                self._called.notify()
            elif self._threads < self._most:
                self._threads += 1
                threading.Thread(target=self._run, name=f"request-{self._threads}", daemon=True).start()
            while self._round is not None or self._whose is not None:
                if self._over.wait(LONG):
                    continue
                now = time.monotonic()
                if self._round is not None and now >= until:
                    self._round = None
                elif self._since is not None and now - self._since >= LONG:
                    self._whose = self._since = None
            error, self._error = self._error, None
        if error is not None:
            raise error

    def begin(self) -> None:
        """Who has the turn begins to work on a request."""
        self._since = time.monotonic()

    def end(self) -> bool:
        """It has ended; has this thread still the turn?"""
        with self._called:
            if self._whose != threading.get_ident():
                return False
            self._since = None
            return True

    @contextmanager
    def passed_on(self) -> Iterator[None]:
        # It does not come back: what is left to do afterwards is short.
        self._pass_on()
        yield

    def close(self) -> None:
        """Its threads end when they have nothing left to do."""
        with self._called:
            self._closed = True
            self._idle = 0
            self._called.notify_all()

    def _run(self) -> None:
        _here.turns = self
        while True:
            with self._called:
                while self._round is None:
                    if self._closed:
                        return
                    self._idle += 1
                    self._called.wait()
                round_, self._round = self._round, None
                self._whose = threading.get_ident()
            try:
                round_()
            except BaseException as error:
                self._error = error
            self._pass_on()

    def _pass_on(self) -> None:
        with self._called:
            if self._whose == threading.get_ident():
                self._whose = self._since = None
                self._over.notify()
