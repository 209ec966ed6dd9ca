"""The store as the requests of a runtime read it: prompt, and remembered until it changes or for when it is away.

    nothing was written since    what it said last is answered, and it is not asked
    it answers                   what it says is answered, and remembered
    it does not                  what it said last is answered; where it was never asked, the request is refused (503)
    it did not just now          as above, at once: one request in PAUSE seconds finds out whether it is back

The store tells what is written (``Changes``), in the order in which it is written, and is listened to before anything
is answered from memory. So no request waits for the store more than once, most do not wait at all, and nobody has to
tell this process that the store is back. An answer of a store that is away says so: the header ``x-foretaste-stale``.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Generic, TypeVar, cast

import redis.exceptions
import structlog

from shared.observability.threads import BackgroundThreads
from shared.store import Interaction, PutRecord, Record, Store

log = structlog.get_logger()

V = TypeVar("V")

#: What a store raises that can't be reached.
UNREACHABLE = (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError)
#: How long a store that did not answer is left alone (seconds).
RETRY_EVERY = 0.5
#: How often what is told is heard where nobody asks (seconds).
LISTEN_EVERY = 1.0
#: The store is asked for the time after so long (seconds): two clocks part by some milliseconds meanwhile.
TIME_MAX_AGE = 60.0
#: What is remembered at most, those forgotten first that were not asked for the longest: records, and live events of
#: users (about 1 KB each). A user counts as one more.
MAX_RECORDS = 20_000
MAX_EVENTS = 100_000

#: Of what a store tells that it has changed: records, further names, and the live events of users.
FAMILIES = ("record", "claim", "recent")


class StoreUnavailable(redis.exceptions.ConnectionError):
    """The store did not answer a moment ago and was not asked again."""


class CachedStore:
    """A ``shared.store.Store``; what is no part of a request goes to ``store`` as it is.

    ``patient`` is asked for what takes long: all put records of a dataset. Where it is the store itself, what was never
    asked is waited for, as long as it takes the store to give up.
    """

    def __init__(
        self,
        store: Store,
        patient: Store,
        families: Collection[str] = FAMILIES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._patient = patient
        self._clock = clock
        self._families = families
        self._invalidations = store.subscribe_invalidations(families)
        self._records: _LruCache[Record | None] = _LruCache(MAX_RECORDS, lambda _: 1)
        self._holders: _LruCache[str | None] = _LruCache(MAX_RECORDS, lambda _: 1)
        self._recent: _LruCache[list[Interaction]] = _LruCache(MAX_EVENTS, lambda live: 1 + len(live))
        self._seen: _LruCache[Mapping[str, Mapping[str, float]]] = _LruCache(
            MAX_EVENTS, lambda types: 1 + sum(map(len, types.values()))
        )
        self._invalidation_lock = threading.Lock()
        self._lock = threading.Lock()
        self._unavailable_since: float | None = None
        self._retry_at = 0.0
        #: When it was asked by this process's clock, which no hand sets, and what it said.
        self._time_asked: tuple[float, float] | None = None
        self._request = RequestReads()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def now(self) -> float:
        """By the store's clock, as it was last asked: no request waits for the time."""
        time_asked = self._time_asked
        if time_asked is None or self._clock() >= time_asked[0] + TIME_MAX_AGE:
            with suppress(*UNREACHABLE):
                self._time_asked = time_asked = (self._clock(), self._call_store(self._store.now))
        if time_asked is None:
            return time.time()
        at, then = time_asked
        return then + self._clock() - at

    def get(self, arn: str) -> Record | None:
        # That there was none is remembered too: many a dataset group has no Items.
        return self._read_through(self._records, f"record:{arn}", lambda: self._store.get(arn))

    def find_claim_holder(self, claim: str) -> str | None:
        return self._read_through(self._holders, f"claim:{claim}", lambda: self._store.find_claim_holder(claim))

    def get_recent_interactions(self, dataset: str, user_id: str) -> list[Interaction]:
        key = f"recent:{dataset}:{user_id}"
        return self._read_through(self._recent, key, lambda: self._store.get_recent_interactions(dataset, user_id))

    def get_seen_items(self, dataset: str, user_id: str) -> Mapping[str, Mapping[str, float]]:
        key = f"recent:{dataset}:{user_id}"
        return self._read_through(self._seen, key, lambda: self._store.get_seen_items(dataset, user_id))

    def list_page(
        self,
        kind: str,
        parent: str | None = None,
        *,
        after: str | None = None,
        limit: int = 100,
        whole: bool = False,
    ) -> tuple[list[Record], str | None]:
        rows, more = self._call_store(
            lambda: self._store.list_page(kind, parent, after=after, limit=limit, whole=whole)
        )
        for record in rows:
            self._records.add_stale(f"record:{record.arn}", record)
        return rows, more

    def save_impression(self, dataset: str, recommendation_id: str, impression: str) -> None:
        # No request fails by what it leaves for later.
        with suppress(*UNREACHABLE):
            self._call_store(lambda: self._store.save_impression(dataset, recommendation_id, impression))

    def get_last_put(self, dataset: str) -> float:
        return self._call_store(lambda: self._store.get_last_put(dataset))

    def iter_put_records(self, dataset: str) -> Iterator[PutRecord]:
        self._call_store(self._store.ping)
        return self._patient.iter_put_records(dataset)

    def start_listening(self, threads: BackgroundThreads, ending: threading.Event) -> None:
        """Hears what is told also where nobody asks: the store keeps for this process what it has not heard."""
        threads.start_thread("listening", partial(self._listen_until_end, ending), ending)

    def _listen_until_end(self, ending: threading.Event) -> None:
        while not ending.is_set():
            with suppress(*UNREACHABLE):
                self._apply_invalidations()
            ending.wait(LISTEN_EVERY)

    @contextmanager
    def track_request(self) -> Iterator[RequestReads]:
        """Mark what this thread reads from here on as one request's: within it, invalidations are read once."""
        self._request.begin()
        try:
            yield self._request
        finally:
            self._request.end()

    def _read_through(self, memory: _LruCache[V], key: str, ask: Callable[[], V]) -> V:
        try:
            self._apply_invalidations()
            found, known = memory.get_fresh(key)
            if known:
                return cast(V, found)
            asking = memory.begin_read(key) if key.partition(":")[0] in self._families else None
            found = self._call_store(ask)
            memory.save_read(key, found, asking)
        except UNREACHABLE:
            return self._get_stale(memory, key, ask)
        return found

    def _apply_invalidations(self) -> None:
        """Lets go of what has changed, once a request. Raises what the store raises, and Away."""
        if self._request.invalidations_read:
            return
        # Whoever answers from memory has heard all that was told before: they wait for who is listening.
        with self._invalidation_lock:
            changed = self._call_store(self._invalidations.read_changed_keys)
            for memory in (self._records, self._holders, self._recent, self._seen):
                memory.invalidate(changed)
        self._request.invalidations_read = self._request.begun

    def _call_store(self, ask: Callable[[], V]) -> V:
        """Raises what the store raises, and Away."""
        self._check_circuit()
        try:
            found = ask()
        except UNREACHABLE as error:
            self._open_circuit(error)
            raise
        if self._unavailable_since is not None:
            self._close_circuit()
        return found

    def _check_circuit(self) -> None:
        if self._unavailable_since is None:
            return
        with self._lock:
            now = self._clock()
            if self._unavailable_since is not None and now < self._retry_at:
                self._request.stale = now - self._unavailable_since
                raise StoreUnavailable("the store does not answer")
            self._retry_at = now + RETRY_EVERY

    def _open_circuit(self, error: Exception) -> None:
        with self._lock:
            now = self._clock()
            self._retry_at = now + RETRY_EVERY
            if self._unavailable_since is None:
                self._unavailable_since = now
                log.warning("the store does not answer: requests go on with what is remembered", reason=str(error))
            self._request.stale = now - self._unavailable_since

    def _close_circuit(self) -> None:
        with self._lock:
            if self._unavailable_since is not None:
                log.info("the store answers again", seconds=round(self._clock() - self._unavailable_since, 1))
            self._unavailable_since = None

    def _get_stale(self, memory: _LruCache[V], key: str, ask: Callable[[], V]) -> V:
        """Raises Away, and what a patient store raises."""
        try:
            return memory[key]
        except KeyError:
            if self._patient is self._store:
                return ask()
            raise StoreUnavailable("the store does not answer, and was not asked this before") from None


class RequestReads(threading.local):
    """What is known of the request that this thread is at; outside of one it is nothing."""

    begun = False
    invalidations_read = False
    stale: float | None = None
    """How long the store had been away (seconds) when this request read from memory; None: it read nothing stale."""

    def begin(self) -> None:
        self.begun, self.invalidations_read, self.stale = True, False, None

    def end(self) -> None:
        self.begun = self.invalidations_read = False


class _LruCache(Generic[V]):
    """What was last known, up to ``most`` by the size of each. Safe to share between threads."""

    def __init__(self, most: int, size: Callable[[V], int]) -> None:
        self._most = most
        self._size = size
        self._values: OrderedDict[str, V] = OrderedDict()
        self._all = 0
        self._lock = threading.Lock()
        #: Of what is kept: nothing was written since it was read.
        self._fresh: set[str] = set()
        #: Who has asked last for what is not unchanged. What is written before the answer comes takes them out.
        self._reads: dict[str, object] = {}

    def __getitem__(self, key: str) -> V:
        return self._values[key]

    def get_fresh(self, key: str) -> tuple[V | None, bool]:
        """What is kept, and whether that is what the store would say."""
        with self._lock:
            if key not in self._fresh:
                return None, False
            self._values.move_to_end(key)
            return self._values[key], True

    def invalidate(self, keys: Sequence[str] | None) -> None:
        """None: all."""
        if keys is not None and not keys:
            return
        with self._lock:
            if keys is None:
                self._fresh.clear()
                self._reads.clear()
                return
            for key in keys:
                self._fresh.discard(key)
                self._reads.pop(key, None)

    def begin_read(self, key: str) -> object:
        """To be called before the store is asked; what it returns goes to ``keep``."""
        with self._lock:
            asking = self._reads[key] = object()
        return asking

    def save_read(self, key: str, value: V, asking: object | None) -> None:
        with self._lock:
            if asking is not None and self._reads.get(key) is asking:
                del self._reads[key]
                self._fresh.add(key)
            elif key in self._fresh:
                return  # somebody asked later, and has heard already
            self._put_value(key, value)

    def add_stale(self, key: str, value: V) -> None:
        """What was said to another question, and may have changed since."""
        with self._lock:
            if key not in self._fresh:
                self._put_value(key, value)

    def _put_value(self, key: str, value: V) -> None:
        if key in self._values:
            self._all -= self._size(self._values.pop(key))
        self._values[key] = value
        self._all += self._size(value)
        while self._all > self._most:
            oldest, gone = self._values.popitem(last=False)
            self._fresh.discard(oldest)
            self._all -= self._size(gone)
