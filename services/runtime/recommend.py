"""GetRecommendations: who is asked -> what may be answered -> scores -> list, as one readable pipeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from services.runtime import metadata
from services.runtime.endpoint import Serving, query, recommendation_id, served
from shared.aws.errors import InvalidInput
from shared.filters.columns import marked
from shared.filters.evaluation import Mask
from shared.http.app import Call
from shared.recipes.distribution import NEVER, best, exact
from shared.recipes.scoring_api import Rough
from shared.serving.candidate_mask import Selection, both
from shared.serving.promotions import mixed, promotion_of
from shared.serving.reasons import reasoned

TYPES = ("USER_PERSONALIZATION", "POPULAR_ITEMS", "RELATED_ITEMS")
DEFAULT_RESULTS = 25
MOST_RESULTS = 500
#: Items of an impression: AWS lets no event tell of more.
MOST_SHOWN = 25
#: Of the best so many most filters let enough through: then nobody need look at the others.
FIRST = 256
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
    if selection.hides_had(allowed, asking.history):
        asking = replace(asking, anew=True)
    found = asked.model.explained(asking)
    scores = found.scores
    # Of popular items AWS says that they have no score: it would tell how relevant they are to the user.
    shows_scores = asked.recipe.shows_scores and not found.popular
    rows = partial(answered, asked.model.named, scores, shows_scores=shows_scores, rough=found.rough)
    promoted = np.zeros(0, np.int64)
    if promotion is not None:
        promoted = best_of(scores, promotion.places(wanted), both(shown, promotion.allowed), found.rough)
        allowed = both(allowed, ~marked(len(scores), [promoted]))
    best_others = partial(best_of, wanted=wanted - len(promoted), allowed=allowed, rough=found.rough)
    others = best_others(scores)
    items = reasoned(rows(others), others, found, best_others)
    if promotion is not None:
        items = mixed(promotion.named(rows(promoted), reasons=asked.recipe.reasons), items, RNG)
    answer_id = recommendation_id()
    if asked.recipe.impressions and items:
        listed = "|".join(row["itemId"] for row in items[:MOST_SHOWN])
        serving.store.show(asked.model.interactions, answer_id, listed)
    return {"itemList": about.told(items), "recommendationId": answer_id}


def results(request: Mapping[str, Any], most: int) -> int:
    """How many items are wanted. Raises InvalidInput."""
    wanted: int = request.get("numResults", DEFAULT_RESULTS)
    if wanted > most:
        with_metadata = " with metadata" if most < MOST_RESULTS else ""
        raise InvalidInput(f"numResults is {wanted}; at most {most} are answered{with_metadata}.")
    return wanted


def best_of(
    scores: npt.NDArray[np.float32], wanted: int, allowed: Mask | None, rough: Rough | None = None
) -> npt.NDArray[np.int64]:
    """int64[K]: the best ``wanted`` items that may be shown, by falling score and then by id, as the ids are sorted.

    ``allowed`` is bool[I]; None: all are. ``rough`` tells how far the scores are off; None: they are exact.
    """
    if allowed is None:
        return best(scores, wanted, least=0.0, rough=rough)
    if rough is not None:
        # To look at all costs less than to look at the vectors of more than are wanted.
        return best(np.where(allowed, scores, np.float32(NEVER)), wanted, least=0.0, rough=rough)
    first = best(scores, FIRST, least=0.0)
    found = first[allowed[first]][:wanted]
    if len(found) < wanted and allowed.any():
        places = np.flatnonzero(allowed)
        found = places[best(scores[places], wanted, least=0.0)]
    return found


def answered(
    named: Callable[[int], str],
    scores: npt.NDArray[np.float32],
    listed: npt.NDArray[np.int64],
    *,
    shows_scores: bool,
    rough: Rough | None = None,
) -> list[dict[str, Any]]:
    """Items as answers have them; with 7 decimals of the scores, as AWS answers them, where they are shown."""
    item_ids = map(named, listed.tolist())
    if not shows_scores:
        return [{"itemId": item_id} for item_id in item_ids]
    shown = exact(scores, listed, rough).astype(np.float64).round(7).tolist()
    return [{"itemId": item_id, "score": score} for item_id, score in zip(item_ids, shown, strict=True)]
