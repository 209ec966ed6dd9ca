"""Keeps what filters read up to date: finds new imports, put records and filters, and makes ready what they need."""

from __future__ import annotations

import threading
from functools import partial

import structlog

from services.runtime.endpoint import ENDPOINT_KINDS, RuntimeContext
from services.runtime.warm_up import WarmUp
from shared.jobs.worker_process import WorkerProcess
from shared.state.lifecycle import ACTIVE
from shared.store import Record, redis_errors

log = structlog.get_logger()

#: AWS: within 15 to 20 minutes.
EVERY = 2.0


def start_refresher(
    process: WorkerProcess, serving: RuntimeContext, preparing: WarmUp, warm: threading.Event
) -> threading.Event:
    """In a thread of its own, once ``warm`` is set. Returns what is set when all was made ready a first time."""
    ready = threading.Event()
    walk = partial(_run_refresher, process, serving, preparing, warm, ready)
    process.threads.start_thread("refresher", walk, process.ending)
    return ready


def _run_refresher(
    process: WorkerProcess, serving: RuntimeContext, preparing: WarmUp, warm: threading.Event, ready: threading.Event
) -> None:
    warm.wait()
    while not process.ending.is_set():
        try:
            refresh_filters(serving, preparing)
            ready.set()
        except Exception as error:
            # The state of Redis passes; anything else ends the thread, which is said, and started again.
            if not redis_errors.is_redis_unavailable(error):
                raise
            log.warning("the refresher waits for Redis", reason=str(error))
        process.ending.wait(EVERY)


def refresh_filters(serving: RuntimeContext, preparing: WarmUp) -> None:
    serving.filters.refresh_snapshots(preparing.quarantine)
    for noun in ENDPOINT_KINDS:
        for record in serving.reader.iter_children(noun, whole=False):
            preparing.quarantine.run_unless_quarantined(
                record.arn, partial(_prepare_endpoint, serving, preparing, record)
            )


def _prepare_endpoint(serving: RuntimeContext, preparing: WarmUp, record: Record) -> None:
    model = serving.models.get_model(record.body["solutionVersionArn"])
    if record.status == ACTIVE and model is not None:
        preparing.prepare_endpoint(record, record.body, model)
