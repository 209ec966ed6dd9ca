"""``shared.store.user_removal.UserRemoval`` in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any


class MemoryUserRemoval:
    """A part of ``MemoryStore``, which sets these members."""

    _clock: Callable[[], float]
    _lock: Any
    _event_ids: dict[tuple[str, str], float]
    _put_records: dict[str, Any]
    _puts: dict[str, float]

    def __init__(self) -> None:
        self._reported_purges: dict[str, tuple[float, Mapping[str, int]]] = {}

    def forget_event_ids(self, dataset: str, event_ids: Sequence[str]) -> None:
        with self._lock:
            for event_id in event_ids:
                self._event_ids.pop((dataset, event_id), None)

    def remove_put_records(self, dataset: str, ids: Sequence[str]) -> None:
        with self._lock:
            kept = self._put_records.get(dataset, {})
            if {id_ for id_ in ids if kept.pop(id_, None)}:
                self._puts[dataset] = self._clock()

    def report_purges(self, process: str, purges: Mapping[str, int], seconds: float) -> None:
        with self._lock:
            self._reported_purges[process] = (self._clock() + seconds, dict(purges))

    def get_reported_purges(self, process: str) -> Mapping[str, int]:
        with self._lock:
            ends, purges = self._reported_purges.get(process, (0.0, {}))
            return purges if ends > self._clock() else {}

    def rewrite_log(self, on_step: Callable[[], None]) -> bool:  # noqa: ARG002 - there is no log
        return False
