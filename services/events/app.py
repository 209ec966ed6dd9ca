"""The application of the events service: the operations of personalize-events."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import cast

from flask import Flask

from services.events.put_events import put_action_interactions, put_events
from services.events.put_records import PUT_OPERATIONS, put_records
from shared import settings
from shared.http import app
from shared.http.rate_limits import create_throttle
from shared.http.staleness import with_staleness_header
from shared.observability import logging
from shared.observability.health import HealthEndpoints
from shared.observability.threads import BackgroundThreads
from shared.resources import ResourceReader
from shared.settings import Settings
from shared.store import Store
from shared.store.cached_store import CachedStore
from shared.store.data_format import check_data_format
from shared.store.redis import RedisStore
from shared.store.redis_probe import RedisProbe

OPERATIONS: Mapping[str, Callable[[Store, ResourceReader, app.Call], None]] = {
    "PutActionInteractions": put_action_interactions,
    "PutEvents": put_events,
    **dict.fromkeys(PUT_OPERATIONS, put_records),
}


def build_handlers(configured: Settings, store: Store) -> dict[str, app.OperationHandler]:
    """Build the handlers of all offered operations, by operation name."""
    reading = ResourceReader(store, configured)
    return {name: partial(operation, store, reading) for name, operation in OPERATIONS.items()}


def create_app() -> Flask:
    """Create the application of this process from the environment; gunicorn calls this."""
    configured = settings.load()
    logging.configure_logging(configured, "events")
    check_data_format(configured.redis_url)
    redis = RedisStore(configured.redis_url, for_clients=True)
    store = CachedStore(redis, patient=redis, families=("record", "claim"))
    threads = BackgroundThreads()
    store.start_listening(threads, threading.Event())
    offered = {
        name: with_staleness_header(store, handler)
        for name, handler in build_handlers(configured, cast(Store, store)).items()
    }
    probe = RedisProbe(configured.redis_url)
    health = HealthEndpoints("events", threads=threads, ready={"redis": probe.is_answering, **probe.write_checks})
    health.start_server(configured.metrics_bind)
    return app.create_app(
        {"personalize-events": offered}, keys=configured.keys, health=health, throttle=create_throttle(configured)
    )
