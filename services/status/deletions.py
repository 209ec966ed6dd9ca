"""Shows resources in DELETE PENDING for a while, as AWS does, and then starts their removal.

Clients wait for that status: AWS's own clean-up notebooks leave their loop when they have seen it, and otherwise after
half an hour. The time counts from this process's first look at the record, so that no other clock matters.
"""

from __future__ import annotations

import time
from functools import partial

from services.status import facts, periodic
from shared.jobs.worker_process import WorkerProcess
from shared.state.lifecycle import DELETE_PENDING
from shared.state.messages import Remove, Started
from shared.store import Record
from shared.store.quarantine import Quarantine

EVERY = 0.5

FirstSeen = dict[tuple[str, int], float]
"""ARN and attempt of a deletion -> when it was first seen."""


def start_deletions() -> None:
    seen: FirstSeen = {}
    quarantine = Quarantine("deletions")
    periodic.run_periodically("deletions", EVERY, lambda process: start_due_removals(process, seen, quarantine))


def start_due_removals(process: WorkerProcess, seen: FirstSeen, quarantine: Quarantine) -> None:
    """Run one round: start the removals whose time has come."""
    in_progress = process.store.list_in_progress()
    for gone in {key for key in seen if key[0] not in in_progress}:
        del seen[gone]
    for arn in in_progress:
        quarantine.run_unless_quarantined(arn, partial(_start_removal_if_due, process, arn, seen))


def _start_removal_if_due(process: WorkerProcess, arn: str, seen: FirstSeen) -> None:
    record = process.store.get(arn)
    if record is None or not is_waiting(process, record):
        return
    since = seen.setdefault((arn, record.attempt), time.monotonic())
    if time.monotonic() - since >= process.settings.deletion_seconds:
        # If the message gets lost, the reconciler finds the removal without a worker.
        facts.apply_fact(process, Started(arn=arn, attempt=record.attempt))
        process.queue.send(Remove(arn=arn))


def is_waiting(process: WorkerProcess, record: Record) -> bool:
    """Whether the record must still show DELETE PENDING before its removal."""
    return process.settings.deletion_seconds > 0 and record.in_progress == DELETE_PENDING
