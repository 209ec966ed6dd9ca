"""The queries of batch segment jobs: which items each line's segment is for, and which users it may list.

The plan is made once: a later attempt scores the same segments, whatever has changed in the datasets since.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from shared.data.arrays.mmap_arrays import ArrayFile, ArrayFileWriter
from shared.filters import FilterError, FilterValueError
from shared.filters.evaluation import FilterContext, compile_filter
from shared.filters.item_attributes import parse_item_attributes
from shared.recipes import Recipe
from shared.serving.item_columns import ItemColumns
from shared.serving.model_cache import find_place
from shared.serving.segment_filter import SegmentFilter
from shared.serving.segment_scores import Segment
from shared.storage.artifacts import sync_to_disk
from workers.inference.json_lines import Line, LineError
from workers.inference.queries import check_query
from workers.inference.segment_sources import SegmentSources

ATTRIBUTES = "itemAttributes"
#: As of a filter expression in AWS's service model.
MOST_CHARACTERS = 2500

LineKey = tuple[str, int]
"""The name of a line's file, and the line's number."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SegmentPlan:
    """The segments of a job, and where each line finds its own."""

    segments: Sequence[Segment]
    lines: Mapping[LineKey, int | str]
    """The number of a line's segment, or its error. Lines that are no queries are absent."""


class ItemFinder:
    """Finds the items that a line names."""

    def __init__(self, item_ids: Sequence[str], sources: SegmentSources) -> None:
        self._item_ids = item_ids
        self._sources = sources

    def find_items(self, members: Mapping[str, Any]) -> npt.NDArray[np.int64]:
        """Return the places of the items in the model's order; at least one. Raises LineError."""
        if ATTRIBUTES in members:
            return self._find_by_attributes(members[ATTRIBUTES])
        place = find_place(self._item_ids, members["itemId"])
        if place is None:
            raise LineError(
                f"The model does not know the item {members['itemId']}: it has neither an interaction nor a row in "
                "Items from before the training. Create a new solution version for newer items."
            )
        return np.array([place], np.int64)

    def _find_by_attributes(self, expression: str) -> npt.NDArray[np.int64]:
        try:
            filter_ = parse_item_attributes(expression, self._sources.schemas)
        except FilterError as error:
            raise LineError(str(error)) from error
        places = np.flatnonzero(compile_filter(filter_, self._columns)(FilterContext()))
        if not len(places):
            raise LineError("No item that the model knows has these attributes. Values are compared exactly.")
        return places

    @cached_property
    def _columns(self) -> ItemColumns:
        return ItemColumns(self._item_ids, self._sources.open_rows("ITEMS"))


def check_segment_query(members: Mapping[str, Any], recipe: Recipe) -> None:
    """Raise LineError where a line lacks the member that the recipe needs, or a member has another form."""
    (needed,) = recipe.serving.required_members
    other = {"itemId": ATTRIBUTES, ATTRIBUTES: "itemId"}[needed]
    if other in members:
        raise LineError(f"{other} is not for {recipe.name}, whose lines have {needed}.")
    check_query(members, recipe)
    if needed == ATTRIBUTES:
        text = members.get(ATTRIBUTES)
        if not isinstance(text, str) or not text.strip() or len(text) > MOST_CHARACTERS:
            raise LineError(
                f"{ATTRIBUTES} must be an expression of at most {MOST_CHARACTERS} characters, such as "
                'ITEMS.GENRE = "Comedy".'
            )


class SegmentPlanner:
    """Writes the plan of a job. Masks of users are written one at a time, since many lines may have one each."""

    def __init__(self, recipe: Recipe, items: ItemFinder, filter_: SegmentFilter | None) -> None:
        self._recipe = recipe
        self._items = items
        self._filter = filter_
        self._masks: dict[tuple[tuple[str, str], ...], int] = {}

    def write_plan(self, target: Path, lines: Iterable[Line]) -> None:
        """Write the plan of these lines to ``target``, whole or not at all, and their masks next to it."""
        planned: list[tuple[str, int, int | None, str | None]] = []
        places: list[npt.NDArray[np.int64]] = []
        masks: list[int | None] = []
        with _get_masks_path(target).open("wb") as writing:
            for line in lines:
                try:
                    items, mask = self._plan_line(line.input, writing)
                except LineError as error:
                    planned.append((line.file, line.number, None, str(error)))
                    continue
                planned.append((line.file, line.number, len(places), None))
                places.append(items)
                masks.append(mask)
        sync_to_disk(_get_masks_path(target))
        draft = target.with_suffix(".draft")
        with ArrayFileWriter(draft) as packing:
            packing.about = {"lines": planned, "masks": masks}
            packing.add_array("offsets", np.cumsum([0, *map(len, places)], dtype=np.int64))
            packing.add_pieces("places", np.int64, places)
        sync_to_disk(draft)
        draft.rename(target)

    def _plan_line(self, members: Mapping[str, Any], writing: BinaryIO) -> tuple[npt.NDArray[np.int64], int | None]:
        """Return the items of a line, and the number of the mask of its users. Raises LineError."""
        check_segment_query(members, self._recipe)
        items = self._items.find_items(members)
        if self._filter is None:
            return items, None
        values = members.get("filterValues") or {}
        key = tuple(sorted((name, values[name]) for name in self._filter.placeholders & values.keys()))
        if key not in self._masks:
            try:
                mask = self._filter.mask_users(values)
            except FilterValueError as error:
                raise LineError(f"The filter can't be applied: {error}") from error
            writing.write(np.packbits(mask).data)
            self._masks[key] = len(self._masks)
        return items, self._masks[key]


def _get_masks_path(plan: Path) -> Path:
    return plan.with_suffix(".masks")


def open_plan(path: Path, users: int) -> SegmentPlan:
    """Open a plan for so many users. Raises OSError and ValueError."""
    packed = ArrayFile.open(path)
    bits = _get_masks_path(path)
    width = -(-users // 8)
    masks = np.memmap(bits, np.uint8, "r").reshape(-1, width) if bits.stat().st_size else None
    return SegmentPlan(
        segments=[
            Segment(places=places, allowed=None if mask is None or masks is None else masks[mask])
            for places, mask in zip(_iter_places(packed), packed.about["masks"], strict=True)
        ],
        lines={
            (file, number): error if segment is None else segment
            for file, number, segment, error in packed.about["lines"]
        },
    )


def _iter_places(packed: ArrayFile) -> Iterator[npt.NDArray[np.int64]]:
    offsets, places = packed.get_array("offsets").tolist(), packed.get_array("places")
    for begin, end in pairwise(offsets):
        yield places[begin:end]
