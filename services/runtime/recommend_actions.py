"""GetActionRecommendations: the actions that a user will most likely take, of a campaign of Next-Best-Action."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.runtime.deployed import Deployed
from services.runtime.recommend import ranked, refuse_what_is_not_offered
from services.runtime.served import query, recommendation_id, served
from shared.aws.errors import InvalidInput
from shared.aws.web import Call
from shared.resources import Reading
from shared.store import Store

DEFAULT_RESULTS = 5
MOST_RESULTS = 100


def get_action_recommendations(reading: Reading, store: Store, deployed: Deployed, call: Call) -> Mapping[str, Any]:
    request = call.request
    refuse_what_is_not_offered(request)
    wanted = request.get("numResults", DEFAULT_RESULTS)
    if wanted > MOST_RESULTS:
        raise InvalidInput(f"numResults is {wanted}; at most {MOST_RESULTS} actions are answered.")
    asked = served(reading, deployed, request, "PERSONALIZED_ACTIONS")
    scores = asked.model.scores(query(asked, request, store))
    actions = ranked(asked.model.item_ids, scores, wanted, shows_scores=asked.recipe.shows_scores)
    return {
        "actionList": [{"actionId": one.pop("itemId"), **one} for one in actions],
        "recommendationId": recommendation_id(),
    }
