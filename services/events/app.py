"""The events service: the operations of personalize-events that are offered, behind AWS's wire."""

from __future__ import annotations

from functools import partial

from flask import Flask

from services.events.put_events import put_events
from shared import settings, telemetry
from shared.aws import web
from shared.resources import Reading
from shared.settings import Settings
from shared.store import Store
from shared.store.redis import RedisStore


def handlers(configured: Settings, store: Store) -> dict[str, web.Handler]:
    """Every operation that is offered, by its name."""
    return {"PutEvents": partial(put_events, store, Reading(store, configured))}


def create_app() -> Flask:
    """For gunicorn: the application of this process, from the environment."""
    configured = settings.load()
    telemetry.configure(configured, "events")
    offered = handlers(configured, RedisStore(configured.redis_url))
    return web.create_app("personalize-events", offered, keys=configured.keys)
