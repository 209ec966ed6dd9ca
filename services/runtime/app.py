"""The runtime service: the operations of personalize-runtime that are offered, and the deployer beside them."""

from __future__ import annotations

import threading
from functools import partial

from flask import Flask

from services.runtime import deployer
from services.runtime.deployed import Deployed
from services.runtime.rank import get_personalized_ranking
from services.runtime.recommend import get_recommendations
from services.runtime.recommend_actions import get_action_recommendations
from shared import queue, settings, telemetry
from shared.artifacts import Artifacts
from shared.aws import web
from shared.process import Process, beat_in_background, process_name
from shared.resources import Reading
from shared.settings import Settings
from shared.store import Store
from shared.store.redis import RedisStore


def handlers(configured: Settings, store: Store, deployed: Deployed) -> dict[str, web.Handler]:
    """Every operation that is offered, by its name."""
    reading = Reading(store, configured)
    return {
        "GetActionRecommendations": partial(get_action_recommendations, reading, store, deployed),
        "GetPersonalizedRanking": partial(get_personalized_ranking, reading, store, deployed),
        "GetRecommendations": partial(get_recommendations, reading, store, deployed),
    }


def create_app() -> Flask:
    """For gunicorn: the application of this process, from the environment."""
    configured = settings.load()
    telemetry.configure(configured, "runtime")
    process = Process(
        name=process_name("runtime"),
        settings=configured,
        store=RedisStore(configured.redis_url),
        queue=queue.Queue(queue.application(configured)),
        artifacts=Artifacts(configured.artifacts),
        ending=threading.Event(),
    )
    deployed = Deployed(Reading(process.store, configured), process.artifacts)
    offered = handlers(configured, process.store, deployed)
    deployer.start(process, deployed)
    beat_in_background(process.store, process.name, process.ending)
    return web.create_app({"personalize-runtime": offered}, keys=configured.keys)
