"""GetRecommendations: who is asked -> what may be answered -> scores -> list, as one readable pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from services.runtime import metadata
from services.runtime.promoting import mixed, promotion_of
from services.runtime.selection import Selection, both
from services.runtime.served import Serving, query, recommendation_id, served
from shared.aws.errors import InvalidInput
from shared.aws.web import Call
from shared.filters.columns import marked
from shared.filters.evaluation import Mask
from shared.recipes.distribution import best

TYPES = ("USER_PERSONALIZATION", "POPULAR_ITEMS", "RELATED_ITEMS")
DEFAULT_RESULTS = 25
MOST_RESULTS = 500
RNG = np.random.default_rng()


def get_recommendations(serving: Serving, call: Call) -> Mapping[str, Any]:
    request = call.request
    asked = served(serving, request, *TYPES)
    about = metadata.metadata(serving, asked, request)
    wanted = results(request, metadata.MOST_ITEMS if about else MOST_RESULTS)
    asking = query(asked, request, serving.store)
    selection = Selection(serving.filters, asked.model, request)
    shown = selection.shown()
    allowed = both(shown, selection.filtered())
    promotion = promotion_of(request, selection)
    scores = asked.model.scores(asking)
    rows = partial(answered, asked.model.item_ids, scores, shows_scores=asked.recipe.shows_scores)
    if promotion is None:
        items = rows(best_of(scores, wanted, allowed))
    else:
        promoted = best_of(scores, promotion.places(wanted), both(shown, promotion.allowed))
        others = best_of(scores, wanted - len(promoted), both(allowed, ~marked(len(scores), [np.array(promoted, int)])))
        items = mixed(promotion.named(rows(promoted), reasons=asked.recipe.reasons), rows(others), RNG)
    return {"itemList": about.told(items), "recommendationId": recommendation_id()}


def results(request: Mapping[str, Any], most: int) -> int:
    """How many items are wanted. Raises InvalidInput."""
    wanted: int = request.get("numResults", DEFAULT_RESULTS)
    if wanted > most:
        with_metadata = " with metadata" if most < MOST_RESULTS else ""
        raise InvalidInput(f"numResults is {wanted}; at most {most} are answered{with_metadata}.")
    return wanted


def best_of(scores: npt.NDArray[np.float32], wanted: int, allowed: Mask | None) -> list[int]:
    """The best ``wanted`` items that may be shown, by falling score and then by id, as the ids are sorted.

    ``allowed`` is bool[I]; None: all are.
    """
    if allowed is None:
        found = best(scores, wanted)
        found = found[scores[found] >= 0]
    else:
        # Few may be left, and to rank them among what is not would be to sort it all.
        candidates = np.flatnonzero(allowed & (scores >= 0))
        found = candidates[best(scores[candidates], wanted)] if len(candidates) else candidates
    listed: list[int] = found.tolist()
    return listed


def answered(
    item_ids: Sequence[str], scores: npt.NDArray[np.float32], listed: Sequence[int], *, shows_scores: bool
) -> list[dict[str, Any]]:
    """Items as answers have them; with 7 decimals of the scores, as AWS answers them, where they are shown."""
    if not shows_scores:
        return [{"itemId": item_ids[item]} for item in listed]
    shown = scores[listed].tolist()
    return [{"itemId": item_ids[item], "score": round(score, 7)} for item, score in zip(listed, shown, strict=True)]
