"""Keeps what filters read up to date: finds new imports, put records and filters, and makes ready what they need."""

from __future__ import annotations

import threading
from functools import partial

import structlog

from services.runtime.metadata import is_answered
from services.runtime.served import CONFIGS, SERVED, Serving
from shared import refusals
from shared.aside import Aside
from shared.aws.errors import PersonalizeError
from shared.lifecycle import ACTIVE
from shared.process import Process
from shared.store import Record

log = structlog.get_logger()

#: AWS: within 15 to 20 minutes.
EVERY = 2.0


def start(process: Process, serving: Serving, warm: threading.Event) -> threading.Event:
    """In a thread of its own, once ``warm`` is set. Returns what is set when all was made ready a first time."""
    ready = threading.Event()
    process.threads.start("refresher", partial(_run, process, serving, warm, ready), process.ending)
    return ready


def _run(process: Process, serving: Serving, warm: threading.Event, ready: threading.Event) -> None:
    warm.wait()
    aside = Aside("refresher")
    while not process.ending.is_set():
        try:
            refresh(serving, aside)
            ready.set()
        except Exception as error:
            # The state of Redis passes; anything else ends the thread, which is said, and started again.
            if not refusals.waits_for_redis(error):
                raise
            log.warning("the refresher waits for Redis", reason=str(error))
        process.ending.wait(EVERY)


def refresh(serving: Serving, aside: Aside) -> None:
    serving.filters.refresh(aside)
    for noun in SERVED:
        for record in serving.reading.children(noun, whole=False):
            aside.give_turn(record.arn, partial(_make_ready, serving, record, aside))


def _make_ready(serving: Serving, record: Record, aside: Aside) -> None:
    model = serving.deployed.held(record.body["solutionVersionArn"])
    if record.status != ACTIVE or model is None:
        return
    try:
        serving.filters.warm(model, aside)
        if is_answered(model.recipe, record.body.get(CONFIGS[f"{record.kind}Arn"]) or {}):
            serving.filters.described(model)
    except PersonalizeError as error:
        log.warning("not made ready", arn=record.arn, reason=str(error))
