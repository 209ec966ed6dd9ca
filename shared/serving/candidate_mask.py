"""Which items may be in the answer to one request: its filters decide, and its use case, which hides some by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from shared.aws.errors import InvalidInput
from shared.filters import Filter, FilterValueError
from shared.filters.columns import RowNumbers, mask_rows
from shared.filters.evaluation import Attributes, FilterContext, Mask, compile_filter, normalize_event_type
from shared.recipes.scoring_api import Past
from shared.serving.dataset_snapshot import CellValue, Snapshot
from shared.serving.filters import FilterCache
from shared.serving.item_columns import PlacesByType, build_table
from shared.serving.model_cache import LoadedModel
from shared.serving.user_event_index import EventsByType

NEWEST = 10
"""The newest items of a history by which ``should_exclude_known`` decides whether known items are hidden."""


def intersect_masks(one: Mask | None, other: Mask | None) -> Mask | None:
    """Return the items that both masks let through; None lets all through."""
    if one is None or other is None:
        return one if other is None else other
    return one & other


class CandidateSelection:
    """Evaluates the filters of one request, or of one line of a batch job, against the items of a model."""

    def __init__(self, filters: FilterCache, model: LoadedModel, request: Mapping[str, Any]) -> None:
        self._filters = filters
        self._model = model
        self.request = request

    @property
    def _user_id(self) -> str:
        return self.request.get("userId") or ""

    @cached_property
    def _events_by_type(self) -> EventsByType:
        return self._filters.find_events(self._model, self._user_id) if self._user_id else {}

    def mask_use_case(self) -> Mask | None:
        """bool[I]: false for the items that a use case hides by itself, those that the user has watched or bought.

        None where it hides nothing. Raises ServiceUnavailable.
        """
        hides = self._model.recipe.serving.hidden_event_type
        if hides is None:
            return None
        places = PlacesByType(self._events_by_type, self._model.find_place)
        hidden = [places[each] for each in places if normalize_event_type(each) == normalize_event_type(hides)]
        return ~mask_rows(len(self._model.item_ids), hidden)

    def mask_filtered(self) -> Mask | None:
        """bool[I]: the items that the request's own filter lets through; None without. Raises as ``apply_filter``."""
        named = self.request.get("filterArn")
        return self.apply_filter(named, self.request.get("filterValues")) if named else None

    def should_exclude_known(self, allowed: Mask | None, history: Sequence[Past]) -> bool:
        """Return whether filter and use case hide the items that the user knows, so that the model must exclude them.

        Masks know the newest items of a history alone. Known items are hidden where a filter or use case excludes by
        interactions and lets none of the NEWEST last items through; the model then leaves out the older ones too.
        """
        if allowed is None or not self._has_event_exclusion():
            return False
        places: dict[int, None] = {}
        for past in reversed(history):
            place = self._model.find_place(past.item_id)
            if place is not None:
                places[place] = None
            if len(places) == NEWEST:
                break
        return bool(places) and not allowed[list(places)].any()

    def _has_event_exclusion(self) -> bool:
        named = self.request.get("filterArn")
        if not named:
            return self._model.recipe.serving.hidden_event_type is not None
        filter_ = self._filters.get_compiled(self._model, named).filter
        return filter_.excludes_events or (
            self._model.recipe.serving.hidden_event_type is not None and not filter_.tests_events
        )

    def apply_filter(self, filter_arn: str, values: Mapping[str, str] | None) -> Mask:
        """bool[I]: the items of the model that a filter lets through.

        Raises ResourceNotFound, InvalidInput, ServiceUnavailable.
        """
        ready = self._filters.get_compiled(self._model, filter_arn)
        return self._apply_compiled(ready.apply, ready.filter, filter_arn, values, self._model.find_place)

    def filter_items(self, item_ids: Sequence[str]) -> list[str]:
        """Return those of the given distinct items that the request's own filter lets through.

        Items that the model does not know are tested too. Raises as ``apply_filter``.
        """
        filter_arn = self.request.get("filterArn")
        if not filter_arn:
            return list(item_ids)
        ready = self._filters.get_compiled(self._model, filter_arn)
        snapshot = ready.columns.snapshot
        rows = [None if snapshot is None else snapshot.find_row(item_id) for item_id in item_ids]
        apply = compile_filter(ready.filter, build_table(ready.filter, snapshot, rows))
        places = {item_id: place for place, item_id in enumerate(item_ids)}
        mask = self._apply_compiled(apply, ready.filter, filter_arn, self.request.get("filterValues"), places.get)
        return [item_id for item_id, kept in zip(item_ids, mask.tolist(), strict=True) if kept]

    def _apply_compiled(
        self,
        apply: Callable[[FilterContext], Mask],
        filter_: Filter,
        filter_arn: str,
        values: Mapping[str, str] | None,
        place: Callable[[str], int | None],
    ) -> Mask:
        if filter_.needs_user and not self._user_id:
            raise InvalidInput(f"userId is required by the filter {filter_arn}, which tests the user or interactions.")
        try:
            return apply(
                FilterContext(
                    values=values or {},
                    user=self._read_user(filter_),
                    events=self._find_places(filter_, place),
                    current_item=self._read_current_item(filter_),
                )
            )
        except FilterValueError as error:
            raise InvalidInput(f"The filter {filter_arn} can't be applied: {error}") from error

    def _read_user(self, filter_: Filter) -> Attributes:
        columns = filter_.user_columns
        return read_attributes(self._filters.get_user_rows(self._model), self._user_id, columns) if columns else {}

    def _find_places(self, filter_: Filter, place: Callable[[str], int | None]) -> Mapping[str, RowNumbers]:
        return PlacesByType(self._events_by_type, place) if filter_.tests_events else {}

    def _read_current_item(self, filter_: Filter) -> Attributes:
        columns = filter_.current_item_columns
        item_id = self.request.get("itemId") or ""
        return read_attributes(self._filters.get_item_rows(self._model), item_id, columns) if columns else {}


def read_attributes(snapshot: Snapshot | None, id_: str, columns: Iterable[str]) -> Attributes:
    """Return these columns of one row; {} where there is no such row."""
    row = None if snapshot is None else snapshot.find_row(id_)
    if snapshot is None or row is None:
        return {}
    cells: dict[str, CellValue] = {column: snapshot.read_cell(row, column) for column in columns}
    return cells
