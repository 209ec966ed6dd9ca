"""GetActionRecommendations: the actions that a user will most likely take, of a campaign of Next-Best-Action."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.runtime.endpoint import Serving, query, recommendation_id, served
from services.runtime.recommend import answered, best_of
from shared.aws.errors import InvalidInput
from shared.http.app import Call
from shared.serving.candidate_mask import Selection

DEFAULT_RESULTS = 5
MOST_RESULTS = 100


def get_action_recommendations(serving: Serving, call: Call) -> Mapping[str, Any]:
    request = call.request
    wanted = request.get("numResults", DEFAULT_RESULTS)
    if wanted > MOST_RESULTS:
        raise InvalidInput(f"numResults is {wanted}; at most {MOST_RESULTS} actions are answered.")
    asked = served(serving, request, "PERSONALIZED_ACTIONS")
    asking = query(asked, request, serving.store)
    allowed = Selection(serving.filters, asked.model, request).filtered()
    scores = asked.model.scores(asking)
    listed = best_of(scores, wanted, allowed)
    actions = answered(asked.model.named, scores, listed, shows_scores=asked.recipe.shows_scores)
    return {
        "actionList": [{"actionId": one.pop("itemId"), **one} for one in actions],
        "recommendationId": recommendation_id(),
    }
