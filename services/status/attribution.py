"""Sum the events of metric attributions: those that wait in the queue of each, and those of finished import jobs.

An event or a day of an import leaves the queue in the step that writes its sums. After a crash in between, or where two
processes sum the same events, it is counted once.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import structlog

from services.status import periodic
from shared.jobs.worker_process import WorkerProcess
from shared.resources import ResourceReader
from shared.resources.dataset.requests import build_dataset_arn
from shared.resources.metric_attribution.import_sums import SUMS, read_day
from shared.resources.metric_attribution.metrics import (
    Metric,
    add_sum,
    find_column,
    limit_sources,
    read_metrics,
    sum_events,
)
from shared.resources.resource_type import is_terminal
from shared.serving.event_sources import EventSources
from shared.state.lifecycle import ACTIVE
from shared.store import Record
from shared.store.attributions import Sum, SumKey, WaitingData, WaitingEvent
from shared.store.quarantine import Quarantine

if TYPE_CHECKING:
    from shared.serving.snapshots import SnapshotCache

log = structlog.get_logger()

EVERY = 2.0
#: Events that are summed in one step, at most.
BATCH = 5000
#: Memory for reading the rows of items (MiB): a status process is small.
_MEMORY_MB = 256


def start_summing() -> None:
    quarantine = Quarantine("attribution")
    items = ItemNumbers()
    periodic.run_periodically("attribution", EVERY, lambda process: sum_attributions(process, items, quarantine))


def sum_attributions(process: WorkerProcess, items: ItemNumbers, quarantine: Quarantine) -> None:
    """Run one round over all attributions."""
    reader = ResourceReader(process.store, process.settings)
    for attribution in reader.iter_children("metric_attribution", whole=False):
        summing = _Summing(process, reader, items, attribution)
        quarantine.run_unless_quarantined(attribution.arn, summing.sum_waiting_data)


@dataclass(frozen=True)
class _Summing:
    """One round over one attribution."""

    process: WorkerProcess
    reader: ResourceReader
    items: ItemNumbers
    attribution: Record

    def sum_waiting_data(self) -> None:
        """Sum what waits until nothing is left that can be summed, or another process has summed the same data."""
        sources = EventSources(self.attribution.arn, self.reader, self.process.store)
        metrics = read_metrics(self.attribution)
        while not self.process.ending.is_set():
            waiting = self.process.store.read_waiting_data(self.attribution.arn, BATCH)
            events = self._select_ready_events(metrics, waiting.events)
            if events:
                sums = sum_events(
                    events,
                    metrics,
                    lambda event: sources.find_source(event.source, event.recommendation_id),
                    partial(self.items.read_number, self._items_dataset),
                )
                saved = self._save_sums(waiting, sums, entries=[event.id for event in events])
            else:
                saved = self._sum_next_import(waiting)
            if not saved:
                return

    @property
    def _items_dataset(self) -> str:
        return build_dataset_arn(self.attribution.body["datasetGroupArn"], "ITEMS", self.reader)

    def _select_ready_events(
        self, metrics: Collection[Metric], events: Sequence[WaitingEvent]
    ) -> Sequence[WaitingEvent]:
        """Return the events whose items are known as they were at the arrival, or newer."""
        if not events or not any(metric.expression.table == "ITEMS" for metric in metrics):
            return events
        read_at = self.items.refresh_rows(self.process, self._items_dataset)
        return [event for event in events if event.arrived <= read_at]

    def _sum_next_import(self, waiting: WaitingData) -> bool:
        """Add a day of a finished import. Return False where none is ready, or another process has added it."""
        for arn, first in waiting.jobs.items():
            job = self.reader.records.get(arn)
            if job is not None and not is_terminal(job):
                continue
            sums, following = self._read_import(arn, first) if job and job.status == ACTIVE else ({}, None)
            return self._save_sums(waiting, sums, jobs={arn: following})
        return False

    def _read_import(self, job: str, first: int) -> tuple[dict[SumKey, Sum], int | None]:
        try:
            return read_day(self.process.artifacts.get_folder(job) / SUMS, first)
        except (OSError, ValueError, TypeError) as error:
            log.warning("import not attributed", arn=job, reason=str(error))
            return {}, None

    def _save_sums(
        self,
        waiting: WaitingData,
        more: Mapping[SumKey, Sum],
        *,
        entries: Sequence[str] = (),
        jobs: Mapping[str, int | None] | None = None,
    ) -> bool:
        """Add to the sums in the store. ``waiting`` was read before: a sum that is read here has not changed since."""
        store, arn = self.process.store, self.attribution.arn
        known = {key.source for key in store.list_totals(arn)}
        most = self.process.settings.quota_metric_attribution_sources
        added = limit_sources(more, known, sys.maxsize if most is None else most)
        sums = store.get_sums(arn, added.keys())
        for key, sum_ in added.items():
            add_sum(sums, key, sum_)
        return store.save_sums(arn, waiting, sums, entries=entries, jobs=jobs)


@dataclass
class ItemNumbers:
    """Reads the numbers of items, from snapshots that are opened when a metric first needs them."""

    _snapshots: SnapshotCache | None = None
    #: Dataset -> a time by the store's clock as of which its rows are known (epoch seconds).
    _read_at: dict[str, float] = field(default_factory=dict)

    def refresh_rows(self, process: WorkerProcess, dataset: str) -> float:
        """Return a time by the store's clock as of which the rows are known now. Raises SnapshotUnreadable."""
        if self._snapshots is None:
            # Imported here: status processes without such metrics should not pay for DuckDB.
            from shared.serving.snapshots import SnapshotCache

            small = replace(process.settings, import_memory_mb=min(process.settings.import_memory_mb, _MEMORY_MB))
            reader = ResourceReader(process.store, small)
            self._snapshots = SnapshotCache(reader, process.store, process.artifacts)
        now = process.store.now()
        if self._snapshots.refresh_rows(dataset):
            self._read_at[dataset] = now
        return self._read_at[dataset]

    def read_number(self, dataset: str, item_id: str, column: str) -> float | None:
        """Return the number of an item in a column, named in capitals; None where it has none."""
        rows = self._snapshots.open_rows(dataset, make=False) if self._snapshots else None
        row = rows.find_row(item_id) if rows else None
        name = find_column(rows.schema.columns, column) if rows else None
        if rows is None or row is None or name is None:
            return None
        value = rows.read_cell(row, name)
        return float(value) if isinstance(value, int | float) else None
