"""Watches for campaigns and recommenders in motion: loads the model, scores a canary, reports that it can answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import redis.exceptions
import structlog
from kombu.exceptions import OperationalError

from services.runtime.deployed import LOG_SAYS_MORE, Deployed, Model, NotDeployable
from services.runtime.served import SERVED
from shared.lifecycle import ACTIVE, CLAIMABLE, STOP_IN_PROGRESS, STOP_PENDING
from shared.messages import Failed, Finished, Started
from shared.process import Process
from shared.queue import report
from shared.recipes.contract import Past, Query
from shared.resources import Reading
from shared.store import Record, Records
from shared.work import keeping

log = structlog.get_logger()

EVERY = 0.25
STOPPING = {STOP_PENDING, STOP_IN_PROGRESS}
#: How often models that nobody needs are let go of (seconds).
TIDY_EVERY = 30.0


def start(process: Process, deployed: Deployed) -> threading.Event:
    """In a thread of its own. Returns what is set when the models that are needed at the start have been loaded."""
    warm = threading.Event()
    threading.Thread(target=_run, args=(process, deployed, warm), name="deployer", daemon=True).start()
    return warm


def _run(process: Process, deployed: Deployed, warm: threading.Event) -> None:
    tidied = time.monotonic()
    while not process.ending.wait(EVERY):
        try:
            if not warm.is_set():
                _warm(process, deployed)
                warm.set()
            for arn in process.store.moving():
                record = process.store.get(arn)
                if record is not None and (version_arn := awaited(record, process.store)) is not None:
                    deploy(process, deployed, record, version_arn)
            if time.monotonic() - tidied > TIDY_EVERY:
                tidied = time.monotonic()
                deployed.keep(set(_needed(Reading(process.store, process.settings))))
        except (redis.exceptions.RedisError, OperationalError) as error:
            log.warning("the deployer waits for Redis", reason=str(error))


def _warm(process: Process, deployed: Deployed) -> None:
    """Load what this runtime's predecessor had in memory, before somebody asks for it."""
    for arn in set(_needed(Reading(process.store, process.settings))):
        try:
            deployed.model(arn)
        except NotDeployable as error:
            log.warning("not loaded", version=arn, reason=str(error))


def awaited(record: Record, records: Records) -> str | None:
    """The ARN of the model that a campaign or recommender in motion waits for; None: it waits for no runtime."""
    if record.kind not in SERVED or record.moving not in CLAIMABLE - STOPPING:
        return None
    updating = record.update is not None and record.moving == record.update.status
    body = record.update.body if record.update is not None and updating else record.body
    version = records.get(body["solutionVersionArn"])
    # A recommender's model is still being trained when the recommender is. A campaign's may have been deleted since.
    if record.kind == "recommender" and (version is None or version.status != ACTIVE):
        return None
    return str(body["solutionVersionArn"])


def deploy(process: Process, deployed: Deployed, record: Record, version_arn: str) -> None:
    """Take the campaign or recommender up, unless another runtime has it, and report how it went."""
    lease = process.store.claim(record.arn, process.name, CLAIMABLE, process.settings.lease_seconds)
    if lease is None:
        return
    arn, attempt = record.arn, lease.attempt
    report(process.store, process.queue, Started(arn=arn, attempt=attempt))
    with keeping(process, lease):
        try:
            canary(deployed.model(version_arn))
        except NotDeployable as error:
            log.warning("not deployed", arn=arn, version=version_arn, reason=str(error))
            report(process.store, process.queue, Failed(arn=arn, attempt=attempt, reason=str(error)))
        else:
            log.info("deployed", arn=arn, version=version_arn)
            report(process.store, process.queue, Finished(arn=arn, attempt=attempt))
        _wait_until_applied(process, arn, attempt)


def canary(model: Model) -> None:
    """Ask the model for nobody and for somebody: its answers must be distributions over its items."""
    if not model.item_ids:
        raise NotDeployable("The model has no items. Train the solution again.")
    now, item_id = time.time(), model.item_ids[0]
    for query in (Query(now=now), Query(now=now, history=[Past(item_id, now)], item_id=item_id)):
        try:
            scores = model.scores(query)
        except Exception as error:
            # Whatever it is: other campaigns wait for this thread.
            log.exception("the canary broke")
            raise NotDeployable(f"The model can't answer ({type(error).__name__}). {LOG_SAYS_MORE}") from error
        _check(scores, len(model.item_ids))


def _check(scores: npt.NDArray[np.float32], items: int) -> None:
    shown = scores[scores >= 0]
    if scores.shape != (items,) or not np.isfinite(scores).all() or (len(shown) and abs(shown.sum() - 1.0) > 1e-3):
        raise NotDeployable("The model's answer is no distribution over its items. Train the solution again.")


def _wait_until_applied(process: Process, arn: str, attempt: int) -> None:
    """The lease is kept until the report has been written, so that no other runtime deploys it once more."""
    deadline = time.monotonic() + process.settings.lease_seconds
    while time.monotonic() < deadline and not process.ending.wait(0.02):
        record = process.store.get(arn)
        if record is None or record.attempt != attempt or record.moving not in CLAIMABLE:
            return


def _needed(reading: Reading) -> Iterator[str]:
    for noun in SERVED:
        after: str | None = None
        while True:
            page, after = reading.records.page(noun, after=after)
            for record in page:
                if record.status == ACTIVE or record.moving:
                    yield record.body["solutionVersionArn"]
                if record.update is not None:
                    yield record.update.body["solutionVersionArn"]
            if after is None:
                break
