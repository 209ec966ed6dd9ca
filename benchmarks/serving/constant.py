"""The peer: the same gunicorn, the same Flask, the same wire checks, and an answer that is always the same."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from flask import Flask

from shared import settings
from shared.http import app
from shared.observability import logging

ANSWER: Mapping[str, Any] = {
    "itemList": [{"itemId": str(number), "score": round(0.05 / (number + 1), 7)} for number in range(25)],
    "recommendationId": "RID-00000000-0000-4000-8000-000000000000",
}


def recommend(_call: app.Call) -> Mapping[str, Any]:
    return ANSWER


def put(_call: app.Call) -> None:
    return


def create_app() -> Flask:
    handlers: Mapping[str, Mapping[str, app.OperationHandler]] = {
        "personalize-runtime": {"GetRecommendations": recommend},
        "personalize-events": {"PutEvents": put},
    }
    configured = settings.load()
    service = os.environ["BENCHMARK_SERVICE"]
    logging.configure_logging(configured, service)
    in_turns = os.environ.get("BENCHMARK_IN_TURNS") == "true"
    return app.create_app({service: handlers[service]}, keys=configured.keys, leader_followers=in_turns)
