"""UpdateCampaign: the campaign goes on with its old version until a runtime has loaded the new one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.api.operations import ApiContext, request_update, run_once
from shared.http.app import Call
from shared.resources import RESOURCES
from shared.resources.campaign.requests import update_of


def update_campaign(desk: ApiContext, call: Call) -> Mapping[str, Any]:
    run_once(desk, call, lambda asked: _request_update(asked, call.request))
    return {"campaignArn": call.request["campaignArn"]}


def _request_update(desk: ApiContext, request: Mapping[str, Any]) -> None:
    campaign = desk.reading.find(request["campaignArn"], "campaign")
    body, guards = update_of(campaign, request, desk.reading)
    request_update(desk, RESOURCES["campaign"], campaign, body, guards=guards)
