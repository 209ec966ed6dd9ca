"""Put new items into the models in memory, for the recipes that answer with items which came after the training.

A thread of its own: embedding an imported catalogue takes minutes, and filters must not wait for it. A request sees the
old model or the new one, never a part of an update.
"""

from __future__ import annotations

import threading
import time
from functools import partial

import structlog

from services.runtime.endpoint import RuntimeContext
from services.runtime.warm_up import WarmUp
from shared.jobs.worker_process import WorkerProcess
from shared.serving.catalogue_updates import CatalogueUpdater
from shared.serving.model_cache import LoadedModel
from shared.store import redis_errors
from shared.store.quarantine import Quarantine

log = structlog.get_logger()

#: Seconds between two looks. At AWS new items count within half an hour.
EVERY = 1.0
#: A model is updated again after at least so many times the duration of its last update, which limits the load.
PACE = 2.0


class _Ended(BaseException):
    """The process ends. It is no Exception, which the quarantine would count as the failure of a model."""


def start_updater(process: WorkerProcess, context: RuntimeContext, warm_up: WarmUp, warm: threading.Event) -> None:
    """Start the updater's thread, which begins once ``warm`` is set."""
    run = partial(_run_updater, process, context, warm_up, warm)
    process.threads.start_thread("catalogue updater", run, process.ending)


def _run_updater(process: WorkerProcess, context: RuntimeContext, warm_up: WarmUp, warm: threading.Event) -> None:
    warm.wait()
    rounds = UpdateRounds(context, warm_up, process.ending)
    while not process.ending.is_set():
        try:
            rounds.update_models()
        except _Ended:
            return
        except Exception as error:
            # An outage of Redis passes. Any other error ends the thread, which is logged and started again.
            if not redis_errors.is_redis_unavailable(error):
                raise
            log.warning("the catalogue updater waits for Redis", reason=str(error))
        process.ending.wait(EVERY)


class UpdateRounds:
    """Updates all models in memory, one after the other."""

    def __init__(self, context: RuntimeContext, warm_up: WarmUp, ending: threading.Event) -> None:
        self._context = context
        self._warm_up = warm_up
        self._ending = ending
        self._updater = CatalogueUpdater(context.reader, context.store, context.filters.read_item_rows)
        self._quarantine = Quarantine("catalogue updater")
        self._rest_until: dict[str, float] = {}
        self._served: dict[str, LoadedModel] = {}

    def update_models(self) -> None:
        """Update every model that is due."""
        held = [
            (arn, model) for arn, model in self._context.models.list_models() if model.recipe.serving.takes_new_items
        ]
        self._updater.forget_all_but([arn for arn, _ in held])
        self._served = {arn: model for arn, model in self._served.items() if arn in dict(held)}
        for version_arn, model in held:
            if time.monotonic() >= self._rest_until.get(version_arn, 0.0):
                began = time.monotonic()
                self._quarantine.run_unless_quarantined(version_arn, partial(self._update_one, version_arn, model))
                now = time.monotonic()
                self._rest_until[version_arn] = now + PACE * (now - began)

    def _update_one(self, version_arn: str, model: LoadedModel) -> None:
        if self._served.get(version_arn) is not model:  # loaded since, as it was trained
            self._updater.forget(version_arn)
        version = self._context.reader.records.get(version_arn)
        if version is None:
            return
        updated = self._updater.update_model(version, model, self._stop_if_ending)
        self._served[version_arn] = updated
        if updated is not model:
            # Requests go on with the old model until the filters are compiled for the new one.
            self._context.filters.prepare_model(updated, self._quarantine)
            self._context.models.replace_model(version_arn, model, updated)
            log.info("new items in a model", version=version_arn, items=len(updated.item_ids))

    def _stop_if_ending(self) -> None:
        if self._ending.is_set():
            raise _Ended
