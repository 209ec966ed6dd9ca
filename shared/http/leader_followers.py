"""The Leader/Followers pattern for the threads of an HTTP process: one thread, the leader, waits for requests and
answers them, while its followers sleep.

The threads share one interpreter. If one thread waited for requests and handed them to a pool, each request would cost
two switches between threads. At each system call of the answering thread, the waiting one would also wake for an
interpreter that is taken again before it gets there: a queue of three requests then takes twice as long, and grows.
So the leader does both, and promotes a follower only when its request waits for something or computes for longer.
At most as many threads compute at once as there are cores; more would compete for the cores and the interpreter.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

#: A request that has taken so long (seconds) counts as waiting, even if it has not called ``step_aside``.
LONG_REQUEST_SECONDS = 0.1

_this_thread = threading.local()


def step_aside(*, computing: bool = False) -> AbstractContextManager[None]:
    """Let another thread lead while this one waits, or computes without the interpreter lock; use as a context manager.

    With ``computing`` the lead passes on only if a request is waiting. While as many threads compute as there are
    cores, no further request is started.
    """
    group: LeaderFollowers | None = getattr(_this_thread, "group", None)
    return nullcontext() if group is None else group.give_up_lead(computing=computing)


class LeaderFollowers:
    """Up to ``max_threads`` threads: one leads; the rest sleep, or work on requests for which they gave up the lead."""

    def __init__(self, max_threads: int, cores: int, has_waiting: Callable[[], bool]) -> None:
        """``has_waiting`` tells whether a request waits that no thread has started; only the leader calls it."""
        self._max_threads = max_threads
        self._cores = cores
        self._has_waiting = has_waiting
        self._lock = threading.Lock()
        self._lead_ended = threading.Condition(self._lock)
        self._pending: Callable[[], None] | None = None
        self._error: BaseException | None = None
        self._threads = 0
        #: The sleeping threads. The one that fell asleep last is woken first.
        self._followers: list[threading.Condition] = []
        #: The threads that gave up the lead to compute, by identifier.
        self._computing: set[int] = set()
        self._leader: int | None = None
        #: Since when the leader has worked on a request (monotonic seconds); None while it waits for one.
        self._busy_since: float | None = None
        self._closed = False

    def run_as_leader(self, serve: Callable[[], None], seconds: float) -> None:
        """Have one thread lead and run ``serve``. Return when ``serve`` ends or its thread gives up the lead.

        Also return when all threads have been busy for ``seconds``, so that none could start. Raises the error that
        ``serve`` raised.
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
        """Tell whether no thread leads and none is free to; for the caller of ``run_as_leader``."""
        with self._lock:
            return self._leader is None and not self._followers and self._threads >= self._max_threads

    def begin_request(self) -> None:
        """Note that the leader, which calls this, starts a request."""
        self._busy_since = time.monotonic()

    def end_request(self) -> bool:
        """Note that the calling thread has ended its request. Returns whether it still leads."""
        with self._lock:
            if self._leader != threading.get_ident():
                return False
            self._busy_since = None
            return True

    @contextmanager
    def give_up_lead(self, *, computing: bool) -> Iterator[None]:
        """Hand the lead on before the block. The thread does not get it back: the rest of its request is short."""
        if not computing:
            self._resign()
        elif self._has_waiting_request():
            with self._lock:
                self._computing.add(threading.get_ident())
            self._resign()
        yield

    def _has_waiting_request(self) -> bool:
        # Passing on in vain makes single requests a fourth slower: the next one starts on another core, which slept.
        with self._lock:
            if self._leader != threading.get_ident():
                return True
            self._busy_since = time.monotonic()  # so that the lead is not taken away during the call below
        return self._has_waiting()

    def close(self) -> None:
        """End the threads as soon as they have no work."""
        with self._lock:
            self._closed = True
            while self._followers:
                self._followers.pop().notify()

    def _promote_follower(self) -> None:
        """Wake a sleeping thread or start one. If all are busy, the first to end its request leads."""
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
