"""Keeps what filters read up to date: finds new imports, put records and filters, and makes ready what they need."""

from __future__ import annotations

import threading

import redis.exceptions
import structlog

from services.runtime.metadata import is_answered
from services.runtime.served import CONFIGS, SERVED, Serving
from shared.aws.errors import PersonalizeError
from shared.lifecycle import ACTIVE
from shared.process import Process

log = structlog.get_logger()

#: AWS: within 15 to 20 minutes.
EVERY = 2.0


def start(process: Process, serving: Serving, warm: threading.Event) -> threading.Event:
    """In a thread of its own, once ``warm`` is set. Returns what is set when all was made ready a first time."""
    ready = threading.Event()
    threading.Thread(target=_run, args=(process, serving, warm, ready), name="refresher", daemon=True).start()
    return ready


def _run(process: Process, serving: Serving, warm: threading.Event, ready: threading.Event) -> None:
    warm.wait()
    while not process.ending.is_set():
        try:
            refresh(serving)
            ready.set()
        except redis.exceptions.RedisError as error:
            log.warning("the refresher waits for Redis", reason=str(error))
        except Exception:
            # Whatever it is: requests go on with what there is.
            log.exception("what filters read could not be refreshed")
        process.ending.wait(EVERY)


def refresh(serving: Serving) -> None:
    serving.filters.refresh()
    for noun in SERVED:
        for record in serving.reading.children(noun):
            model = serving.deployed.held(record.body["solutionVersionArn"])
            if record.status != ACTIVE or model is None:
                continue
            try:
                serving.filters.warm(model)
                if is_answered(model.recipe, record.body.get(CONFIGS[f"{noun}Arn"]) or {}):
                    serving.filters.described(model)
            except PersonalizeError as error:
                log.warning("not made ready", arn=record.arn, reason=str(error))
