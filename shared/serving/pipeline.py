"""From a query to the list in an answer, without HTTP: mask the items, score them, take the best, promote, explain.

A runtime calls ``recommend_items``, ``rank_items`` or ``recommend_actions``, which score the one query of a request.
A batch job scores many users at once and calls ``list_items``, ``list_ranking`` or ``list_actions`` with the scores of
each user.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from shared.aws.errors import InvalidInput
from shared.filters.columns import mask_rows
from shared.filters.evaluation import Mask
from shared.recipes import Recipe
from shared.recipes.distribution import NEVER, compute_exact_scores, find_best_items
from shared.recipes.scoring_api import ApproximateScores, ExplainedScores, Past, Query
from shared.resources.exploration import parse_exploration
from shared.serving.candidate_mask import CandidateSelection, intersect_masks
from shared.serving.model_cache import LoadedModel, find_place
from shared.serving.promotions import Promotion, interleave_promotions, read_promotion
from shared.serving.reasons import with_reasons

#: Most filters let enough of the best 256 items through, so that the scores of the rest need no look.
FIRST = 256
RNG = np.random.default_rng()


class ItemCatalogue(Protocol):
    """The items of which a list is made, sorted by id: all items of a model, or the candidates of one query."""

    @property
    def recipe(self) -> Recipe: ...

    @property
    def get_item_id(self) -> Callable[[int], str]:
        """Returns the id of the item at a place."""
        ...


class ItemMasks(NamedTuple):
    """The items that may stand in one list. Each mask is bool[I]; None lets every item through."""

    shown: Mask | None
    """Without the items that the use case hides by itself."""
    allowed: Mask | None
    """``shown`` without the items that the request's own filter rejects."""
    promotion: Promotion | None


# Queries


def check_members(recipe: Recipe, request: Mapping[str, Any]) -> None:
    """Raise InvalidInput where a member that the recipe needs is missing or empty."""
    for member in recipe.serving.required_members:
        if not request.get(member):
            hint = " For an anonymous user, send the sessionId." if member == "userId" else ""
            raise InvalidInput(f"{member} is required by the recipe {recipe.name}.{hint}")


def build_query(
    recipe: Recipe,
    request: Mapping[str, Any],
    config: Mapping[str, Any],
    *,
    now: float,
    history: Sequence[Past],
    seed: int | None = None,
) -> Query:
    """Build the query for a model of ``recipe`` from the members of a request or of a batch job's line.

    ``config`` may hold itemExplorationConfig, ``now`` is in epoch seconds, ``history`` is oldest first. A ``seed``
    makes exploration repeatable.
    """
    return Query(
        now=now,
        user_id=request.get("userId") or "",
        history=history,
        context=request.get("context") or {},
        item_id=request.get("itemId"),
        exploration=parse_exploration(config.get("itemExplorationConfig")) if recipe.serving.explores else None,
        seed=seed,
    )


# Lists of items


def recommend_items(
    model: LoadedModel, query: Query, selection: CandidateSelection, wanted: int
) -> list[dict[str, Any]]:
    """Score one query and list its items. Raises ResourceNotFound, InvalidInput, ServiceUnavailable."""
    masks = mask_items(selection)
    found = model.explain_scores(exclude_known_items(query, selection, masks))
    return list_items(model, found, masks, wanted)


def mask_items(selection: CandidateSelection) -> ItemMasks:
    """Evaluate the filters of a request. Raises ResourceNotFound, InvalidInput, ServiceUnavailable."""
    shown = selection.mask_use_case()
    return ItemMasks(shown, intersect_masks(shown, selection.mask_filtered()), read_promotion(selection))


def exclude_known_items(query: Query, selection: CandidateSelection, masks: ItemMasks) -> Query:
    """Return a query for unseen items where the masks hide the items that the user knows; else the same query."""
    return replace(query, unseen_only=True) if selection.should_exclude_known(masks.allowed, query.history) else query


def list_items(model: ItemCatalogue, found: ExplainedScores, masks: ItemMasks, wanted: int) -> list[dict[str, Any]]:
    """List at most ``wanted`` items by the scores of one query, with the promoted ones and the reasons."""
    promotion = masks.promotion
    if promotion is None:
        return _list_best(model, found, masks.allowed, wanted)
    allowed = intersect_masks(masks.shown, promotion.allowed)
    promoted = find_best_allowed(found.scores, promotion.count_places(wanted), allowed, found.approximate)
    rows = promotion.mark_rows(_build_rows(model, found, promoted), reasons=model.recipe.serving.gives_reasons)
    rest = intersect_masks(masks.allowed, ~mask_rows(len(found.scores), [promoted]))
    return interleave_promotions(rows, _list_best(model, found, rest, wanted - len(promoted)), RNG)


def _list_best(model: ItemCatalogue, found: ExplainedScores, allowed: Mask | None, wanted: int) -> list[dict[str, Any]]:
    """List the best items, with reasons where the recipe has explored or nothing is known of the user."""
    listed = find_best_allowed(found.scores, wanted, allowed, found.approximate)
    rows = _build_rows(model, found, listed)
    if found.unexplored is found.scores and not found.popular:
        return rows
    return with_reasons(
        rows, listed, found, partial(find_best_allowed, wanted=wanted, allowed=allowed, approximate=found.approximate)
    )


def _build_rows(model: ItemCatalogue, found: ExplainedScores, listed: npt.NDArray[np.int64]) -> list[dict[str, Any]]:
    # Of popular items AWS says that they have no score: it would tell how relevant they are to the user.
    shows_scores = model.recipe.serving.shows_scores and not found.popular
    return build_rows(model.get_item_id, found.scores, listed, shows_scores=shows_scores, approximate=found.approximate)


def find_best_allowed(
    scores: npt.NDArray[np.float32], wanted: int, allowed: Mask | None, approximate: ApproximateScores | None = None
) -> npt.NDArray[np.int64]:
    """int64[K]: the best ``wanted`` items that may be shown, by falling score and then by id, as the ids are sorted.

    ``allowed`` is bool[I]; None allows all. ``approximate`` says how far the scores are off; None: they are exact.
    """
    if allowed is None:
        return find_best_items(scores, wanted, least=0.0, approximate=approximate)
    if approximate is not None:
        # A pass over all scores costs less than exact scores of more items than are wanted.
        return find_best_items(np.where(allowed, scores, np.float32(NEVER)), wanted, least=0.0, approximate=approximate)
    first = find_best_items(scores, FIRST, least=0.0)
    found = first[allowed[first]][:wanted]
    if len(found) < wanted and allowed.any():
        places = np.flatnonzero(allowed)
        found = places[find_best_items(scores[places], wanted, least=0.0)]
    return found


def build_rows(
    get_item_id: Callable[[int], str],
    scores: npt.NDArray[np.float32],
    listed: npt.NDArray[np.int64],
    *,
    shows_scores: bool,
    approximate: ApproximateScores | None = None,
) -> list[dict[str, Any]]:
    """Return a row for each listed item; shown scores have 7 decimals, as AWS's answers have.

    ``get_item_id`` returns the id of the item at a place.
    """
    item_ids = map(get_item_id, listed.tolist())
    if not shows_scores:
        return [{"itemId": item_id} for item_id in item_ids]
    shown = compute_exact_scores(scores, listed, approximate).astype(np.float64).round(7).tolist()
    return [{"itemId": item_id, "score": score} for item_id, score in zip(item_ids, shown, strict=True)]


# Rankings of given items


def rank_items(
    model: LoadedModel, query: Query, selection: CandidateSelection, given: Sequence[str]
) -> list[dict[str, Any]]:
    """Score one query and rank the given distinct items. Raises as ``mask_items``."""
    kept = set(selection.filter_items(given))
    return list_ranking(model, model.explain_scores(query), given, kept)


def list_ranking(
    model: LoadedModel, found: ExplainedScores, given: Sequence[str], kept: Collection[str]
) -> list[dict[str, Any]]:
    """Rank the given items by the scores of one query; only those ``kept`` by the filter are in the list.

    As in recommendations, the filter does not change the scores of the items that it keeps.
    """
    ranking = rank_given_items(model.item_ids, found.scores, given, found.approximate)
    return [row for row in ranking if row["itemId"] in kept]


def rank_given_items(
    item_ids: Sequence[str],
    scores: npt.NDArray[np.float32],
    given: Sequence[str],
    approximate: ApproximateScores | None = None,
) -> list[dict[str, Any]]:
    """Rank the given items, each once, by falling score and then by id; scores are the softmax over these items alone.

    Items that the model does not know come last, in the order given and without a score. ``item_ids`` are sorted.
    """
    distinct = dict.fromkeys(given)
    numbers = {item_id: place for item_id in distinct if (place := find_place(item_ids, item_id)) is not None}
    # The softmax over some items is the softmax over all, divided by the sum of their shares of it.
    exactly = compute_exact_scores(scores, np.array(list(numbers.values()), np.int64), approximate)
    shares = {item_id: max(score, 0.0) for item_id, score in zip(numbers, exactly.tolist(), strict=True)}
    total = sum(shares.values())
    rows = sorted((-(share / total if total else 1 / len(shares)), item_id) for item_id, share in shares.items())
    known = [{"itemId": item_id, "score": round(-score, 7)} for score, item_id in rows]
    return [*known, *({"itemId": item_id} for item_id in distinct if item_id not in numbers)]


# Lists of actions


def recommend_actions(
    model: LoadedModel, query: Query, selection: CandidateSelection, wanted: int
) -> list[dict[str, Any]]:
    """Score one query and list its actions. Raises as ``mask_items``."""
    allowed = selection.mask_filtered()
    return list_actions(model, model.score_items(query), allowed, wanted)


def list_actions(
    model: LoadedModel, scores: npt.NDArray[np.float32], allowed: Mask | None, wanted: int
) -> list[dict[str, Any]]:
    """List at most ``wanted`` actions by the scores of one query."""
    listed = find_best_allowed(scores, wanted, allowed)
    rows = build_rows(model.get_item_id, scores, listed, shows_scores=model.recipe.serving.shows_scores)
    return [{"actionId": row.pop("itemId"), **row} for row in rows]
