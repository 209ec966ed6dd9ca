"""The store as the requests of a runtime read it: prompt, and remembered for when it does not answer.

    the store answers      what it says is answered, and remembered
    it does not            what it said last is answered; where it was never asked, the request is refused (503)
    it did not just now    as above, at once: one request in PAUSE seconds finds out whether it is back

So no request waits for the store more than once, and nobody has to tell this process that the store is back. What is
remembered is used for nothing else, and for as long as the store is away: meanwhile nothing can change, unless it is
this runtime alone that has lost it. An answer from memory says so: the header ``x-foretaste-stale``.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, Generic, TypeVar

import redis.exceptions
import structlog

from shared.aws.web import Answer, Call, Handler
from shared.store import Interaction, PutRecord, Record, Store

log = structlog.get_logger()

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

#: What a store raises that can't be reached.
UNREACHABLE = (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError)
#: How long a store that did not answer is left alone (seconds).
PAUSE = 0.5
#: What is remembered at most, those forgotten first that were not asked for the longest: records, and live events of
#: users (about 1 KB each). A user counts as one more.
MOST_RECORDS = 20_000
MOST_EVENTS = 100_000

STALE = "x-foretaste-stale"


class Away(redis.exceptions.ConnectionError):
    """The store did not answer a moment ago and was not asked again."""


class Remembering:
    """A ``shared.store.Store``; what is no part of a request goes to ``store`` as it is.

    ``patient`` is asked for what takes long: all put records of a dataset.
    """

    def __init__(self, store: Store, patient: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._patient = patient
        self._clock = clock
        self._records: _Memory[str, Record | None] = _Memory(MOST_RECORDS, lambda _: 1)
        self._recent: _Memory[tuple[str, str], list[Interaction]] = _Memory(MOST_EVENTS, lambda live: 1 + len(live))
        self._seen: _Memory[tuple[str, str], Mapping[str, Mapping[str, float]]] = _Memory(
            MOST_EVENTS, lambda types: 1 + sum(map(len, types.values()))
        )
        self._lock = threading.Lock()
        self._away_since: float | None = None
        self._ask_at = 0.0
        self._request = threading.local()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def get(self, arn: str) -> Record | None:
        # That there was none is remembered too: many a dataset group has no Items.
        try:
            record = self._records[arn] = self._asked(lambda: self._store.get(arn))
        except UNREACHABLE:
            return self._remembered(self._records, arn)
        return record

    def page(
        self, kind: str, parent: str | None = None, *, after: str | None = None, limit: int = 100
    ) -> tuple[list[Record], str | None]:
        rows, more = self._asked(lambda: self._store.page(kind, parent, after=after, limit=limit))
        for record in rows:
            self._records[record.arn] = record
        return rows, more

    def recent(self, dataset: str, user_id: str) -> list[Interaction]:
        try:
            live = self._recent[dataset, user_id] = self._asked(lambda: self._store.recent(dataset, user_id))
        except UNREACHABLE:
            return self._remembered(self._recent, (dataset, user_id))
        return live

    def seen(self, dataset: str, user_id: str) -> Mapping[str, Mapping[str, float]]:
        try:
            types = self._seen[dataset, user_id] = self._asked(lambda: self._store.seen(dataset, user_id))
        except UNREACHABLE:
            return self._remembered(self._seen, (dataset, user_id))
        return types

    def last_put(self, dataset: str) -> float:
        return self._asked(lambda: self._store.last_put(dataset))

    def put_records(self, dataset: str) -> Iterator[PutRecord]:
        self._asked(self._store.ping)
        return self._patient.put_records(dataset)

    def telling(self, handler: Handler) -> Handler:
        """The handler, whose answers tell for how long (seconds) the store had been away that they would have read."""

        def handle(call: Call) -> Mapping[str, Any] | Answer | None:
            self._request.stale = None
            answer = handler(call)
            stale = self._request.stale
            if stale is None or isinstance(answer, Answer):
                return answer
            return Answer(members=answer or {}, headers={STALE: f"{stale:.1f}"})

        return handle

    def _asked(self, ask: Callable[[], V]) -> V:
        """Raises what the store raises, and Away."""
        self._leave_alone()
        try:
            found = ask()
        except UNREACHABLE as error:
            self._lost(error)
            raise
        if self._away_since is not None:
            self._found()
        return found

    def _leave_alone(self) -> None:
        if self._away_since is None:
            return
        with self._lock:
            now = self._clock()
            if self._away_since is not None and now < self._ask_at:
                self._request.stale = now - self._away_since
                raise Away("the store does not answer")
            self._ask_at = now + PAUSE

    def _lost(self, error: Exception) -> None:
        with self._lock:
            now = self._clock()
            self._ask_at = now + PAUSE
            if self._away_since is None:
                self._away_since = now
                log.warning("the store does not answer: requests go on with what is remembered", reason=str(error))
            self._request.stale = now - self._away_since

    def _found(self) -> None:
        with self._lock:
            if self._away_since is not None:
                log.info("the store answers again", seconds=round(self._clock() - self._away_since, 1))
            self._away_since = None

    def _remembered(self, memory: _Memory[K, V], key: K) -> V:
        """Raises Away."""
        try:
            return memory[key]
        except KeyError:
            raise Away("the store does not answer, and was not asked this before") from None


class _Memory(Generic[K, V]):
    """What was last known, up to ``most`` by the size of each. Safe to share between threads."""

    def __init__(self, most: int, size: Callable[[V], int]) -> None:
        self._most = most
        self._size = size
        self._kept: OrderedDict[K, V] = OrderedDict()
        self._all = 0
        self._lock = threading.Lock()

    def __getitem__(self, key: K) -> V:
        return self._kept[key]

    def __setitem__(self, key: K, value: V) -> None:
        with self._lock:
            self._forget(key)
            self._kept[key] = value
            self._all += self._size(value)
            while self._all > self._most:
                self._forget(next(iter(self._kept)))

    def _forget(self, key: K) -> None:
        if key in self._kept:
            self._all -= self._size(self._kept.pop(key))
