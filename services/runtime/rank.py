"""GetPersonalizedRanking: the items of the request in the order of how likely the user is to take each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from services.runtime import metadata
from services.runtime.endpoint import Serving, query, recommendation_id, served
from shared.aws.errors import InvalidInput
from shared.http.app import Call
from shared.recipes.distribution import exact
from shared.recipes.scoring_api import Rough
from shared.serving.candidate_mask import Selection
from shared.serving.model_cache import place_of

MOST_ITEMS = 500


def get_personalized_ranking(serving: Serving, call: Call) -> Mapping[str, Any]:
    request = call.request
    given = list(dict.fromkeys(request["inputList"]))
    if len(request["inputList"]) > MOST_ITEMS:
        raise InvalidInput(f"inputList has {len(request['inputList'])} items; at most {MOST_ITEMS} are ranked.")
    asked = served(serving, request, "PERSONALIZED_RANKING")
    about = metadata.metadata(serving, asked, request)
    if about and len(request["inputList"]) > metadata.MOST_ITEMS:
        count, most = len(request["inputList"]), metadata.MOST_ITEMS
        raise InvalidInput(f"inputList has {count} items; at most {most} are ranked with metadata.")
    asking = query(asked, request, serving.store)
    kept = set(Selection(serving.filters, asked.model, request).kept(given))
    found = asked.model.explained(asking)
    # As in recommendations, what a filter takes away changes no score of the rest.
    ranking = reordered(asked.model.item_ids, found.scores, given, found.rough)
    ranking = [row for row in ranking if row["itemId"] in kept]
    return {"personalizedRanking": about.told(ranking), "recommendationId": recommendation_id()}


def reordered(
    item_ids: Sequence[str], scores: npt.NDArray[np.float32], given: Sequence[str], rough: Rough | None = None
) -> list[dict[str, Any]]:
    """The given items, each once, by falling score and then by id; the scores are the softmax over these items alone.

    Those the model does not know come last, in the order given and without a score. ``item_ids`` are sorted.
    """
    distinct = dict.fromkeys(given)
    numbers = {item_id: place for item_id in distinct if (place := place_of(item_ids, item_id)) is not None}
    # A softmax over some is the softmax over all, divided by what these have of it.
    exactly = exact(scores, np.array(list(numbers.values()), np.int64), rough)
    shares = {item_id: max(score, 0.0) for item_id, score in zip(numbers, exactly.tolist(), strict=True)}
    total = sum(shares.values())
    rows = sorted((-(share / total if total else 1 / len(shares)), item_id) for item_id, share in shares.items())
    known = [{"itemId": item_id, "score": round(-score, 7)} for score, item_id in rows]
    return [*known, *({"itemId": item_id} for item_id in distinct if item_id not in numbers)]
