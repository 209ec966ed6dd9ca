"""GetActionRecommendations: the actions that a user will most likely take, by a campaign of Next-Best-Action."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.runtime.endpoint import RuntimeContext, build_query, create_recommendation_id, resolve_endpoint
from shared.aws.errors import InvalidInput
from shared.http.app import Call
from shared.serving.candidate_mask import CandidateSelection
from shared.serving.pipeline import recommend_actions

DEFAULT_RESULTS = 5
MOST_RESULTS = 100


def get_action_recommendations(serving: RuntimeContext, call: Call) -> Mapping[str, Any]:
    request = call.request
    wanted = request.get("numResults", DEFAULT_RESULTS)
    if wanted > MOST_RESULTS:
        raise InvalidInput(f"numResults is {wanted}; at most {MOST_RESULTS} actions are answered.")
    asked = resolve_endpoint(serving, request, "PERSONALIZED_ACTIONS")
    asking = build_query(asked, request, serving.store)
    actions = recommend_actions(asked.model, asking, CandidateSelection(serving.filters, asked.model, request), wanted)
    return {"actionList": actions, "recommendationId": create_recommendation_id()}
