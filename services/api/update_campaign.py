"""UpdateCampaign: the campaign goes on with its old version until a runtime has loaded the new one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from services.api.operations import Desk, decide
from shared.aws.errors import ResourceInUse
from shared.aws.web import Call
from shared.lifecycle import UPDATE
from shared.resources.campaign.requests import DEFAULTS, to_deploy
from shared.resources.contract import settled
from shared.store import Update


def update_campaign(desk: Desk, call: Call) -> Mapping[str, Any]:
    decide(lambda: _update(desk, call.request))
    return {"campaignArn": call.request["campaignArn"]}


def _update(desk: Desk, request: Mapping[str, Any]) -> None:
    campaign = desk.reading.find(request["campaignArn"], "campaign")
    if not settled(campaign):
        raise ResourceInUse(f"{campaign.arn} is in status {campaign.moving}; it can't be updated now.")
    wanted = {member: request.get(member, campaign.body.get(member)) for member in DEFAULTS}
    solution, version = to_deploy(
        request.get("solutionVersionArn", campaign.body["solutionVersionArn"]),
        request.get("campaignConfig"),
        desk.reading,
    )
    wanted["solutionVersionArn"] = version.arn
    now = time.time()
    update = Update(
        status=UPDATE.first,
        body={member: value for member, value in wanted.items() if value is not None},
        created=now,
        updated=now,
    )
    desk.store.replace(
        replace(campaign, update=update, attempt=campaign.attempt + 1, failures=0), guards=[solution, version]
    )
