"""The runtime service: the operations of personalize-runtime, and the threads that load models and data."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import cast

from flask import Flask

from services.runtime import catalogue_updater, deployer, recommendation_counter, refresher
from services.runtime.endpoint import RuntimeContext
from services.runtime.loader import ModelLoader
from services.runtime.rank import get_personalized_ranking
from services.runtime.recommend import get_recommendations
from services.runtime.recommend_actions import get_action_recommendations
from services.runtime.warm_up import WarmUp
from shared import settings
from shared.http import app
from shared.http.rate_limits import create_throttle
from shared.http.staleness import with_staleness_header
from shared.jobs import celery_app
from shared.jobs.runner import ActivityTracker
from shared.jobs.worker_process import WorkerProcess, build_process_name, send_heartbeats
from shared.observability import logging
from shared.observability.health import HealthEndpoints
from shared.resources import ResourceReader
from shared.serving.filters import FilterCache
from shared.serving.model_cache import ModelCache
from shared.serving.snapshots import SnapshotCache
from shared.settings import Settings
from shared.storage.artifacts import Artifacts
from shared.store import Store
from shared.store.cached_store import CachedStore
from shared.store.data_format import check_data_format
from shared.store.quarantine import Quarantine
from shared.store.redis import PROMPT, RedisStore
from shared.store.redis_probe import RedisProbe
from shared.system.disk_space import has_free_space

#: How long a runtime that starts loads models before it lets requests in (gunicorn gives its start 60 seconds).
WARM_SECONDS = 20.0


def create_handlers(context: RuntimeContext) -> dict[str, app.OperationHandler]:
    """Return the handler of every operation, by its name."""
    return {
        "GetActionRecommendations": partial(get_action_recommendations, context),
        "GetPersonalizedRanking": partial(get_personalized_ranking, context),
        "GetRecommendations": partial(get_recommendations, context),
    }


def create_context(
    configured: Settings,
    store: Store,
    artifacts: Artifacts,
    patient: Store | None = None,
    on_step: Callable[[], None] = lambda: None,
) -> RuntimeContext:
    """Return the context of a runtime with no model in memory yet.

    Models are loaded through ``patient``, a store with longer timeouts: no request waits for it. ``on_step`` is called
    while data for filters are read.
    """
    reader = ResourceReader(store, configured)
    models = ModelCache(ResourceReader(patient or store, configured), artifacts)
    return RuntimeContext(
        reader=reader,
        store=store,
        models=models,
        loader=ModelLoader(models),
        filters=FilterCache(reader, store, SnapshotCache(reader, store, artifacts, on_step)),
    )


def create_app() -> Flask:
    """Return the application of this gunicorn process, configured from the environment."""
    configured = settings.load()
    logging.configure_logging(configured, "runtime")
    check_data_format(configured.redis_url, configured.artifacts)
    activity = ActivityTracker()
    process = WorkerProcess(
        name=build_process_name("runtime"),
        settings=configured,
        store=RedisStore(configured.redis_url),
        queue=celery_app.MessageQueue(celery_app.create_celery_app(configured)),
        artifacts=Artifacts(configured.artifacts, on_block=activity.record_activity),
        ending=threading.Event(),
    )
    store = CachedStore(RedisStore(configured.redis_url, PROMPT), patient=process.store)
    store.start_listening(process.threads, process.ending)
    context = create_context(
        configured, cast(Store, store), process.artifacts, patient=process.store, on_step=activity.record_activity
    )
    warm_up = WarmUp(context.models, context.filters, Quarantine("refresher"), activity)
    warm = deployer.start_deployer(process, context.models, context.loader, warm_up)
    ready = refresher.start_refresher(process, context, warm_up, warm)
    recommendation_counter.start_sending(process, context.counter)
    catalogue_updater.start_updater(process, context, warm_up, warm)
    send_heartbeats(process)
    # Readiness does not ask whether Redis answers: without it a runtime still answers, and all of them lose it at once.
    probe = RedisProbe(configured.redis_url)
    informative = {
        "disk": lambda: has_free_space(configured.artifacts, configured.min_free_mb) and probe.has_disk_space()
    }
    health = HealthEndpoints("runtime", threads=process.threads, ready={"models": warm.is_set}, informative=informative)
    health.start_server(configured.metrics_bind)
    # Until then clients wait for the port, or another runtime serves them: no first request is slow.
    ready.wait(WARM_SECONDS)
    offered = {name: with_staleness_header(store, handler) for name, handler in create_handlers(context).items()}
    return app.create_app(
        {"personalize-runtime": offered},
        keys=configured.keys,
        health=health,
        throttle=create_throttle(configured),
        leader_followers=True,
    )
