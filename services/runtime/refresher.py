"""Keeps what filters read up to date: finds new imports, put records and filters, and makes ready what they need."""

from __future__ import annotations

import threading

import redis.exceptions
import structlog

from services.runtime.preparing import Preparing
from services.runtime.served import SERVED, Serving
from shared.lifecycle import ACTIVE
from shared.process import Process

log = structlog.get_logger()

#: AWS: within 15 to 20 minutes.
EVERY = 2.0


def start(process: Process, serving: Serving, preparing: Preparing, warm: threading.Event) -> threading.Event:
    """In a thread of its own, once ``warm`` is set. Returns what is set when all was made ready a first time."""
    ready = threading.Event()
    threading.Thread(
        target=_run, args=(process, serving, preparing, warm, ready), name="refresher", daemon=True
    ).start()
    return ready


def _run(
    process: Process, serving: Serving, preparing: Preparing, warm: threading.Event, ready: threading.Event
) -> None:
    warm.wait()
    while not process.ending.is_set():
        try:
            refresh(serving, preparing)
            ready.set()
        except redis.exceptions.RedisError as error:
            log.warning("the refresher waits for Redis", reason=str(error))
        except Exception:
            # Whatever it is: requests go on with what there is.
            log.exception("what filters read could not be refreshed")
        process.ending.wait(EVERY)


def refresh(serving: Serving, preparing: Preparing) -> None:
    serving.filters.refresh()
    for noun in SERVED:
        for record in serving.reading.children(noun):
            model = serving.deployed.held(record.body["solutionVersionArn"])
            if record.status == ACTIVE and model is not None:
                preparing.served(record, record.body, model)
