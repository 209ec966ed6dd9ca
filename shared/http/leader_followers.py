"""The threads of an HTTP process, of which one at a time has the turn: it waits for requests, and answers them.

Threads share one interpreter. Where one waits for requests and hands them to others, each request is two calls from
thread to thread; and at every system call of who answers, who waits is woken for an interpreter that is taken again
before it has come: a queue of three requests then takes twice as long, and grows. Whoever has the turn does all of
that alone, and passes the turn on only when its request has to wait for something, or computes for longer. No more
compute at once than there are cores: they would take them from each other, and the interpreter.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

#: A request that has been worked on for so long (seconds) waits for something, whether it said so or not.
LONG_REQUEST_SECONDS = 0.1

_this_thread = threading.local()


def step_aside(*, computing: bool = False) -> AbstractContextManager[None]:
    """Around what a request waits for: others are answered meanwhile.

    Or around what it ``computes`` without the interpreter: if others wait by then, they are. While as many that compute
    so are at work as there are cores, no other is begun.
    """
    group: LeaderFollowers | None = getattr(_this_thread, "group", None)
    return nullcontext() if group is None else group.give_up_lead(computing=computing)


class LeaderFollowers:
    """Up to ``most`` threads. All but who has the turn are idle, or have passed it on and are still at work."""

    def __init__(self, max_threads: int, cores: int, has_waiting: Callable[[], bool]) -> None:
        """``waiting`` looks whether there is a request that nobody has begun; who has the turn asks."""
        self._max_threads = max_threads
        self._cores = cores
        self._has_waiting = has_waiting
        self._lock = threading.Lock()
        self._lead_ended = threading.Condition(self._lock)
        self._pending: Callable[[], None] | None = None
        self._error: BaseException | None = None
        self._threads = 0
        #: Those that sleep and have not been called; who fell asleep last is called first.
        self._followers: list[threading.Condition] = []
        #: Those that have passed the turn on, and compute.
        self._computing: set[int] = set()
        self._leader: int | None = None
        #: Since when who has the turn has worked (monotonic seconds); None while it waits for requests.
        self._busy_since: float | None = None
        self._closed = False

    def run_as_leader(self, serve: Callable[[], None], seconds: float) -> None:
        """Has one of the threads do ``serve``, and returns when that is over, or goes on without the turn.

        Or when nobody could begin it for so many seconds, because all are still at work. Raises what it raised.
        """
        until = time.monotonic() + seconds
        with self._lock:
            self._pending = serve
            if len(self._computing) < self._cores:
                self._promote_follower()
            while self._pending is not None or self._leader is not None:
                if self._lead_ended.wait(LONG_REQUEST_SECONDS):
                    continue
                now = time.monotonic()
                if self._pending is not None and now >= until:
                    self._pending = None
                elif self._pending is not None and self._computing:
                    self._computing.clear()
                    self._promote_follower()
                elif self._busy_since is not None and now - self._busy_since >= LONG_REQUEST_SECONDS:
                    self._leader = self._busy_since = None
            error, self._error = self._error, None
        if error is not None:
            raise error

    def is_exhausted(self) -> bool:
        """Whether nobody is left who could take the turn; for who gives it."""
        with self._lock:
            return self._leader is None and not self._followers and self._threads >= self._max_threads

    def begin_request(self) -> None:
        """Who has the turn begins to work on a request."""
        self._busy_since = time.monotonic()

    def end_request(self) -> bool:
        """It has ended; has this thread still the turn?"""
        with self._lock:
            if self._leader != threading.get_ident():
                return False
            self._busy_since = None
            return True

    @contextmanager
    def give_up_lead(self, *, computing: bool) -> Iterator[None]:
        # It does not come back: what is left to do afterwards is short.
        if not computing:
            self._resign()
        elif self._has_waiting_request():
            with self._lock:
                self._computing.add(threading.get_ident())
            self._resign()
        yield

    def _has_waiting_request(self) -> bool:
        # Passed on in vain, it makes lone requests a fourth slower: the next one finds another core, which slept.
        with self._lock:
            if self._leader != threading.get_ident():
                return True
            self._busy_since = time.monotonic()  # the turn is not taken away while this thread looks
        return self._has_waiting()

    def close(self) -> None:
        """Its threads end when they have nothing left to do."""
        with self._lock:
            self._closed = True
            while self._followers:
                self._followers.pop().notify()

    def _promote_follower(self) -> None:
        """One who sleeps, if there is; else who is done first takes the turn."""
        if self._followers:
            self._followers.pop().notify()
        elif self._threads < self._max_threads:
            self._threads += 1
            threading.Thread(target=self._run_thread, name=f"request-{self._threads}", daemon=True).start()

    def _run_thread(self) -> None:
        _this_thread.group = self
        called = threading.Condition(self._lock)
        while True:
            with self._lock:
                self._computing.discard(threading.get_ident())
                while self._pending is None:
                    if self._closed:
                        return
                    self._followers.append(called)
                    called.wait()
                serve, self._pending = self._pending, None
                self._leader = threading.get_ident()
            try:
                serve()
            except BaseException as error:
                self._error = error
            self._resign()

    def _resign(self) -> None:
        with self._lock:
            if self._leader == threading.get_ident():
                self._leader = self._busy_since = None
                self._lead_ended.notify()
