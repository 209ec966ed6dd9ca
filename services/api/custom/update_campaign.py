"""UpdateCampaign: the campaign answers with its old version until a runtime has loaded the new one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.api.context import ApiContext, run_once
from services.api.operations import request_update
from shared.http.app import Call
from shared.resources import RESOURCES
from shared.resources.campaign.requests import build_update


def update_campaign(context: ApiContext, call: Call) -> Mapping[str, Any]:
    run_once(context, call, lambda bound: _request_update(bound, call.request))
    return {"campaignArn": call.request["campaignArn"]}


def _request_update(context: ApiContext, request: Mapping[str, Any]) -> None:
    campaign = context.reading.find_record(request["campaignArn"], "campaign")
    body, guards = build_update(campaign, request, context.reading)
    request_update(context, RESOURCES["campaign"], campaign, body, guards=guards)
