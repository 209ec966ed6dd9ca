"""The lists of many queries at once, for a batch job. The lists are those of ``pipeline``, to 1e-6 in the scores.

Each function answers a query that cannot be answered, because of its filter values for example, with the error that
``pipeline`` raises for it; the other queries of the block are not affected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from shared import settings
from shared.aws.errors import PersonalizeError
from shared.filters.evaluation import Mask
from shared.recipes import Recipe
from shared.recipes.scoring_api import CandidateItems, Query, SoughtItems
from shared.serving import pipeline
from shared.serving.candidate_mask import CandidateSelection, intersect_masks
from shared.serving.model_cache import LoadedModel

Rows = list[dict[str, Any]]
T = TypeVar("T")

MOST_QUERIES = 512
"""More queries in one block gain nothing."""


class QueryCandidates(NamedTuple):
    """``pipeline.ItemCatalogue`` of the candidates of one query."""

    recipe: Recipe
    get_item_id: Callable[[int], str]


def choose_block_size(model: LoadedModel, memory_mb: int | None = None) -> int:
    """Return how many queries ``recommend_block`` takes at once within ``memory_mb``, if they have no history or mask.

    The default is FORETASTE_BATCH_MEMORY_MB. A block with more memory is split.
    """
    return max(1, min(MOST_QUERIES, _get_memory(memory_mb) // max(1, model.count_block_bytes(Query(now=0.0)))))


def recommend_block(
    model: LoadedModel, queries: Sequence[Query], selections: Sequence[CandidateSelection], wanted: int
) -> list[Rows | PersonalizeError]:
    """Return ``pipeline.recommend_items`` of each query, or the error that it raises."""
    answers: list[Rows | PersonalizeError] = []
    block = _Block(model, wanted)
    for query, selection in zip(queries, selections, strict=True):
        masks = _catch_error(pipeline.mask_items, selection)
        if isinstance(masks, PersonalizeError):
            answers += [*block.list_items(), masks]
            continue
        if block.is_full(query, masks):
            answers += block.list_items()
        block.add(pipeline.exclude_known_items(query, selection, masks), masks)
    return [*answers, *block.list_items()]


class _Block:
    """Queries that wait to be scored together."""

    def __init__(self, model: LoadedModel, wanted: int) -> None:
        self._model, self._wanted = model, wanted
        self._memory = _get_memory(None)
        self._waiting: list[tuple[Query, pipeline.ItemMasks]] = []
        self._bytes = 0

    def is_full(self, query: Query, masks: pipeline.ItemMasks) -> bool:
        more = self._count_bytes(query, masks)
        return bool(self._waiting) and (len(self._waiting) == MOST_QUERIES or self._bytes + more > self._memory)

    def add(self, query: Query, masks: pipeline.ItemMasks) -> None:
        self._waiting.append((query, masks))
        self._bytes += self._count_bytes(query, masks)

    def list_items(self) -> list[Rows]:
        """Score the queries that wait, and return their lists."""
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        found = self._model.find_candidates(
            [query for query, _ in waiting], [_seek_items(masks) for _, masks in waiting], self._wanted
        )
        return [
            _list_candidates(self._model, candidates, masks, self._wanted)
            for candidates, (_, masks) in zip(found, waiting, strict=True)
        ]

    def _count_bytes(self, query: Query, masks: pipeline.ItemMasks) -> int:
        of_masks = sum(mask.nbytes for mask in _list_masks(masks) if mask is not None)
        return self._model.count_block_bytes(query) + of_masks


def _list_masks(masks: pipeline.ItemMasks) -> list[Mask | None]:
    promoted = masks.promotion
    return [masks.shown, masks.allowed, *([promoted.allowed] if promoted else [])]


def _seek_items(masks: pipeline.ItemMasks) -> SoughtItems:
    promotion = masks.promotion
    if promotion is None:
        return SoughtItems((masks.allowed,))
    return SoughtItems((masks.allowed, intersect_masks(masks.shown, promotion.allowed)))


def _list_candidates(model: LoadedModel, candidates: CandidateItems, masks: pipeline.ItemMasks, wanted: int) -> Rows:
    places, found = candidates
    if places is None:
        return pipeline.list_items(model, found, masks, wanted)
    ids = QueryCandidates(model.recipe, lambda place: model.get_item_id(int(places[place])))
    promotion = masks.promotion
    among = pipeline.ItemMasks(
        _select_mask(masks.shown, places),
        _select_mask(masks.allowed, places),
        promotion and replace(promotion, allowed=promotion.allowed[places]),
    )
    return pipeline.list_items(ids, found, among, wanted)


def _select_mask(mask: Mask | None, places: npt.NDArray[np.int64]) -> Mask | None:
    return None if mask is None else mask[places]


def rank_block(
    model: LoadedModel,
    queries: Sequence[Query],
    selections: Sequence[CandidateSelection],
    given: Sequence[Sequence[str]],
) -> list[Rows | PersonalizeError]:
    """Return ``pipeline.rank_items`` of each query and its given items, or the error that it raises."""
    answers: list[Rows | PersonalizeError] = []
    for block in _iter_blocks(model, queries):
        kept = [
            _catch_error(selection.filter_items, items)
            for selection, items in zip(selections[block], given[block], strict=True)
        ]
        sought = [SoughtItems(places=_find_places(model, items)) for items in given[block]]
        found = model.find_candidates(queries[block], sought, 0)
        answers += [
            _rank_candidates(model, candidates, items, set(each)) if isinstance(each, list) else each
            for candidates, items, each in zip(found, given[block], kept, strict=True)
        ]
    return answers


def _find_places(model: LoadedModel, item_ids: Sequence[str]) -> npt.NDArray[np.int64]:
    places = {place for item_id in item_ids if (place := model.find_place(item_id)) is not None}
    return np.array(sorted(places), np.int64)


def _rank_candidates(model: LoadedModel, candidates: CandidateItems, given: Sequence[str], kept: set[str]) -> Rows:
    places, found = candidates
    item_ids = model.item_ids if places is None else [model.get_item_id(place) for place in places.tolist()]
    ranking = pipeline.rank_given_items(item_ids, found.scores, given, found.approximate)
    return [row for row in ranking if row["itemId"] in kept]


def recommend_actions_block(
    model: LoadedModel, queries: Sequence[Query], selections: Sequence[CandidateSelection], wanted: int
) -> list[Rows | PersonalizeError]:
    """Return ``pipeline.recommend_actions`` of each query, or the error that it raises."""
    answers: list[Rows | PersonalizeError] = []
    for block in _iter_blocks(model, queries):
        masks = [_catch_error(CandidateSelection.mask_filtered, selection) for selection in selections[block]]
        sought = [SoughtItems((None if isinstance(mask, PersonalizeError) else mask,)) for mask in masks]
        found = model.find_candidates(queries[block], sought, wanted)
        answers += [
            mask if isinstance(mask, PersonalizeError) else _list_actions(model, candidates, mask, wanted)
            for candidates, mask in zip(found, masks, strict=True)
        ]
    return answers


def _list_actions(model: LoadedModel, candidates: CandidateItems, mask: Mask | None, wanted: int) -> Rows:
    rows = _list_candidates(model, candidates, pipeline.ItemMasks(mask, mask, None), wanted)
    return [{"actionId": row.pop("itemId"), **row} for row in rows]


def _iter_blocks(model: LoadedModel, queries: Sequence[Query]) -> Iterator[slice]:
    """Yield slices of the queries that fit the memory, each query with a mask."""
    memory, begin, needed = _get_memory(None), 0, 0
    for place, query in enumerate(queries):
        more = model.count_block_bytes(query) + len(model.item_ids)
        if place > begin and (place - begin == MOST_QUERIES or needed + more > memory):
            yield slice(begin, place)
            begin, needed = place, 0
        needed += more
    if begin < len(queries):
        yield slice(begin, len(queries))


def _get_memory(memory_mb: int | None) -> int:
    """Return the bytes for one block."""
    return (settings.load().batch_memory_mb if memory_mb is None else memory_mb) * 2**20


def _catch_error(call: Callable[..., T], *arguments: Any) -> T | PersonalizeError:
    """Return the result of a call, or the error for the client that it raises."""
    try:
        return call(*arguments)
    except PersonalizeError as error:
        return error
