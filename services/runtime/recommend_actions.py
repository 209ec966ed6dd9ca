"""GetActionRecommendations: the actions that a user will most likely take, by a campaign of Next-Best-Action."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.runtime.endpoint import RuntimeContext, build_query, register_answer, resolve_endpoint
from shared.aws.errors import InvalidInput
from shared.http.app import Call
from shared.serving.candidate_mask import CandidateSelection
from shared.serving.pipeline import recommend_actions

DEFAULT_RESULTS = 5
MOST_RESULTS = 100


def get_action_recommendations(context: RuntimeContext, call: Call) -> Mapping[str, Any]:
    request = call.request
    wanted = request.get("numResults", DEFAULT_RESULTS)
    if wanted > MOST_RESULTS:
        raise InvalidInput(f"numResults is {wanted}; at most {MOST_RESULTS} actions are answered.")
    endpoint = resolve_endpoint(context, request, "PERSONALIZED_ACTIONS")
    query = build_query(endpoint, request, context)
    actions = recommend_actions(
        endpoint.model, query, CandidateSelection(context.filters, endpoint.model, request), wanted
    )
    return {"actionList": actions, "recommendationId": register_answer(context, endpoint, query, empty=not actions)}
