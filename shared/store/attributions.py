"""The store's protocol for metric attributions: events that wait to be summed, sums, and counts of recommendations.

Sums are kept by quarter of an hour for SUMS_SECONDS, and as totals. Waiting events are read with a
version; ``save_sums`` removes them from the queue and writes the sums in one step, unless another reader has done so in
between. Nothing is written for an attribution that is gone or being deleted.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

#: Metrics are summed by quarter of an hour, as AWS's reports are (seconds).
BUCKET_SECONDS = 900
#: How long the sums of a quarter of an hour are kept (seconds): 63 days, as CloudWatch keeps such values.
SUMS_SECONDS = 63 * 24 * 3600
#: The bucket of a total. No event that counts is so old.
TOTAL = 0

_DAY_SECONDS = 24 * 3600


@dataclass(frozen=True, kw_only=True)
class AttributedEvent:
    """The part of a live event that metrics read; it names no user. ``numbers`` holds values by column, in capitals."""

    event_type: str
    item_id: str | None
    sent_at: float
    source: str | None = None
    recommendation_id: str | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AttributedEvents:
    """What is to be queued of the events of one call: an entry for each, None for an event that no metric reads."""

    attribution: str
    events: Sequence[AttributedEvent | None]


class WaitingEvent(NamedTuple):
    """An event in the queue of an attribution. ``arrived`` is by the store's clock (epoch seconds)."""

    id: str
    arrived: float
    event: AttributedEvent


@dataclass(frozen=True, kw_only=True)
class WaitingData:
    """The oldest events of the queue, and the import jobs that wait: the next day of each that is to be added."""

    version: int
    events: Sequence[WaitingEvent]
    jobs: Mapping[str, int]


class SumKey(NamedTuple):
    """A sum: of a metric, as the attribution names it, from one source in the BUCKET_SECONDS from ``bucket`` on."""

    metric: str
    event_type: str
    expression: str
    source: str
    bucket: int


class Sum(NamedTuple):
    """``samples`` is the number of events with a value."""

    value: float
    samples: int


class Attributions(Protocol):
    """The data of metric attributions, by the attribution's ARN."""

    def queue_import(self, attribution: str, job: str) -> None:
        """Let the sums of an import job wait, from the first day on."""
        ...

    def read_waiting_data(self, attribution: str, limit: int) -> WaitingData:
        """Return the oldest ``limit`` events that wait, and all jobs."""
        ...

    def get_sums(self, attribution: str, keys: Collection[SumKey]) -> dict[SumKey, Sum]:
        """Return those of the sums that exist."""
        ...

    def save_sums(
        self,
        attribution: str,
        waiting: WaitingData,
        sums: Mapping[SumKey, Sum],
        *,
        entries: Sequence[str] = (),
        jobs: Mapping[str, int | None] | None = None,
    ) -> bool:
        """Write sums, remove ``entries`` from the queue, and set the next day of jobs (None: the job is done).

        Return False, and write nothing, where another one has saved since ``waiting`` was read.
        """
        ...

    def list_sums(self, attribution: str, start: float, end: float) -> dict[SumKey, Sum]:
        """Return the sums of the buckets that begin in ``start <= bucket < end`` (epoch seconds)."""
        ...

    def list_totals(self, attribution: str) -> dict[SumKey, Sum]:
        """Return the sums since the attribution was created; their bucket is TOTAL."""
        ...

    def count_recommendations(
        self, attribution: str, counts: Mapping[tuple[str, int], int], *, invocation: str
    ) -> None:
        """Add to the number of recommendations by (ARN of the campaign or recommender, bucket); once an invocation."""
        ...

    def list_recommendations(self, attribution: str, start: float, end: float) -> dict[tuple[str, int], int]:
        """Return the numbers of recommendations of the buckets that begin in ``start <= bucket < end``."""
        ...

    def list_recommendation_totals(self, attribution: str) -> dict[str, int]:
        """Return the numbers of recommendations since the attribution was created, by ARN."""
        ...

    def clear_attribution(self, attribution: str) -> None:
        """Remove all data of an attribution."""
        ...


def find_day(bucket: int) -> str:
    """Return the name of the day under which a bucket's sums are kept."""
    return "total" if bucket == TOTAL else str(bucket // _DAY_SECONDS)


def list_days(start: float, end: float) -> list[str]:
    """Return the names of the days of all buckets between two times."""
    return [str(day) for day in range(int(start) // _DAY_SECONDS, int(end) // _DAY_SECONDS + 1)]


def find_expiry(bucket: int) -> int:
    """Return when the day of a bucket is forgotten (epoch seconds); 0: never."""
    return 0 if bucket == TOTAL else (bucket // _DAY_SECONDS + 1) * _DAY_SECONDS + SUMS_SECONDS
