"""The filters of a dataset group, checked and compiled once for each model, and the data that they read.

No request compiles a filter or reads data for it. The runtime's ``warm_up.py`` does both before requests need them.
Where another runtime has reported a campaign or a filter and this one is behind, a background thread does the work; the
request waits for a moment and is then refused with 503, as when its model is still being loaded: the SDKs try again.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from shared.aws.errors import InvalidInput, ServiceUnavailable
from shared.filters import Filter, FilterError, check_filter, parse_filter
from shared.filters.evaluation import FilterContext, Mask, compile_filter
from shared.http.leader_followers import step_aside
from shared.resources import ResourceReader
from shared.resources.filter.requests import find_schemas
from shared.serving.dataset_snapshot import Snapshot
from shared.serving.item_columns import ItemColumns
from shared.serving.live_events import LiveEventReader
from shared.serving.model_cache import LoadedModel
from shared.serving.newest_events import merge_newest
from shared.serving.snapshots import MOST_EVENTS, SnapshotCache, SnapshotMissing, SnapshotUnreadable
from shared.serving.user_event_index import EventsByType, UserEventIndex
from shared.state.lifecycle import ACTIVE, CREATE_IN_PROGRESS, CREATE_PENDING
from shared.store import SEEN_SECONDS, Record, Store
from shared.store.cached_store import UNREACHABLE
from shared.store.quarantine import Quarantine

T = TypeVar("T")

#: How long a request waits for a filter or its data to be ready (seconds).
PATIENCE = 1.0
RELATED = "RELATED_ITEMS"
#: Statuses of filters that requests may name now or soon.
_USABLE = frozenset({ACTIVE, CREATE_PENDING, CREATE_IN_PROGRESS})
_TARGETS = {"ITEMS": "ItemID", "ACTIONS": "ActionID"}


@dataclass(frozen=True, eq=False)
class CompiledFilter:
    """A checked filter, compiled for the items of a model as they were at one moment."""

    expression: str
    filter: Filter
    columns: ItemColumns
    apply: Callable[[FilterContext], Mask]

    def has_expression_of(self, record: Record) -> bool:
        """Return whether the record has this expression: the filter may have been deleted and created again."""
        return bool(self.expression == record.body["filterExpression"])


@dataclass(eq=False)
class _ModelFilters:
    """The compiled filters of one model."""

    columns: ItemColumns
    compiled: dict[str, CompiledFilter]
    """By the filter's ARN; some may read older columns."""
    refused: dict[str, str] = field(default_factory=dict)
    """By ARN, the expressions of the filters that can't be used with the model."""


class FilterCache:
    """All filters that this process has compiled, and their data. Threads may share it.

    A ``CandidateSelection`` evaluates them for one request.
    """

    def __init__(self, reader: ResourceReader, store: Store, snapshots: SnapshotCache) -> None:
        self._reader = reader
        self._store = store
        self._snapshots = snapshots
        self._made: weakref.WeakKeyDictionary[LoadedModel, _ModelFilters] = weakref.WeakKeyDictionary()
        self._making = threading.Lock()
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="filters")
        self._begun: dict[Hashable, Future[Any]] = {}
        self._beginning = threading.Lock()
        self.patience = PATIENCE

    @property
    def live_events(self) -> LiveEventReader:
        return self._snapshots.live_events

    def refresh_snapshots(self, quarantine: Quarantine, purges: Mapping[str, int]) -> set[str]:
        """Refresh the snapshots; return the datasets with one from before the deletions that ``purges`` counts."""
        self._snapshots.refresh_all(quarantine, purges)
        return self._snapshots.list_outdated(purges)

    def prepare_model(self, model: LoadedModel, quarantine: Quarantine) -> None:
        """Compile the filters of the model's group, and read their data as they are now. Not to be called in a request.

        Until it ends, requests use filters compiled for older data: none waits for new columns.
        """
        if model.recipe.serving.hidden_event_type is not None:
            self._read_event_index(model)
        filters = self._reader.iter_children("filter", model.group, whole=False)
        records = {record.arn: record for record in filters if record.status in _USABLE}
        if not records:  # the columns may be large: read them only where a filter needs them
            return
        made = self._get_current(model)
        for filter_arn, record in records.items():
            quarantine.run_unless_quarantined(
                f"{filter_arn} for {model.recipe.name}", partial(self._prepare_filter, model, made, record)
            )
        for filter_arn in list(made.compiled):
            if filter_arn not in records:
                made.compiled.pop(filter_arn, None)

    def _prepare_filter(self, model: LoadedModel, made: _ModelFilters, record: Record) -> None:
        expression = record.body["filterExpression"]
        if made.refused.get(record.arn) == expression:
            return
        found = made.compiled.get(record.arn)
        try:
            if found is None or not found.has_expression_of(record) or found.columns is not made.columns:
                found = self._add_compiled(record, model, made)
        except InvalidInput:
            made.refused[record.arn] = expression
            return
        if found.filter.user_columns:
            self._read_or_refuse(lambda: self._snapshots.open_rows(model.datasets["USERS"]))
        if found.filter.tests_events:
            self._read_event_index(model)

    def _add_compiled(self, record: Record, model: LoadedModel, made: _ModelFilters) -> CompiledFilter:
        compiled_ = self._compile_filter(record, model, made.columns)
        made.columns.prepare_filter(compiled_.filter)
        made.compiled[record.arn] = compiled_
        return compiled_

    def _get_current(self, model: LoadedModel) -> _ModelFilters:
        """Return the filters of a model, with columns of the newest rows."""
        snapshot = self.read_item_rows(model)
        with self._making:
            made = self._made.get(model)
            if made is None or made.columns.snapshot is not snapshot:
                columns = ItemColumns(model.item_ids, snapshot)
                made = self._made[model] = _ModelFilters(columns, made.compiled if made else {})
            return made

    def read_item_rows(self, model: LoadedModel) -> Snapshot | None:
        """Return ``get_item_rows``, made where it is missing. Not to be called in a request."""
        return self._read_or_refuse(lambda: self._snapshots.open_rows(model.datasets[model.recipe.catalogue]))

    def _read_event_index(self, model: LoadedModel) -> UserEventIndex | None:
        return self._read_or_refuse(lambda: self._snapshots.open_event_index(model.interactions))

    def _read_or_refuse(self, opened: Callable[[], T]) -> T:
        try:
            return opened()
        except SnapshotUnreadable as error:
            raise ServiceUnavailable(str(error)) from error

    # Called by requests

    def get_item_rows(self, model: LoadedModel) -> Snapshot | None:
        """Return the rows of the model's items, or actions; None without a dataset. Raises ServiceUnavailable."""
        return self._get_rows(model.datasets[model.recipe.catalogue])

    def get_user_rows(self, model: LoadedModel) -> Snapshot | None:
        """Return the rows of users; None without a dataset. Raises ServiceUnavailable."""
        return self._get_rows(model.datasets["USERS"])

    def _get_rows(self, dataset_arn: str) -> Snapshot | None:
        try:
            return self._snapshots.open_rows(dataset_arn, make=False)
        except SnapshotMissing:
            return self._wait_for(
                dataset_arn, lambda: self._read_or_refuse(lambda: self._snapshots.open_rows(dataset_arn))
            )

    def _get_event_index(self, model: LoadedModel) -> UserEventIndex | None:
        try:
            return self._snapshots.open_event_index(model.interactions, make=False)
        except SnapshotMissing:
            return self._wait_for(model.interactions, lambda: self._read_event_index(model))

    def _wait_for(self, key: Hashable, make: Callable[[], T]) -> T:
        """Call ``make`` in the background, once for all requests with this key, and wait for its result.

        Raises ServiceUnavailable after ``patience`` seconds.
        """
        with self._beginning:
            begun = self._begun.get(key)
            if begun is None:
                begun = self._begun[key] = self._pool.submit(make)
                begun.add_done_callback(lambda _: self._begun.pop(key, None))
        try:
            with step_aside():
                result: T = begun.result(self.patience)
                return result
        except TimeoutError:
            if begun.done():
                raise
            raise ServiceUnavailable("The data of the filter is being made ready. Please try again.") from None

    def find_events(self, model: LoadedModel, user_id: str) -> EventsByType:
        """Return the user's events with items, imported and live, as far as AWS's filters know them."""
        imported = self._get_event_index(model)
        try:
            live = self._snapshots.live_events.find_seen(model.interactions, user_id)
        except UNREACHABLE:
            if imported is None or not imported.find_events(user_id):
                raise
            live = {}
        forgotten = imported is None or (not live and imported.imported < self._store.now() - SEEN_SECONDS)
        bulk = {} if imported is None or forgotten else imported.find_events(user_id)
        return merge_newest(bulk, live, MOST_EVENTS[model.recipe.interactions])

    def get_compiled(self, model: LoadedModel, filter_arn: str) -> CompiledFilter:
        """Return a filter compiled for the model. Raises ResourceNotFound, InvalidInput, ServiceUnavailable."""
        record = self._reader.find_record(filter_arn, "filter")
        if record.body["datasetGroupArn"] != model.group:
            raise InvalidInput(f"The filter {filter_arn} is of another dataset group than the campaign or recommender.")
        if record.status != ACTIVE:
            raise InvalidInput(f"The filter {filter_arn} is in status {record.status}; it must be {ACTIVE}.")
        made = self._made.get(model)
        found = made.compiled.get(filter_arn) if made else None
        if found is None or not found.has_expression_of(record):
            key = (filter_arn, record.body["filterExpression"], model)
            return self._wait_for(key, lambda: self._add_compiled(record, model, self._get_current(model)))
        return found

    def _compile_filter(self, record: Record, model: LoadedModel, columns: ItemColumns) -> CompiledFilter:
        expression = record.body["filterExpression"]
        try:
            filter_ = check_filter(parse_filter(expression), find_schemas(model.group, self._reader))
        except FilterError as error:
            raise InvalidInput(
                f"The filter {record.arn} does not fit the datasets as they are now. {error} Create another filter."
            ) from error
        if filter_.target != model.recipe.catalogue:
            raise InvalidInput(
                f"The filter {record.arn} does not filter what {model.recipe.name} recommends; use one of "
                f"{_TARGETS[model.recipe.catalogue]}."
            )
        if filter_.needs_current_item and model.recipe.recipe_type != RELATED:
            raise InvalidInput(
                f"The filter {record.arn} tests CurrentItem, which only recipes of type {RELATED} have; "
                f"{model.recipe.name} is of type {model.recipe.recipe_type}."
            )
        return CompiledFilter(expression, filter_, columns, compile_filter(filter_, columns))
