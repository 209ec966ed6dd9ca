"""Keep the data of filters up to date: find new imports, put records and filters, and prepare the data they read."""

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

#: Seconds between two looks. At AWS changes count within 15 to 20 minutes.
EVERY = 2.0


def start_refresher(
    process: WorkerProcess, context: RuntimeContext, warm_up: WarmUp, warm: threading.Event
) -> threading.Event:
    """Start the refresher's thread, which begins once ``warm`` is set. Return an event: its first round has ended."""
    ready = threading.Event()
    run = partial(_run_refresher, process, context, warm_up, warm, ready)
    process.threads.start_thread("refresher", run, process.ending)
    return ready


def _run_refresher(
    process: WorkerProcess, context: RuntimeContext, warm_up: WarmUp, warm: threading.Event, ready: threading.Event
) -> None:
    warm.wait()
    while not process.ending.is_set():
        try:
            refresh_filters(context, warm_up)
            ready.set()
        except Exception as error:
            # An outage of Redis passes. Any other error ends the thread, which is logged and started again.
            if not redis_errors.is_redis_unavailable(error):
                raise
            log.warning("the refresher waits for Redis", reason=str(error))
        process.ending.wait(EVERY)


def refresh_filters(context: RuntimeContext, warm_up: WarmUp) -> None:
    """Refresh the snapshots, and prepare the filters of every ACTIVE endpoint whose model is loaded."""
    context.filters.refresh_snapshots(warm_up.quarantine)
    for noun in ENDPOINT_KINDS:
        for record in context.reader.iter_children(noun, whole=False):
            warm_up.quarantine.run_unless_quarantined(record.arn, partial(_prepare_endpoint, context, warm_up, record))


def _prepare_endpoint(context: RuntimeContext, warm_up: WarmUp, record: Record) -> None:
    model = context.models.get_model(record.body["solutionVersionArn"])
    if record.status == ACTIVE and model is not None:
        warm_up.prepare_endpoint(record, record.body, model)
