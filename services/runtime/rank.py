"""GetPersonalizedRanking: the items of the request in the order of how likely the user is to take each of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.runtime.endpoint import RuntimeContext, build_query, register_answer, resolve_endpoint
from services.runtime.metadata import MOST_ITEMS_WITH_METADATA, resolve_metadata
from shared.aws.errors import InvalidInput
from shared.http.app import Call
from shared.serving.candidate_mask import CandidateSelection
from shared.serving.pipeline import rank_items

MOST_ITEMS = 500


def get_personalized_ranking(context: RuntimeContext, call: Call) -> Mapping[str, Any]:
    request = call.request
    given = list(dict.fromkeys(request["inputList"]))
    if len(request["inputList"]) > MOST_ITEMS:
        raise InvalidInput(f"inputList has {len(request['inputList'])} items; at most {MOST_ITEMS} are ranked.")
    endpoint = resolve_endpoint(context, request, "PERSONALIZED_RANKING")
    metadata = resolve_metadata(context, endpoint, request)
    if metadata and len(request["inputList"]) > MOST_ITEMS_WITH_METADATA:
        count, most = len(request["inputList"]), MOST_ITEMS_WITH_METADATA
        raise InvalidInput(f"inputList has {count} items; at most {most} are ranked with metadata.")
    query = build_query(endpoint, request, context)
    ranking = rank_items(endpoint.model, query, CandidateSelection(context.filters, endpoint.model, request), given)
    return {
        "personalizedRanking": metadata.with_metadata(ranking),
        "recommendationId": register_answer(context, endpoint, query, empty=not ranking),
    }
