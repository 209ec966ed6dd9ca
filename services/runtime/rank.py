"""GetPersonalizedRanking: the items of the request in the order of how likely the user is to take each of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.runtime import metadata
from services.runtime.endpoint import RuntimeContext, build_query, create_recommendation_id, resolve_endpoint
from shared.aws.errors import InvalidInput
from shared.http.app import Call
from shared.serving.candidate_mask import CandidateSelection
from shared.serving.pipeline import rank_items

MOST_ITEMS = 500


def get_personalized_ranking(serving: RuntimeContext, call: Call) -> Mapping[str, Any]:
    request = call.request
    given = list(dict.fromkeys(request["inputList"]))
    if len(request["inputList"]) > MOST_ITEMS:
        raise InvalidInput(f"inputList has {len(request['inputList'])} items; at most {MOST_ITEMS} are ranked.")
    asked = resolve_endpoint(serving, request, "PERSONALIZED_RANKING")
    about = metadata.resolve_metadata(serving, asked, request)
    if about and len(request["inputList"]) > metadata.MOST_ITEMS:
        count, most = len(request["inputList"]), metadata.MOST_ITEMS
        raise InvalidInput(f"inputList has {count} items; at most {most} are ranked with metadata.")
    asking = build_query(asked, request, serving.store)
    ranking = rank_items(asked.model, asking, CandidateSelection(serving.filters, asked.model, request), given)
    return {"personalizedRanking": about.with_metadata(ranking), "recommendationId": create_recommendation_id()}
