"""GetRecommendations: resolve the endpoint, check the request, list items, keep the list as an impression."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.runtime.endpoint import RuntimeContext, build_query, register_answer, resolve_endpoint
from services.runtime.metadata import MOST_ITEMS_WITH_METADATA, resolve_metadata
from shared.aws.errors import InvalidInput
from shared.http.app import Call
from shared.serving.candidate_mask import CandidateSelection
from shared.serving.pipeline import recommend_items

TYPES = ("USER_PERSONALIZATION", "POPULAR_ITEMS", "RELATED_ITEMS")
DEFAULT_RESULTS = 25
MOST_RESULTS = 500
#: Items of an impression: AWS accepts no more in an event.
MOST_SHOWN = 25


def get_recommendations(context: RuntimeContext, call: Call) -> Mapping[str, Any]:
    request = call.request
    endpoint = resolve_endpoint(context, request, *TYPES)
    metadata = resolve_metadata(context, endpoint, request)
    wanted = parse_num_results(request, MOST_ITEMS_WITH_METADATA if metadata else MOST_RESULTS)
    query = build_query(endpoint, request, context)
    items = recommend_items(endpoint.model, query, CandidateSelection(context.filters, endpoint.model, request), wanted)
    answer_id = register_answer(context, endpoint, query, empty=not items)
    if endpoint.recipe.training.uses_impressions and items:
        listed = "|".join(row["itemId"] for row in items[:MOST_SHOWN])
        context.store.save_impression(endpoint.model.interactions, answer_id, listed)
    return {"itemList": metadata.with_metadata(items), "recommendationId": answer_id}


def parse_num_results(request: Mapping[str, Any], most: int) -> int:
    """Return how many items are wanted. Raises InvalidInput."""
    wanted: int = request.get("numResults", DEFAULT_RESULTS)
    if wanted > most:
        with_metadata = " with metadata" if most < MOST_RESULTS else ""
        raise InvalidInput(f"numResults is {wanted}; at most {most} are answered{with_metadata}.")
    return wanted
