"""GetRecommendations: history -> scores -> page, as one readable pipeline."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from services.runtime.deployed import Deployed, NotDeployable
from shared.aws.errors import InvalidInput, ServiceUnavailable
from shared.aws.web import Call
from shared.lifecycle import ACTIVE
from shared.recipes.contract import Past, Query
from shared.resources import Reading
from shared.store import Interaction, Record, Store

DEFAULT_RESULTS = 25
MOST_RESULTS = 500

#: Members that ask for what foretaste does not do yet. They are refused: an unfiltered answer would be a wrong one.
NOT_OFFERED = ("recommenderArn", "filterArn", "promotions", "metadataColumns")


def get_recommendations(reading: Reading, store: Store, deployed: Deployed, call: Call) -> Mapping[str, Any]:
    request = call.request
    campaign, wanted = _asked(request, reading)
    try:
        model = deployed.model(campaign.body["solutionVersionArn"])
    except NotDeployable as error:
        raise ServiceUnavailable(f"The campaign {campaign.arn} can't answer: {error}") from error
    user_id = request["userId"]
    history = merged(model.history(user_id), store.recent(model.interactions, user_id))
    scores = model.scores(
        Query(user_id=user_id, history=history, now=time.time(), context=request.get("context") or {})
    )
    return {"itemList": ranked(model.item_ids, scores, wanted), "recommendationId": f"RID-{uuid.uuid4()}"}


def _asked(request: Mapping[str, Any], reading: Reading) -> tuple[Record, int]:
    """The campaign and how many items. Raises InvalidInput, ResourceNotFound."""
    for member in NOT_OFFERED:
        if request.get(member):
            raise InvalidInput(f"foretaste does not offer {member} yet: leave it out.")
    if "campaignArn" not in request:
        raise InvalidInput("campaignArn is required.")
    campaign = reading.find(request["campaignArn"], "campaign")
    if campaign.status != ACTIVE:
        raise InvalidInput(f"The campaign {campaign.arn} is in status {campaign.status}; it must be {ACTIVE}.")
    if not request.get("userId"):
        raise InvalidInput("userId is required by the campaign's recipe. For an anonymous user, send the sessionId.")
    wanted = request.get("numResults", DEFAULT_RESULTS)
    if wanted > MOST_RESULTS:
        raise InvalidInput(f"numResults is {wanted}; at most {MOST_RESULTS} are answered.")
    return campaign, wanted


def merged(bulk: list[Past], live: list[Interaction]) -> list[Past]:
    """One history, oldest first: what the model was trained on and what came since; an event in both counts once.

    Training keeps whole seconds, event types in lower case, and none where the bulk data has no such column.
    """
    known = set(bulk)
    news = [
        Past(one.item_id, one.sent_at, one.event_type.lower())
        for one in live
        if one.item_id is not None
        and known.isdisjoint(
            Past(one.item_id, int(one.sent_at), event_type) for event_type in (one.event_type.lower(), None)
        )
    ]
    # Sorted by time alone, and stably: events of one second stay in the order of their arrival.
    return sorted([*bulk, *news], key=lambda event: event.timestamp)


def ranked(item_ids: Sequence[str], scores: npt.NDArray[np.float32], wanted: int) -> list[dict[str, Any]]:
    """The best ``wanted`` items, by falling score and then by id, with the scores' 7 decimals of AWS's answers."""
    count = min(wanted, len(scores))
    if count == 0:
        return []
    best = np.argpartition(-scores, count - 1)[:count]
    rows = sorted((-float(scores[item]), item_ids[item]) for item in best)
    return [{"itemId": item_id, "score": round(-score, 7)} for score, item_id in rows]
