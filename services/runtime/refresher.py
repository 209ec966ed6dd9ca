"""Keep data up to date: read again what imports, put records, new filters and deletions of users have changed."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import partial

import structlog

from services.runtime.endpoint import ENDPOINT_KINDS, RuntimeContext
from services.runtime.loader import run_canary_queries
from services.runtime.warm_up import WarmUp
from shared.aws.errors import PersonalizeError
from shared.jobs.worker_process import WorkerProcess
from shared.resources import ResourceReader
from shared.resources.dataset_group.purges import PURGES
from shared.serving.model_cache import LoadedModel, NotDeployable
from shared.state.lifecycle import ACTIVE
from shared.store import Record, Store, redis_errors

log = structlog.get_logger()

#: Seconds between two looks. At AWS changes count within 15 to 20 minutes.
EVERY = 2.0
#: How long a report of the deletions of users that this process has followed lasts (seconds).
REPORT_LASTS = 60.0


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
            refresh_data(context, warm_up, process.store, process.name)
            ready.set()
        except Exception as error:
            # An outage of Redis passes. Any other error ends the thread, which is logged and started again.
            if not redis_errors.is_redis_unavailable(error):
                raise
            log.warning("the refresher waits for Redis", reason=str(error))
        process.ending.wait(EVERY)


def refresh_data(context: RuntimeContext, warm_up: WarmUp, store: Store, process_name: str) -> None:
    """Refresh the models and snapshots, and prepare the filters of every ACTIVE endpoint whose model is loaded.

    Report which deletions of users this process has followed: a data deletion job waits for that.
    """
    # Not through the cache of requests, which may not know the newest count yet.
    groups = ResourceReader(store, context.reader.settings).iter_children("dataset_group", whole=False)
    purges = {group.arn: int(group.state[PURGES]) for group in groups if group.state.get(PURGES)}
    followed = _reload_models(context, warm_up, purges)
    if context.filters.refresh_snapshots(warm_up.quarantine, purges):
        followed = False
    for noun in ENDPOINT_KINDS:
        for record in context.reader.iter_children(noun, whole=False):
            warm_up.quarantine.run_unless_quarantined(record.arn, partial(_prepare_endpoint, context, warm_up, record))
    if followed and purges:
        store.report_purges(process_name, purges, REPORT_LASTS)


def _reload_models(context: RuntimeContext, warm_up: WarmUp, purges: Mapping[str, int]) -> bool:
    """Load again the models from which users were deleted; return whether all of them could be."""

    def prepare(model: LoadedModel) -> None:
        warm_up.activity.record_activity()
        run_canary_queries(model)
        try:
            context.filters.prepare_model(model, warm_up.quarantine)
        except PersonalizeError as error:
            log.warning("filters not prepared", group=model.group, reason=str(error))

    try:
        context.models.reload_outdated(purges, prepare)
    except NotDeployable as error:
        log.warning("model not loaded again after a deletion of users", reason=str(error))
        return False
    return True


def _prepare_endpoint(context: RuntimeContext, warm_up: WarmUp, record: Record) -> None:
    model = context.models.get_model(record.body["solutionVersionArn"])
    if record.status == ACTIVE and model is not None:
        warm_up.prepare_endpoint(record, record.body, model)
