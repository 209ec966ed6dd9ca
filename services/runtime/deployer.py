"""Watch campaigns, recommenders and filters: load their models, prepare their data, and report that they can be used.

A filter can be used once the data that it reads have been prepared for the models of its dataset group. Every runtime
loads the models that are deployed or about to be; the store chooses by a lease which runtime reports.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from concurrent import futures
from functools import partial
from typing import Any

import structlog

from services.runtime.endpoint import ENDPOINT_KINDS
from services.runtime.loader import ModelLoader
from services.runtime.warm_up import WarmUp
from shared.jobs.celery_app import report_fact
from shared.jobs.runner import keep_lease
from shared.jobs.worker_process import WorkerProcess
from shared.resources import ResourceReader
from shared.serving.model_cache import ModelCache, NotDeployable
from shared.state.lifecycle import ACTIVE, CLAIMABLE, STOP_IN_PROGRESS, STOP_PENDING
from shared.state.messages import Failed, Finished, Started
from shared.store import Record, Records, redis_errors
from shared.store.quarantine import Quarantine

log = structlog.get_logger()

EVERY = 0.25
#: How often this runtime looks for models that another runtime has deployed (seconds).
LOOK_EVERY = 2.0
STOPPING = {STOP_PENDING, STOP_IN_PROGRESS}
#: How often models that are no longer needed are dropped (seconds).
TIDY_EVERY = 30.0


def start_deployer(process: WorkerProcess, models: ModelCache, loader: ModelLoader, warm_up: WarmUp) -> threading.Event:
    """Start the deployer's thread. Return an event that is set when the models needed at the start have been loaded."""
    warm = threading.Event()
    run = partial(_run_deployer, process, models, loader, warm_up, warm)
    process.threads.start_thread("deployer", run, process.ending)
    return warm


def _run_deployer(
    process: WorkerProcess, models: ModelCache, loader: ModelLoader, warm_up: WarmUp, warm: threading.Event
) -> None:
    looked_at = tidied_at = -math.inf
    quarantine = Quarantine("deployer")
    while not process.ending.is_set():
        try:
            if time.monotonic() > looked_at + LOOK_EVERY:
                looked_at = time.monotonic()
                loads = [
                    loader.begin_loading(arn)
                    for arn in _list_active_versions(process, quarantine)
                    if models.get_model(arn) is None
                ]
                if not warm.is_set():
                    futures.wait(loads)
                    warm.set()
            for arn in process.store.list_in_progress():
                quarantine.run_unless_quarantined(arn, partial(_advance_record, process, models, loader, warm_up, arn))
            if time.monotonic() > tidied_at + TIDY_EVERY:
                tidied_at = time.monotonic()
                models.keep_only(_list_needed_versions(process, quarantine))
        except Exception as error:
            # An outage of Redis passes. Any other error ends the thread, which is logged and started again.
            if not redis_errors.is_redis_unavailable(error):
                raise
            log.warning("the deployer waits for Redis", reason=str(error))
        process.ending.wait(EVERY)


def _advance_record(process: WorkerProcess, models: ModelCache, loader: ModelLoader, warm_up: WarmUp, arn: str) -> None:
    """Prepare the model or the filter data that a record in progress waits for, and report it."""
    record = process.store.get(arn)
    if record is None:
        return
    if record.kind == "filter" and record.in_progress in CLAIMABLE:
        make_filter_usable(process, warm_up, record)
    elif (version_arn := get_awaited_version(record, process.store)) is not None:
        if models.get_model(version_arn) is None:
            loader.begin_loading(version_arn)
        deploy_model(process, loader, warm_up, record, version_arn)


def _list_active_versions(process: WorkerProcess, quarantine: Quarantine) -> set[str]:
    """Return the versions that answer requests now."""
    return _collect_versions(process, quarantine, lambda record: [record.body] if record.status == ACTIVE else [])


def _list_needed_versions(process: WorkerProcess, quarantine: Quarantine) -> set[str]:
    """Return the versions that answer requests, are about to, or did until a moment ago."""
    return _collect_versions(
        process,
        quarantine,
        lambda record: [
            *([record.body] if record.status == ACTIVE or record.in_progress else []),
            *([record.update.body] if record.update is not None else []),
        ],
    )


def _collect_versions(
    process: WorkerProcess, quarantine: Quarantine, bodies: Callable[[Record], list[Mapping[str, Any]]]
) -> set[str]:
    """Return the versions named in the bodies that ``bodies`` returns for each campaign and recommender."""
    reader = ResourceReader(process.store, process.settings)
    found: set[str] = set()
    for noun in ENDPOINT_KINDS:
        for record in reader.iter_children(noun, whole=False):
            read_arns = partial(_read_version_arns, record, bodies)
            found.update(quarantine.run_unless_quarantined(f"versions of {record.arn}", read_arns) or ())
    return found


def _read_version_arns(record: Record, bodies: Callable[[Record], list[Mapping[str, Any]]]) -> list[str]:
    return [str(body["solutionVersionArn"]) for body in bodies(record)]


def get_awaited_version(record: Record, records: Records) -> str | None:
    """Return the ARN of the version that a campaign or recommender in progress waits for; None: it waits for none."""
    if record.kind not in ENDPOINT_KINDS or record.in_progress not in CLAIMABLE - STOPPING:
        return None
    body = _get_next_body(record)
    version = records.get(body["solutionVersionArn"])
    # While a recommender is created, its version is still in training. A campaign's may have been deleted since.
    if record.kind == "recommender" and (version is None or version.status != ACTIVE):
        return None
    return str(body["solutionVersionArn"])


def _get_next_body(record: Record) -> Mapping[str, Any]:
    """Return the members that take effect when the creation or update in progress ends."""
    updating = record.update is not None and record.in_progress == record.update.status
    return {**record.body, **record.update.body} if record.update is not None and updating else record.body


def make_filter_usable(process: WorkerProcess, warm_up: WarmUp, record: Record) -> None:
    """Claim a new filter unless another runtime has, prepare the data that it reads, and report that it can be used."""
    lease = process.store.claim_lease(record.arn, process.name, CLAIMABLE, process.settings.lease_seconds)
    if lease is None:
        return
    with keep_lease(process, lease, warm_up.activity):
        report_fact(process.store, process.queue, Started(arn=record.arn, attempt=lease.attempt))
        warm_up.prepare_filter(record)
        report_fact(process.store, process.queue, Finished(arn=record.arn, attempt=lease.attempt))
        _wait_until_applied(process, record.arn, lease.attempt)


def deploy_model(
    process: WorkerProcess, loader: ModelLoader, warm_up: WarmUp, record: Record, version_arn: str
) -> None:
    """Claim a campaign or recommender unless another runtime has, wait for its model, and report success or failure."""
    lease = process.store.claim_lease(record.arn, process.name, CLAIMABLE, process.settings.lease_seconds)
    if lease is None:
        return
    arn, attempt = record.arn, lease.attempt
    report_fact(process.store, process.queue, Started(arn=arn, attempt=attempt))
    with keep_lease(process, lease, warm_up.activity):
        try:
            model = loader.begin_loading(version_arn).result()
        except NotDeployable as error:
            log.warning("model not deployed", arn=arn, version=version_arn, reason=str(error))
            report_fact(process.store, process.queue, Failed(arn=arn, attempt=attempt, reason=str(error)))
        else:
            # The first request with a filter must find its data in memory.
            warm_up.prepare_endpoint(record, _get_next_body(record), model)
            log.info("model deployed", arn=arn, version=version_arn)
            report_fact(process.store, process.queue, Finished(arn=arn, attempt=attempt))
        _wait_until_applied(process, arn, attempt)


def _wait_until_applied(process: WorkerProcess, arn: str, attempt: int) -> None:
    """Keep the lease until the report has been written: until then another runtime would deploy the record again."""
    deadline = time.monotonic() + process.settings.lease_seconds
    while time.monotonic() < deadline and not process.ending.wait(0.02):
        record = process.store.get(arn)
        if record is None or record.attempt != attempt or record.in_progress not in CLAIMABLE:
            return
