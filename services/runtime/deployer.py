"""Watches campaigns and recommenders: has their models loaded, and reports of those in motion that they can answer.

With filters as well: a filter is usable when what it reads has been made for the models that may be asked with it.
Every runtime loads what is deployed, and what is going to be; which of them reports is the store's choice.
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
#: How often it is looked whether another runtime has deployed something (seconds).
LOOK_EVERY = 2.0
STOPPING = {STOP_PENDING, STOP_IN_PROGRESS}
#: How often models that nobody needs are let go of (seconds).
TIDY_EVERY = 30.0


def start_deployer(
    process: WorkerProcess, deployed: ModelCache, loading: ModelLoader, preparing: WarmUp
) -> threading.Event:
    """In a thread of its own. Returns what is set when the models that are needed at the start have been loaded."""
    warm = threading.Event()
    walk = partial(_run_deployer, process, deployed, loading, preparing, warm)
    process.threads.start_thread("deployer", walk, process.ending)
    return warm


def _run_deployer(
    process: WorkerProcess, deployed: ModelCache, loading: ModelLoader, preparing: WarmUp, warm: threading.Event
) -> None:
    looked = tidied = -math.inf
    aside = Quarantine("deployer")
    while not process.ending.is_set():
        try:
            if time.monotonic() > looked + LOOK_EVERY:
                looked = time.monotonic()
                begun = [
                    loading.begin_loading(arn)
                    for arn in _list_active_versions(process, aside)
                    if deployed.get_model(arn) is None
                ]
                if not warm.is_set():
                    futures.wait(begun)
                    warm.set()
            for arn in process.store.list_in_progress():
                aside.run_unless_quarantined(arn, partial(_advance_record, process, deployed, loading, preparing, arn))
            if time.monotonic() > tidied + TIDY_EVERY:
                tidied = time.monotonic()
                deployed.keep_only(_list_needed_versions(process, aside))
        except Exception as error:
            # The state of Redis passes; anything else ends the thread, which is said, and started again.
            if not redis_errors.is_redis_unavailable(error):
                raise
            log.warning("the deployer waits for Redis", reason=str(error))
        process.ending.wait(EVERY)


def _advance_record(
    process: WorkerProcess, deployed: ModelCache, loading: ModelLoader, preparing: WarmUp, arn: str
) -> None:
    """Of a record in motion: have made ready what it waits for, a model or what a filter reads, and report of it."""
    record = process.store.get(arn)
    if record is None:
        return
    if record.kind == "filter" and record.in_progress in CLAIMABLE:
        make_filter_usable(process, preparing, record)
    elif (version_arn := get_awaited_version(record, process.store)) is not None:
        if deployed.get_model(version_arn) is None:
            loading.begin_loading(version_arn)
        deploy_model(process, loading, preparing, record, version_arn)


def _list_active_versions(process: WorkerProcess, aside: Quarantine) -> set[str]:
    """The versions that answer requests now."""
    return _collect_versions(process, aside, lambda record: [record.body] if record.status == ACTIVE else [])


def _list_needed_versions(process: WorkerProcess, aside: Quarantine) -> set[str]:
    """The versions that answer requests, or will, or have a moment ago."""
    return _collect_versions(
        process,
        aside,
        lambda record: [
            *([record.body] if record.status == ACTIVE or record.in_progress else []),
            *([record.update.body] if record.update is not None else []),
        ],
    )


def _collect_versions(
    process: WorkerProcess, aside: Quarantine, bodies: Callable[[Record], list[Mapping[str, Any]]]
) -> set[str]:
    """The versions that are named by what ``bodies`` finds in each campaign and recommender."""
    reading = ResourceReader(process.store, process.settings)
    found: set[str] = set()
    for noun in ENDPOINT_KINDS:
        for record in reading.iter_children(noun, whole=False):
            of_one = partial(_read_version_arns, record, bodies)
            found.update(aside.run_unless_quarantined(f"versions of {record.arn}", of_one) or ())
    return found


def _read_version_arns(record: Record, bodies: Callable[[Record], list[Mapping[str, Any]]]) -> list[str]:
    return [str(body["solutionVersionArn"]) for body in bodies(record)]


def get_awaited_version(record: Record, records: Records) -> str | None:
    """The ARN of the model that a campaign or recommender in motion waits for; None: it waits for no runtime."""
    if record.kind not in ENDPOINT_KINDS or record.in_progress not in CLAIMABLE - STOPPING:
        return None
    body = _get_next_body(record)
    version = records.get(body["solutionVersionArn"])
    # A recommender's model is still being trained when the recommender is. A campaign's may have been deleted since.
    if record.kind == "recommender" and (version is None or version.status != ACTIVE):
        return None
    return str(body["solutionVersionArn"])


def _get_next_body(record: Record) -> Mapping[str, Any]:
    """The members that it will answer with."""
    updating = record.update is not None and record.in_progress == record.update.status
    return {**record.body, **record.update.body} if record.update is not None and updating else record.body


def make_filter_usable(process: WorkerProcess, preparing: WarmUp, record: Record) -> None:
    """Take a new filter up, unless another runtime has it, make ready what it reads, and report that it can be used."""
    lease = process.store.claim_lease(record.arn, process.name, CLAIMABLE, process.settings.lease_seconds)
    if lease is None:
        return
    with keep_lease(process, lease, preparing.signs):
        report_fact(process.store, process.queue, Started(arn=record.arn, attempt=lease.attempt))
        preparing.prepare_filter(record)
        report_fact(process.store, process.queue, Finished(arn=record.arn, attempt=lease.attempt))
        _wait_until_applied(process, record.arn, lease.attempt)


def deploy_model(
    process: WorkerProcess, loading: ModelLoader, preparing: WarmUp, record: Record, version_arn: str
) -> None:
    """Take the campaign or recommender up, unless another runtime has it, and report how it went."""
    lease = process.store.claim_lease(record.arn, process.name, CLAIMABLE, process.settings.lease_seconds)
    if lease is None:
        return
    arn, attempt = record.arn, lease.attempt
    report_fact(process.store, process.queue, Started(arn=arn, attempt=attempt))
    with keep_lease(process, lease, preparing.signs):
        try:
            model = loading.begin_loading(version_arn).result()
        except NotDeployable as error:
            log.warning("not deployed", arn=arn, version=version_arn, reason=str(error))
            report_fact(process.store, process.queue, Failed(arn=arn, attempt=attempt, reason=str(error)))
        else:
            # The first request with a filter must not find that its data have to be read.
            preparing.prepare_endpoint(record, _get_next_body(record), model)
            log.info("deployed", arn=arn, version=version_arn)
            report_fact(process.store, process.queue, Finished(arn=arn, attempt=attempt))
        _wait_until_applied(process, arn, attempt)


def _wait_until_applied(process: WorkerProcess, arn: str, attempt: int) -> None:
    """The lease is kept until the report has been written, so that no other runtime deploys it once more."""
    deadline = time.monotonic() + process.settings.lease_seconds
    while time.monotonic() < deadline and not process.ending.wait(0.02):
        record = process.store.get(arn)
        if record is None or record.attempt != attempt or record.in_progress not in CLAIMABLE:
            return
