"""The filters of requests: found, checked, compiled once for each model, and applied to one request at a time."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from services.runtime.catalogue import Catalogue, Places, table
from services.runtime.deployed import Model
from services.runtime.history import newest
from shared.aws.errors import InvalidInput, ServiceUnavailable
from shared.data.seen import Doings, Seen
from shared.data.snapshot import Cell, Snapshot
from shared.filters import Filter, FilterError, FilterValueError, Kind, check, parse
from shared.filters.columns import Rows, marked
from shared.filters.evaluation import Attributes, Mask, Moment, compiled, folded_event_type
from shared.lifecycle import ACTIVE
from shared.resources import Reading
from shared.resources.filter.requests import schemas_of
from shared.snapshots import MOST_SEEN, Snapshots, Unreadable
from shared.store import SEEN_SECONDS, Record, Store

RELATED = "RELATED_ITEMS"
_TARGETS = {"ITEMS": "ItemID", "ACTIONS": "ActionID"}


@dataclass(frozen=True, eq=False)
class Ready:
    """A filter as checked, and compiled for the items of a model as they stood at one moment."""

    expression: str
    filter: Filter
    catalogue: Catalogue
    apply: Callable[[Moment], Mask]

    def is_of(self, record: Record) -> bool:
        """Has the filter, which may have been made anew, still this expression?"""
        return bool(self.expression == record.body["filterExpression"])


@dataclass(eq=False)
class _OfModel:
    """What was made for one model."""

    catalogue: Catalogue
    ready: dict[str, Ready]
    """By the filter's ARN; some may be of an older catalogue."""
    refused: dict[str, str] = field(default_factory=dict)
    """The expressions of those that can't be used with the model."""


class Filters:
    """All that this process has compiled. Safe to share between threads."""

    def __init__(self, reading: Reading, store: Store, snapshots: Snapshots) -> None:
        self._reading = reading
        self._store = store
        self._snapshots = snapshots
        self._made: weakref.WeakKeyDictionary[Model, _OfModel] = weakref.WeakKeyDictionary()
        self._making = threading.Lock()

    def selection(self, model: Model, request: Mapping[str, Any]) -> Selection:
        return Selection(self, model, request)

    def refresh(self) -> None:
        self._snapshots.refresh()

    def warm(self, model: Model) -> None:
        """Make what a request with any of the group's filters needs, of the data as they are now.

        Until then requests go on with what was made of older data: none of them waits for a new catalogue.
        """
        if model.recipe.hides is not None:
            self._seen(model)
        records = {record.arn: record for record in self._reading.children("filter", model.group)}
        made = self._of(model)
        for filter_arn, record in records.items():
            if record.status != ACTIVE or made.refused.get(filter_arn) == record.body["filterExpression"]:
                continue
            found = made.ready.get(filter_arn)
            try:
                if found is None or not found.is_of(record) or found.catalogue is not made.catalogue:
                    found = made.ready[filter_arn] = self._compiled(record, model, made.catalogue)
            except InvalidInput:
                made.refused[filter_arn] = record.body["filterExpression"]
                continue
            if any(expression.user for expression in found.filter.expressions):
                self.users(model)
            if tests_events(found.filter):
                self._seen(model)
        for gone in made.ready.keys() - records.keys():
            made.ready.pop(gone, None)

    def _of(self, model: Model) -> _OfModel:
        """With the catalogue of the newest rows."""
        snapshot = self.described(model)
        with self._making:
            made = self._made.get(model)
            if made is None or made.catalogue.snapshot is not snapshot:
                catalogue = Catalogue(model.item_ids, snapshot)
                made = self._made[model] = _OfModel(catalogue, made.ready if made else {})
            return made

    def described(self, model: Model) -> Snapshot | None:
        """The rows of the model's items, or actions. Raises ServiceUnavailable."""
        return self._rows(model.datasets[model.recipe.catalogue])

    def users(self, model: Model) -> Snapshot | None:
        """Raises ServiceUnavailable."""
        return self._rows(model.datasets["USERS"])

    def _rows(self, dataset_arn: str) -> Snapshot | None:
        try:
            return self._snapshots.rows(dataset_arn)
        except Unreadable as error:
            raise ServiceUnavailable(str(error)) from error

    def _seen(self, model: Model) -> Seen | None:
        try:
            return self._snapshots.seen(model.interactions)
        except Unreadable as error:
            raise ServiceUnavailable(str(error)) from error

    def doings(self, model: Model, user_id: str) -> Doings:
        """What the user did with items, imported and live, as far as AWS's filters know it."""
        live, imported = self._store.seen(model.interactions, user_id), self._seen(model)
        forgotten = imported is None or (not live and imported.imported < time.time() - SEEN_SECONDS)
        bulk = {} if imported is None or forgotten else imported.of(user_id)
        return newest(bulk, live, MOST_SEEN[model.recipe.interactions])

    def ready(self, model: Model, filter_arn: str) -> Ready:
        """Raises ResourceNotFound, InvalidInput, ServiceUnavailable."""
        record = self._reading.find(filter_arn, "filter")
        if record.body["datasetGroupArn"] != model.group:
            raise InvalidInput(f"The filter {filter_arn} is of another dataset group than what is asked with it.")
        if record.status != ACTIVE:
            raise InvalidInput(f"The filter {filter_arn} is in status {record.status}; it must be {ACTIVE}.")
        made = self._made.get(model)
        found = made.ready.get(filter_arn) if made else None
        if found is None or not found.is_of(record):
            made = self._of(model)
            found = made.ready[filter_arn] = self._compiled(record, model, made.catalogue)
        return found

    def _compiled(self, record: Record, model: Model, catalogue: Catalogue) -> Ready:
        expression = record.body["filterExpression"]
        try:
            filter_ = check(parse(expression), schemas_of(model.group, self._reading))
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
        return Ready(expression, filter_, catalogue, compiled(filter_, catalogue))


def both(one: Mask | None, other: Mask | None) -> Mask | None:
    """What both let through; None lets all through."""
    if one is None or other is None:
        return one if other is None else other
    return one & other


class Selection:
    """What may be in the answer to one request."""

    def __init__(self, filters: Filters, model: Model, request: Mapping[str, Any]) -> None:
        self._filters = filters
        self._model = model
        self._request = request

    @property
    def _user_id(self) -> str:
        return self._request.get("userId") or ""

    @cached_property
    def _doings(self) -> Doings:
        return self._filters.doings(self._model, self._user_id) if self._user_id else {}

    def shown(self) -> Mask | None:
        """bool[I]: false for what a use case hides by itself, what the user has watched or bought. None: it hides
        nothing. Raises ServiceUnavailable.
        """
        hides = self._model.recipe.hides
        if hides is None:
            return None
        places = Places(self._doings, self._model.place)
        hidden = [places[each] for each in places if folded_event_type(each) == folded_event_type(hides)]
        return ~marked(len(self._model.item_ids), hidden)

    def filtered(self) -> Mask | None:
        """bool[I]: what the request's own filter lets through; None: it names none. Raises as ``allowed``."""
        named = self._request.get("filterArn")
        return self.allowed(named, self._request.get("filterValues")) if named else None

    def allowed(self, filter_arn: str, values: Mapping[str, str] | None) -> Mask:
        """bool[I]: which of the model's items a filter lets through.

        Raises ResourceNotFound, InvalidInput, ServiceUnavailable.
        """
        ready = self._filters.ready(self._model, filter_arn)
        return self._applied(ready.apply, ready.filter, filter_arn, values, self._model.place)

    def kept(self, item_ids: Sequence[str]) -> list[str]:
        """Which of these distinct items the request's own filter lets through, known to the model or not.

        Raises as ``allowed``.
        """
        filter_arn = self._request.get("filterArn")
        if not filter_arn:
            return list(item_ids)
        ready = self._filters.ready(self._model, filter_arn)
        snapshot = ready.catalogue.snapshot
        rows = [None if snapshot is None else snapshot.find(item_id) for item_id in item_ids]
        apply = compiled(ready.filter, table(ready.filter, snapshot, rows))
        places = {item_id: place for place, item_id in enumerate(item_ids)}
        mask = self._applied(apply, ready.filter, filter_arn, self._request.get("filterValues"), places.get)
        return [item_id for item_id, kept in zip(item_ids, mask.tolist(), strict=True) if kept]

    def _applied(
        self,
        apply: Callable[[Moment], Mask],
        filter_: Filter,
        filter_arn: str,
        values: Mapping[str, str] | None,
        place: Callable[[str], int | None],
    ) -> Mask:
        if filter_.needs_user and not self._user_id:
            raise InvalidInput(f"userId is required by the filter {filter_arn}, which tests the user or interactions.")
        try:
            return apply(
                Moment(
                    values=values or {},
                    user=self._user(filter_),
                    events=self._events(filter_, place),
                    current_item=self._current_item(filter_),
                )
            )
        except FilterValueError as error:
            raise InvalidInput(f"The filter {filter_arn} can't be applied: {error}") from error

    def _user(self, filter_: Filter) -> Attributes:
        columns = {condition.column for expression in filter_.expressions for condition in expression.user}
        return attributes(self._filters.users(self._model), self._user_id, columns) if columns else {}

    def _events(self, filter_: Filter, place: Callable[[str], int | None]) -> Mapping[str, Rows]:
        return Places(self._doings, place) if tests_events(filter_) else {}

    def _current_item(self, filter_: Filter) -> Attributes:
        columns = {column for condition in filter_.conditions for column in condition.current_item_columns}
        item_id = self._request.get("itemId") or ""
        return attributes(self._filters.described(self._model), item_id, columns) if columns else {}


def tests_events(filter_: Filter) -> bool:
    return any(condition.kind is Kind.EVENT_TYPE for condition in filter_.conditions)


def attributes(snapshot: Snapshot | None, id_: str, columns: set[str]) -> Attributes:
    """These columns of one row; {} where there is none."""
    row = None if snapshot is None else snapshot.find(id_)
    if snapshot is None or row is None:
        return {}
    cells: dict[str, Cell] = {column: snapshot.cell(row, column) for column in columns}
    return cells
