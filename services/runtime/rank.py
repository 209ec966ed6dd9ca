"""GetPersonalizedRanking: the items of the request in the order of how likely the user is to take each of them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from services.runtime.deployed import Deployed
from services.runtime.recommend import refuse_what_is_not_offered
from services.runtime.served import query, recommendation_id, served
from shared.aws.errors import InvalidInput
from shared.aws.web import Call
from shared.resources import Reading
from shared.store import Store

MOST_ITEMS = 500


def get_personalized_ranking(reading: Reading, store: Store, deployed: Deployed, call: Call) -> Mapping[str, Any]:
    request = call.request
    refuse_what_is_not_offered(request)
    if len(request["inputList"]) > MOST_ITEMS:
        raise InvalidInput(f"inputList has {len(request['inputList'])} items; at most {MOST_ITEMS} are ranked.")
    asked = served(reading, deployed, request, "PERSONALIZED_RANKING")
    scores = asked.model.scores(query(asked, request, store))
    ranking = reordered(asked.model.item_ids, scores, request["inputList"])
    return {"personalizedRanking": ranking, "recommendationId": recommendation_id()}


def reordered(item_ids: Sequence[str], scores: npt.NDArray[np.float32], given: Sequence[str]) -> list[dict[str, Any]]:
    """The given items, each once, by falling score and then by id; the scores are the softmax over these items alone.

    Those the model does not know come last, in the order given and without a score. ``item_ids`` are sorted.
    """
    distinct = dict.fromkeys(given)
    numbers = {item_id: place for item_id in distinct if (place := number(item_ids, item_id)) is not None}
    # A softmax over some is the softmax over all, divided by what these have of it.
    shares = {item_id: max(float(scores[place]), 0.0) for item_id, place in numbers.items()}
    total = sum(shares.values())
    rows = sorted((-(share / total if total else 1 / len(shares)), item_id) for item_id, share in shares.items())
    known = [{"itemId": item_id, "score": round(-score, 7)} for score, item_id in rows]
    return [*known, *({"itemId": item_id} for item_id in distinct if item_id not in numbers)]


def number(item_ids: Sequence[str], item_id: str) -> int | None:
    """The place of an item among the sorted ids; None: it is unknown."""
    place = bisect_left(item_ids, item_id)
    return place if place < len(item_ids) and item_ids[place] == item_id else None
