"""The store as the requests of a runtime read it: behind a cache and a circuit breaker.

    the cached answer is fresh      it is returned; the store is not asked
    the store answers               its answer is returned and cached
    the store does not answer       the last answer is returned, stale; a request for an uncached key is refused (503)
    the circuit is open             the same, without asking; one request every RETRY_EVERY seconds tries the store

The store sends the keys that are written (``Invalidations``) in the order of the writes, and the cache reads them
before it answers. So a request waits for the store at most once, most requests do not wait at all, and the process
notices by itself that the store is back. A stale answer carries the header ``x-foretaste-stale``.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Generic, TypeVar, cast

import redis.exceptions
import structlog

from shared.observability.threads import BackgroundThreads
from shared.store import Interaction, PutRecord, Record, SeenItems, Store
from shared.store.live_files import ByGeneration, LiveFile

log = structlog.get_logger()

V = TypeVar("V")

#: The errors of a store that can't be reached.
UNREACHABLE = (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError)
#: How long the circuit stays open before one request tries the store again (seconds).
RETRY_EVERY = 0.5
#: How often invalidations are read while no request comes (seconds).
LISTEN_EVERY = 1.0
#: How long the store's time is extrapolated (seconds): two clocks drift apart by some milliseconds in it.
TIME_MAX_AGE = 60.0
#: The size of the caches, least recently used entries evicted first: records, and live events of users (about 1 KB
#: each). A user counts as one more event.
MAX_RECORDS = 20_000
MAX_EVENTS = 100_000

#: The key families whose invalidations are followed: records, claimed names, and the live events of users.
FAMILIES = ("record", "claim", "recent")


class StoreUnavailable(redis.exceptions.ConnectionError):
    """The store did not answer a moment ago, so that it was not asked again: the circuit is open."""


class CachedStore:
    """A ``shared.store.Store`` with a cache and a circuit breaker; all other methods go to ``store`` unchanged.

    ``patient`` is a store with longer timeouts, for the long reads: all put records of a dataset. Where it is ``store``
    itself, a read of an uncached key waits until the store answers or gives up.
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
        self._recent: _LruCache[ByGeneration[list[Interaction]]] = _LruCache(
            MAX_EVENTS, lambda live: 1 + sum(len(part) for _, part in live.parts)
        )
        self._seen: _LruCache[ByGeneration[SeenItems]] = _LruCache(
            MAX_EVENTS, lambda live: 1 + sum(len(items) for _, types in live.parts for items in types.values())
        )
        self._invalidation_lock = threading.Lock()
        self._lock = threading.Lock()
        self._unavailable_since: float | None = None
        self._retry_at = 0.0
        #: The monotonic time of the last question for the store's time, and the answer.
        self._time_asked: tuple[float, float] | None = None
        self._request = RequestReads()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def now(self) -> float:
        """Extrapolate the store's time from its last answer, so that no request waits for the time."""
        time_asked = self._time_asked
        if time_asked is None or self._clock() >= time_asked[0] + TIME_MAX_AGE:
            with suppress(*UNREACHABLE):
                self._time_asked = time_asked = (self._clock(), self._call_store(self._store.now))
        if time_asked is None:
            return time.time()
        at, then = time_asked
        return then + self._clock() - at

    def get(self, arn: str) -> Record | None:
        # None is cached too: many dataset groups have no Items.
        return self._read_through(self._records, f"record:{arn}", lambda: self._store.get(arn))

    def find_claim_holder(self, claim: str) -> str | None:
        return self._read_through(self._holders, f"claim:{claim}", lambda: self._store.find_claim_holder(claim))

    def get_recent_interactions(self, dataset: str, user_id: str) -> ByGeneration[list[Interaction]]:
        key = f"recent:{dataset}:{user_id}"
        return self._read_through(self._recent, key, lambda: self._store.get_recent_interactions(dataset, user_id))

    def get_seen_items(self, dataset: str, user_id: str) -> ByGeneration[SeenItems]:
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
        # A request must not fail because its impression is lost.
        with suppress(*UNREACHABLE):
            self._call_store(lambda: self._store.save_impression(dataset, recommendation_id, impression))

    def list_live_files(self, dataset: str) -> Sequence[LiveFile]:
        return self._call_store(lambda: self._store.list_live_files(dataset))

    def get_last_put(self, dataset: str) -> float:
        return self._call_store(lambda: self._store.get_last_put(dataset))

    def iter_put_records(self, dataset: str) -> Iterator[PutRecord]:
        self._call_store(self._store.ping)
        return self._patient.iter_put_records(dataset)

    def start_listening(self, threads: BackgroundThreads, ending: threading.Event) -> None:
        """Read invalidations in the background too: the store buffers the unread ones of this process."""
        threads.start_thread("listening", partial(self._listen_until_end, ending), ending)

    def _listen_until_end(self, ending: threading.Event) -> None:
        while not ending.is_set():
            with suppress(*UNREACHABLE):
                self._apply_invalidations()
            ending.wait(LISTEN_EVERY)

    @contextmanager
    def begin_request(self) -> Iterator[RequestReads]:
        """Treat the reads of this thread within the block as one request's: it reads invalidations once."""
        self._request.begin()
        try:
            yield self._request
        finally:
            self._request.end()

    def _read_through(self, cache: _LruCache[V], key: str, read: Callable[[], V]) -> V:
        try:
            self._apply_invalidations()
            found, is_fresh = cache.get_fresh(key)
            if is_fresh:
                return cast(V, found)
            token = cache.begin_read(key) if key.partition(":")[0] in self._families else None
            found = self._call_store(read)
            cache.save_read(key, found, token)
        except UNREACHABLE:
            return self._get_stale(cache, key, read)
        return found

    def _apply_invalidations(self) -> None:
        """Invalidate the keys that have changed, once a request. Raises the store's errors, and StoreUnavailable."""
        if self._request.invalidations_read:
            return
        # An answer from the cache must follow all earlier invalidations: requests wait for the thread that reads them.
        with self._invalidation_lock:
            changed = self._call_store(self._invalidations.read_changed_keys)
            for cache in (self._records, self._holders, self._recent, self._seen):
                cache.invalidate(changed)
        self._request.invalidations_read = self._request.begun

    def _call_store(self, call: Callable[[], V]) -> V:
        """Call the store unless the circuit is open. Raises the store's errors, and StoreUnavailable."""
        self._check_circuit()
        try:
            found = call()
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
                log.warning("store unavailable: requests use cached answers", reason=str(error))
            self._request.stale = now - self._unavailable_since

    def _close_circuit(self) -> None:
        with self._lock:
            if self._unavailable_since is not None:
                log.info("store available again", seconds=round(self._clock() - self._unavailable_since, 1))
            self._unavailable_since = None

    def _get_stale(self, cache: _LruCache[V], key: str, read: Callable[[], V]) -> V:
        """Return the last answer. Raises StoreUnavailable where there is none, and the errors of a patient store."""
        try:
            return cache[key]
        except KeyError:
            if self._patient is self._store:
                return read()
            raise StoreUnavailable(f"the store does not answer, and {key} is not cached") from None


class RequestReads(threading.local):
    """The reads of the request that this thread serves; outside of a request all members are False or None."""

    begun = False
    invalidations_read = False
    stale: float | None = None
    """How long the store had been unavailable (seconds) at this request's stale read; None: it read nothing stale."""

    def begin(self) -> None:
        self.begun, self.invalidations_read, self.stale = True, False, None

    def end(self) -> None:
        self.begun = self.invalidations_read = False


class _LruCache(Generic[V]):
    """The last answers, up to a total size of ``capacity``. Safe to share between threads."""

    def __init__(self, capacity: int, size: Callable[[V], int]) -> None:
        self._capacity = capacity
        self._size = size
        self._values: OrderedDict[str, V] = OrderedDict()
        self._total = 0
        self._lock = threading.Lock()
        #: The cached keys that were not written since they were read.
        self._fresh: set[str] = set()
        #: Key -> token of its last read under way. An invalidation that overtakes the answer removes the token.
        self._reads: dict[str, object] = {}

    def __getitem__(self, key: str) -> V:
        return self._values[key]

    def get_fresh(self, key: str) -> tuple[V | None, bool]:
        """Return (value, True) where the store would give the same answer, else (None, False)."""
        with self._lock:
            if key not in self._fresh:
                return None, False
            self._values.move_to_end(key)
            return self._values[key], True

    def invalidate(self, keys: Sequence[str] | None) -> None:
        """Mark keys as stale; None marks all."""
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
        """Return a token for ``save_read``; to be called before the store is asked."""
        with self._lock:
            token = self._reads[key] = object()
        return token

    def save_read(self, key: str, value: V, token: object | None) -> None:
        """Cache the answer of a read: fresh where its token is the last one of its key, else stale."""
        with self._lock:
            if token is not None and self._reads.get(key) is token:
                del self._reads[key]
                self._fresh.add(key)
            elif key in self._fresh:
                return  # a later read has its answer already
            self._put_value(key, value)

    def add_stale(self, key: str, value: V) -> None:
        """Cache a value that another query returned, and that may have changed since."""
        with self._lock:
            if key not in self._fresh:
                self._put_value(key, value)

    def _put_value(self, key: str, value: V) -> None:
        if key in self._values:
            self._total -= self._size(self._values.pop(key))
        self._values[key] = value
        self._total += self._size(value)
        while self._total > self._capacity:
            oldest, evicted = self._values.popitem(last=False)
            self._fresh.discard(oldest)
            self._total -= self._size(evicted)
