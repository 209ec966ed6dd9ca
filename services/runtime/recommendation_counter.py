"""Count the recommendations of each campaign and recommender by quarter of an hour, for metric attributions.

A request adds one to a number in memory. A thread sends the numbers to the store every two seconds. A runtime that is
killed loses what it has not sent.
"""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from dataclasses import dataclass, field
from functools import partial

import structlog

from shared.jobs.worker_process import WorkerProcess
from shared.resources.metric_attribution.metrics import build_attribution_claim, find_bucket
from shared.store import Store, redis_errors

log = structlog.get_logger()

#: Seconds between two transfers to the store.
EVERY = 2.0


@dataclass(frozen=True)
class _Batch:
    """Counts of one dataset group, sent under one invocation until the store has acknowledged them."""

    group: str
    counts: dict[tuple[str, int], int] = field(default_factory=dict)
    invocation: str = field(default_factory=lambda: f"Recommendations/{uuid.uuid4()}")


class RecommendationCounter:
    """Counts by dataset group, endpoint and bucket. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str, int]] = Counter()
        self._unsent: list[_Batch] = []

    def count_answer(self, group: str, endpoint_arn: str, now: float) -> None:
        """Count one recommendation at a time by the store's clock (epoch seconds)."""
        with self._lock:
            self._counts[group, endpoint_arn, find_bucket(now)] += 1

    def send_counts(self, store: Store) -> None:
        """Add the counts to those of the groups' attributions; those of other groups are dropped.

        Raises the store's errors: the next call sends the same batch again before newer counts.
        """
        if not self._unsent:
            self._unsent = self._take_batches()
        while self._unsent:
            batch = self._unsent[-1]
            attribution = store.find_claim_holder(build_attribution_claim(batch.group))
            if attribution is not None:
                store.count_recommendations(attribution, batch.counts, invocation=batch.invocation)
            self._unsent.pop()

    def _take_batches(self) -> list[_Batch]:
        with self._lock:
            counts, self._counts = self._counts, Counter()
        batches: dict[str, _Batch] = {}
        for (group, endpoint_arn, bucket), number in counts.items():
            batches.setdefault(group, _Batch(group)).counts[endpoint_arn, bucket] = number
        return list(batches.values())


def start_sending(process: WorkerProcess, counter: RecommendationCounter) -> None:
    """Start the thread that sends the counts."""
    process.threads.start_thread("recommendation counts", partial(_send_until_end, process, counter), process.ending)


def _send_until_end(process: WorkerProcess, counter: RecommendationCounter) -> None:
    while not process.ending.wait(EVERY):
        try:
            counter.send_counts(process.store)
        except Exception as error:
            # An outage of Redis passes. Any other error ends the thread, which is logged and started again.
            if not redis_errors.is_redis_unavailable(error):
                raise
            log.warning("recommendation counts wait for Redis", reason=str(error))
