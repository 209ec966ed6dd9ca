"""Prometheus metrics of the state in Redis, read at each scrape.

All api processes report the same values: scrape one of them, or take the maximum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from shared.aws import arns
from shared.resources import RESOURCES
from shared.resources.metric_attribution.metrics import read_metrics
from shared.state import messages
from shared.state.lifecycle import ACTIVE
from shared.store import Record, Store
from shared.store.quarantine import Quarantine
from shared.store.redis_probe import RedisProbe

QUEUES = sorted({message.get_queue_name() for message in messages.BY_WIRE.values()})
#: Resource types that answer with a model.
_SERVING = ("campaign", "recommender")

_AttributionFamilies = tuple[GaugeMetricFamily, CounterMetricFamily, CounterMetricFamily]


def _describe_attributions() -> _AttributionFamilies:
    """Return empty families for the values, events and recommendations of metric attributions."""
    sums = ["arn", "metric", "event_type", "source"]
    return (
        GaugeMetricFamily("foretaste_attributed_value", "Sum of a metric attribution's metric", labels=sums),
        CounterMetricFamily("foretaste_attributed_events", "Events with a value in that sum", labels=sums),
        CounterMetricFamily(
            "foretaste_attributed_recommendations",
            "Recommendations of a campaign or recommender since its group has a metric attribution",
            labels=["arn", "source"],
        ),
    )


class StoreMetrics(Collector):
    """Collects the gauges of the store. ``count_waiting`` counts the messages of a queue.

    While Redis does not answer, ``foretaste_redis_up`` is the only metric.
    """

    def __init__(self, records: Store, count_waiting: Callable[[str], int], probe: RedisProbe) -> None:
        self._records = records
        self._count_waiting = count_waiting
        self._probe = probe
        self._quarantine = Quarantine("metrics", longest_pause=0.0)

    def describe(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        yield GaugeMetricFamily("foretaste_redis_up", "1: Redis answers; 0: it does not, and the rest is missing")
        yield GaugeMetricFamily("foretaste_state_bytes", "Memory that Redis takes for its data")
        yield GaugeMetricFamily(
            "foretaste_state_limit_bytes",
            "Memory that it may take: maxmemory, or its machine's memory where none is set",
        )
        yield GaugeMetricFamily("foretaste_state_file_bytes", "Size of the append-only file of Redis")
        yield GaugeMetricFamily("foretaste_writes_taken", "0: writes are refused for lack of disk or memory; else 1")
        yield GaugeMetricFamily("foretaste_outbox_notes", "Messages that are not known to have been sent or applied")
        yield GaugeMetricFamily("foretaste_queue_depth", "Messages that no worker has taken", labels=["queue"])
        yield GaugeMetricFamily("foretaste_moving_resources", "Resources whose status will change", labels=["kind"])
        yield GaugeMetricFamily(
            "foretaste_model_age_seconds",
            "Seconds since the version was created that a campaign or recommender answers with",
            labels=["arn"],
        )
        yield from _describe_attributions()

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        up, state, limit, file, taken, outbox, depth, moving, age, *_ = self.describe()
        answers = self._probe.is_answering()
        up.add_metric([], answers)
        yield up
        if not answers:
            return
        memory = self._probe.get_memory()
        state.add_metric([], memory.used)
        limit.add_metric([], memory.limit)
        file.add_metric([], self._probe.get_aof_bytes())
        taken.add_metric([], self._probe.has_disk_space() and self._probe.has_memory())
        outbox.add_metric([], len(self._records.list_outbox()))
        for queue in QUEUES:
            depth.add_metric([queue], self._count_waiting(queue))
        for kind, number in self._count_in_progress().items():
            moving.add_metric([kind], number)
        for arn, seconds in self._iter_model_ages():
            age.add_metric([arn], seconds)
        yield from (state, limit, file, taken, outbox, depth, moving, age, *self._collect_attributions())

    def _count_in_progress(self) -> dict[str, int]:
        # A type with nothing in progress is reported as 0: to Prometheus a gap is not a zero.
        found = {noun: 0 for noun, resource in RESOURCES.items() if resource.lifecycle is not None}
        for arn in self._records.list_in_progress():
            kind = arns.parse_noun(arn) or "unknown"
            found[kind] = found.get(kind, 0) + 1
        return found

    def _iter_model_ages(self) -> Iterator[tuple[str, float]]:
        now = self._records.now()
        for kind in _SERVING:
            for record in self._iter_records(kind):
                made = self._quarantine.run_unless_quarantined(record.arn, partial(self._get_version_time, record))
                if made is not None:
                    yield record.arn, max(0.0, now - made)

    def _iter_records(self, kind: str) -> Iterator[Record]:
        after: str | None = None
        while True:
            page, after = self._records.list_page(kind, after=after)
            yield from page
            if after is None:
                return

    def _collect_attributions(self) -> _AttributionFamilies:
        families = _describe_attributions()
        for attribution in self._iter_records("metric_attribution"):
            self._quarantine.run_unless_quarantined(attribution.arn, partial(self._add_totals, attribution, *families))
        return families

    def _add_totals(
        self,
        attribution: Record,
        value: GaugeMetricFamily,
        events: CounterMetricFamily,
        given: CounterMetricFamily,
    ) -> None:
        """Add the totals of the metrics that an attribution has now; their number is limited by AWS's quotas."""
        standing = {(one.name, one.event_type, one.text) for one in read_metrics(attribution)}
        for key, sum_ in self._records.list_totals(attribution.arn).items():
            if (key.metric, key.event_type, key.expression) in standing:
                labels = [attribution.arn, key.metric, key.event_type, key.source]
                value.add_metric(labels, sum_.value)
                events.add_metric(labels, sum_.samples)
        for source, number in self._records.list_recommendation_totals(attribution.arn).items():
            given.add_metric([attribution.arn, source], number)

    def _get_version_time(self, record: Record) -> float | None:
        """Return when the solution version that a record serves was created; None if the record is not active."""
        version = self._records.get(record.body["solutionVersionArn"]) if record.status == ACTIVE else None
        return None if version is None else version.created
