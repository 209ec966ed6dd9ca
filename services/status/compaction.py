"""Has live events moved from Redis to files, where there are many of them or they are old (FORETASTE_LIVE_EVENTS_...).

An importing worker does the work. Its message may be lost, so that it is sent again while there is work and no message
waits.
"""

from __future__ import annotations

import time
from functools import partial

import structlog

from services.status import periodic
from shared.jobs.worker_process import WorkerProcess
from shared.resources import ResourceReader
from shared.state.messages import CompactEvents
from shared.store.quarantine import Quarantine

log = structlog.get_logger()

EVERY = 2.0

SentAt = dict[str, float]
"""ARN of a dataset -> when its message was sent last."""


def start_compactions() -> None:
    sent: SentAt = {}
    quarantine = Quarantine("compactions")
    periodic.run_periodically("compactions", EVERY, lambda process: start_due_compactions(process, sent, quarantine))


def start_due_compactions(process: WorkerProcess, sent: SentAt, quarantine: Quarantine) -> None:
    """Run one round over all datasets."""
    reading = ResourceReader(process.store, process.settings)
    standing = {dataset.arn for dataset in reading.iter_children("dataset", whole=False)}
    for gone in sent.keys() - standing:
        del sent[gone]
    for arn in standing:
        quarantine.run_unless_quarantined(arn, partial(_start_compaction_if_due, process, arn, sent))


def _start_compaction_if_due(process: WorkerProcess, arn: str, sent: SentAt) -> None:
    size = process.store.measure_stream(arn)
    settings = process.settings
    if size is None or not size.is_compaction_due(
        settings.live_events_most, settings.live_events_age, process.store.now()
    ):
        sent.pop(arn, None)
    elif arn not in sent or _is_message_lost(process, sent[arn]):
        sent[arn] = time.monotonic()
        log.info("live events are to be moved to files", arn=arn, events=size.events)
        process.queue.send(CompactEvents(arn=arn))


def _is_message_lost(process: WorkerProcess, sent_at: float) -> bool:
    waited = time.monotonic() - sent_at >= process.settings.ring_after_seconds
    return waited and process.queue.count_waiting(CompactEvents.get_queue_name()) == 0
