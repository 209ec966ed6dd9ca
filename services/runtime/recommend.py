"""GetRecommendations: who is asked -> what is asked -> scores -> list, as one readable pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from services.runtime.deployed import Deployed
from services.runtime.served import query, recommendation_id, served
from shared.aws.errors import InvalidInput
from shared.aws.web import Call
from shared.recipes.distribution import best
from shared.resources import Reading
from shared.store import Store

TYPES = ("USER_PERSONALIZATION", "POPULAR_ITEMS", "RELATED_ITEMS")
DEFAULT_RESULTS = 25
MOST_RESULTS = 500

#: Members that ask for what foretaste does not do yet. They are refused: an unfiltered answer would be a wrong one.
NOT_OFFERED = ("filterArn", "promotions", "metadataColumns")


def get_recommendations(reading: Reading, store: Store, deployed: Deployed, call: Call) -> Mapping[str, Any]:
    request = call.request
    refuse_what_is_not_offered(request)
    asked = served(reading, deployed, request, *TYPES)
    wanted = results(request)
    scores = asked.model.scores(query(asked, request, store))
    items = ranked(asked.model.item_ids, scores, wanted, shows_scores=asked.recipe.shows_scores)
    return {"itemList": items, "recommendationId": recommendation_id()}


def refuse_what_is_not_offered(request: Mapping[str, Any]) -> None:
    """Raises InvalidInput."""
    for member in NOT_OFFERED:
        if request.get(member):
            raise InvalidInput(f"foretaste does not offer {member} yet: leave it out.")


def results(request: Mapping[str, Any]) -> int:
    """How many items are wanted. Raises InvalidInput."""
    wanted: int = request.get("numResults", DEFAULT_RESULTS)
    if wanted > MOST_RESULTS:
        raise InvalidInput(f"numResults is {wanted}; at most {MOST_RESULTS} are answered.")
    return wanted


def ranked(
    item_ids: Sequence[str], scores: npt.NDArray[np.float32], wanted: int, *, shows_scores: bool
) -> list[dict[str, Any]]:
    """The best ``wanted`` items that may be shown, by falling score and then by id, as the ids are sorted; with 7
    decimals of the scores, as AWS answers them, where they are shown."""
    listed = [item for item in best(scores, wanted).tolist() if scores[item] >= 0]
    if not shows_scores:
        return [{"itemId": item_ids[item]} for item in listed]
    return [{"itemId": item_ids[item], "score": round(float(scores[item]), 7)} for item in listed]
