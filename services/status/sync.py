"""Updates campaigns with syncWithLatestSolutionVersion to the newest version of their solution.

Only versions with training mode FULL count. The update is an ordinary one: latestCampaignUpdate shows it, and the
campaign serves its old version until a runtime has loaded the new one.
"""

from __future__ import annotations

from functools import partial

import structlog

from services.status import periodic
from shared.jobs.worker_process import WorkerProcess
from shared.resources import RESOURCES, ResourceReader
from shared.resources.campaign.requests import DEFAULTS, find_successor
from shared.resources.resource_type import is_terminal, with_update
from shared.state.lifecycle import ACTIVE
from shared.store import Conflict, Record
from shared.store.quarantine import Quarantine

log = structlog.get_logger()

EVERY = 2.0


def start_sync() -> None:
    quarantine = Quarantine("syncing")
    periodic.run_periodically("syncing", EVERY, lambda process: sync_campaigns(process, quarantine))


def sync_campaigns(process: WorkerProcess, quarantine: Quarantine) -> None:
    """Run one round over all campaigns that are ACTIVE and have no work in progress."""
    reading = ResourceReader(process.store, process.settings)
    for campaign in reading.iter_children("campaign", whole=False):
        if campaign.status == ACTIVE and is_terminal(campaign):
            quarantine.run_unless_quarantined(campaign.arn, partial(_sync_campaign, process, reading, campaign))


def _sync_campaign(process: WorkerProcess, reading: ResourceReader, campaign: Record) -> None:
    version = find_successor(campaign, reading)
    if version is not None:
        _start_update(process, campaign, version)


def _start_update(process: WorkerProcess, campaign: Record, version: Record) -> None:
    solution = process.store.get(version.body["solutionArn"])
    if solution is None or solution.status != ACTIVE:
        return
    body = {**{member: campaign.body.get(member) for member in DEFAULTS}, "solutionVersionArn": version.arn}
    try:
        process.store.replace(
            with_update(RESOURCES["campaign"], campaign, body, process.store.now()), guards=[solution, version]
        )
    except Conflict:
        return  # A record has changed since it was read: the next round tries again.
    log.info("campaign update started", arn=campaign.arn, version=version.arn)
