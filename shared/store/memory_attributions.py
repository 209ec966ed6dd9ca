"""The data of metric attributions in memory, as a part of ``MemoryStore``."""

from __future__ import annotations

import itertools
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from shared.store import INVOCATION_SECONDS, Record
from shared.store.attributions import (
    TOTAL,
    AttributedEvent,
    Sum,
    SumKey,
    WaitingData,
    WaitingEvent,
    find_expiry,
)


@dataclass
class _Attribution:
    events: dict[str, WaitingEvent] = field(default_factory=dict)
    jobs: dict[str, int] = field(default_factory=dict)
    version: int = 0
    sums: dict[SumKey, Sum] = field(default_factory=dict)
    recommendations: dict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))


class MemoryAttributions:
    """``shared.store.attributions.Attributions``. The store's initializer sets the members that are declared here."""

    _clock: Callable[[], float]
    _lock: threading.RLock
    _records: dict[str, Record]
    _invocations: dict[str, tuple[str, float]]
    _attributions: dict[str, _Attribution]
    _entries: itertools.count[int]

    def _find_writable(self, attribution: str) -> _Attribution | None:
        record = self._records.get(attribution)
        if record is None or (record.in_progress or "").startswith("DELETE"):
            return None
        return self._attributions.setdefault(attribution, _Attribution())

    def _queue_events(self, attribution: str, events: Sequence[AttributedEvent]) -> None:
        kept = self._find_writable(attribution)
        if kept is not None:
            for event in events:
                entry = str(next(self._entries))
                kept.events[entry] = WaitingEvent(entry, self._clock(), event)

    def queue_import(self, attribution: str, job: str) -> None:
        with self._lock:
            kept = self._find_writable(attribution)
            if kept is not None:
                kept.jobs.setdefault(job, 0)

    def read_waiting_data(self, attribution: str, limit: int) -> WaitingData:
        with self._lock:
            kept = self._attributions.get(attribution, _Attribution())
            events = list(itertools.islice(kept.events.values(), limit))
            return WaitingData(version=kept.version, events=events, jobs=dict(kept.jobs))

    def get_sums(self, attribution: str, keys: Collection[SumKey]) -> dict[SumKey, Sum]:
        wanted = set(keys)
        return {key: sum_ for key, sum_ in self._list_fresh(attribution).items() if key in wanted}

    def save_sums(
        self,
        attribution: str,
        waiting: WaitingData,
        sums: Mapping[SumKey, Sum],
        *,
        entries: Sequence[str] = (),
        jobs: Mapping[str, int | None] | None = None,
    ) -> bool:
        with self._lock:
            kept = self._find_writable(attribution)
            if kept is None or kept.version != waiting.version:
                return False
            kept.version += 1
            for entry in entries:
                kept.events.pop(entry, None)
            for job, day in (jobs or {}).items():
                if day is None:
                    kept.jobs.pop(job, None)
                else:
                    kept.jobs[job] = day
            kept.sums.update(sums)
            return True

    def list_sums(self, attribution: str, start: float, end: float) -> dict[SumKey, Sum]:
        found = self._list_fresh(attribution)
        return {key: sum_ for key, sum_ in found.items() if key.bucket != TOTAL and start <= key.bucket < end}

    def list_totals(self, attribution: str) -> dict[SumKey, Sum]:
        return {key: sum_ for key, sum_ in self._list_fresh(attribution).items() if key.bucket == TOTAL}

    def _list_fresh(self, attribution: str) -> dict[SumKey, Sum]:
        with self._lock:
            kept = self._attributions.get(attribution, _Attribution())
            return {key: sum_ for key, sum_ in kept.sums.items() if self._is_fresh(key.bucket)}

    def _is_fresh(self, bucket: int) -> bool:
        return bucket == TOTAL or find_expiry(bucket) > self._clock()

    def count_recommendations(
        self, attribution: str, counts: Mapping[tuple[str, int], int], *, invocation: str
    ) -> None:
        with self._lock:
            kept = self._find_writable(attribution)
            if kept is None or self._invocations.get(invocation, ("", 0.0))[1] > self._clock():
                return
            for (arn, bucket), number in counts.items():
                kept.recommendations[arn, bucket] += number
                kept.recommendations[arn, TOTAL] += number
            self._invocations[invocation] = (attribution, self._clock() + INVOCATION_SECONDS)

    def list_recommendations(self, attribution: str, start: float, end: float) -> dict[tuple[str, int], int]:
        with self._lock:
            kept = self._attributions.get(attribution, _Attribution())
            return {
                (arn, bucket): number
                for (arn, bucket), number in kept.recommendations.items()
                if bucket != TOTAL and start <= bucket < end and self._is_fresh(bucket)
            }

    def list_recommendation_totals(self, attribution: str) -> dict[str, int]:
        with self._lock:
            kept = self._attributions.get(attribution, _Attribution())
            return {arn: number for (arn, bucket), number in kept.recommendations.items() if bucket == TOTAL}

    def clear_attribution(self, attribution: str) -> None:
        with self._lock:
            self._attributions.pop(attribution, None)
