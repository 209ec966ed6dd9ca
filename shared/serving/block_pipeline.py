"""The lists of many queries at once, for a batch job. The lists are those of ``pipeline``, to 1e-6 in the scores.

Each function answers a query that cannot be answered, because of its filter values for example, with the error that
``pipeline`` raises for it; the other queries of the block are not affected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from shared import settings
from shared.aws.errors import PersonalizeError
from shared.recipes.scoring_api import Query
from shared.serving import pipeline
from shared.serving.candidate_mask import CandidateSelection
from shared.serving.model_cache import LoadedModel

Rows = list[dict[str, Any]]
T = TypeVar("T")

MOST_QUERIES = 512
"""More queries in one block gain nothing."""

BYTES_AN_ITEM = 16
"""Of each query: scores, a mask, and copies of them."""


def choose_block_size(model: LoadedModel, memory_mb: int | None = None) -> int:
    """Return how many queries a block may have within ``memory_mb``, by default FORETASTE_BATCH_MEMORY_MB."""
    memory = (settings.load().batch_memory_mb if memory_mb is None else memory_mb) * 2**20
    return max(1, min(MOST_QUERIES, memory // (BYTES_AN_ITEM * max(1, len(model.item_ids)))))


def recommend_block(
    model: LoadedModel, queries: Sequence[Query], selections: Sequence[CandidateSelection], wanted: int
) -> list[Rows | PersonalizeError]:
    """Return ``pipeline.recommend_items`` of each query, or the error that it raises."""
    answers: list[Rows | PersonalizeError] = []
    for block in _iter_blocks(model, len(queries)):
        masks = [_catch_error(pipeline.mask_items, selection) for selection in selections[block]]
        asked = [
            pipeline.exclude_known_items(query, selection, mask)
            for query, selection, mask in zip(queries[block], selections[block], masks, strict=True)
            if not isinstance(mask, PersonalizeError)
        ]
        found = iter(model.explain_block(asked))
        answers += [
            mask if isinstance(mask, PersonalizeError) else pipeline.list_items(model, next(found), mask, wanted)
            for mask in masks
        ]
    return answers


def rank_block(
    model: LoadedModel,
    queries: Sequence[Query],
    selections: Sequence[CandidateSelection],
    given: Sequence[Sequence[str]],
) -> list[Rows | PersonalizeError]:
    """Return ``pipeline.rank_items`` of each query and its given items, or the error that it raises."""
    answers: list[Rows | PersonalizeError] = []
    for block in _iter_blocks(model, len(queries)):
        kept = [
            _catch_error(selection.filter_items, items)
            for selection, items in zip(selections[block], given[block], strict=True)
        ]
        asked = [query for query, each in zip(queries[block], kept, strict=True) if isinstance(each, list)]
        found = iter(model.explain_block(asked))
        answers += [
            pipeline.list_ranking(model, next(found), items, set(each)) if isinstance(each, list) else each
            for items, each in zip(given[block], kept, strict=True)
        ]
    return answers


def recommend_actions_block(
    model: LoadedModel, queries: Sequence[Query], selections: Sequence[CandidateSelection], wanted: int
) -> list[Rows | PersonalizeError]:
    """Return ``pipeline.recommend_actions`` of each query, or the error that it raises."""
    answers: list[Rows | PersonalizeError] = []
    for block in _iter_blocks(model, len(queries)):
        masks = [_catch_error(CandidateSelection.mask_filtered, selection) for selection in selections[block]]
        asked = [
            query for query, mask in zip(queries[block], masks, strict=True) if not isinstance(mask, PersonalizeError)
        ]
        found = iter(model.explain_block(asked))
        answers += [
            mask
            if isinstance(mask, PersonalizeError)
            else pipeline.list_actions(model, next(found).scores, mask, wanted)
            for mask in masks
        ]
    return answers


def _iter_blocks(model: LoadedModel, queries: int) -> Iterator[slice]:
    size = choose_block_size(model)
    for begin in range(0, queries, size):
        yield slice(begin, begin + size)


def _catch_error(call: Callable[..., T], *arguments: Any) -> T | PersonalizeError:
    """Return the result of a call, or the error for the client that it raises."""
    try:
        return call(*arguments)
    except PersonalizeError as error:
        return error
