"""The reconciler: it sends lost messages again, finds dead workers, and fails work that can't be done."""

from __future__ import annotations

import time
from functools import partial

import structlog

from services.status import facts, periodic
from shared.jobs import celery_app
from shared.jobs.worker_process import WorkerProcess
from shared.resources import RESOURCES
from shared.state.lifecycle import CLAIMABLE, CREATE_STOPPING
from shared.state.messages import Command, Fact, Failed, Remove, Stopped
from shared.store import OutboxEntry, Record
from shared.store.quarantine import Quarantine

log = structlog.get_logger()

EVERY = 1.0


def start_reconciler() -> None:
    since: dict[str, float] = {}
    quarantine = Quarantine("reconciler")
    periodic.run_periodically("reconciler", EVERY, lambda process: reconcile(process, since, quarantine))


def reconcile(process: WorkerProcess, since: dict[str, float], quarantine: Quarantine) -> None:
    """Run one round. ``since``: ARN -> when its work was first seen without a worker, or its command last sent."""
    for entry in process.store.list_outbox(older_than=process.settings.resend_after_seconds):
        quarantine.run_unless_quarantined(entry.id, partial(_resend_entry, process, entry))
    in_progress = process.store.list_in_progress()
    for arn in since.keys() - set(in_progress):
        del since[arn]
    for arn in in_progress:
        quarantine.run_unless_quarantined(arn, partial(_load_and_reconcile, process, arn, since))


def _resend_entry(process: WorkerProcess, entry: OutboxEntry) -> None:
    if isinstance(entry.message, Fact):
        facts.apply_fact(process, entry.message)
    elif isinstance(entry.message, Command):
        celery_app.send_command(process.store, process.queue, entry.message)


def _load_and_reconcile(process: WorkerProcess, arn: str, since: dict[str, float]) -> None:
    record = process.store.get(arn)
    if record is not None and record.in_progress is not None:
        reconcile_record(process, record, since)


def reconcile_record(process: WorkerProcess, record: Record, since: dict[str, float]) -> None:
    """Resend, stop or fail the work on a record when no live lease holds it."""
    lease = process.store.get_lease(record.arn)
    if lease is not None and lease.seconds_left > 0:
        since.pop(record.arn, None)
        return
    if lease is not None:
        log.warning("worker lost", arn=record.arn, worker=lease.worker, attempt=lease.attempt)
        process.store.release_lease(lease, failed=True)
        counted = process.store.get(record.arn)
        if counted is None or counted.in_progress is None:
            return
        record = counted
    seen = since.setdefault(record.arn, time.monotonic())
    waited = lease is not None or time.monotonic() - seen >= process.settings.ring_after_seconds
    if record.failures >= process.settings.max_attempts and record.in_progress in CLAIMABLE:
        if not waited:
            return  # the worker that released the lease is about to report how the last attempt ended
        reason = f"The work was given up: its process died {record.failures} times. See the worker's log."
        facts.apply_fact(process, Failed(arn=record.arn, attempt=record.attempt, reason=reason))
        return
    if record.in_progress == CREATE_STOPPING and not _is_stopped_by_handler(record):
        # No worker runs it, and no later attempt will need its workspace.
        process.artifacts.discard_workspace(record.arn)
        facts.apply_fact(process, Stopped(arn=record.arn, attempt=record.attempt))
        return
    if waited:
        _resend_command(process, record, since)


def _is_stopped_by_handler(record: Record) -> bool:
    command = RESOURCES[record.kind].get_command(record)
    return command is not None and command.ends_stopped_work


def _resend_command(process: WorkerProcess, record: Record, since: dict[str, float]) -> None:
    """Send the command of work without a worker again, unless a message still waits on the queue."""
    since[record.arn] = time.monotonic()
    working = record.in_progress in CLAIMABLE or record.in_progress == CREATE_STOPPING
    command = RESOURCES[record.kind].get_command(record) if working else Remove
    if command is None:
        _report_undeployed(process, record)
    elif process.queue.count_waiting(command.get_queue_name()) == 0:
        log.info("command sent again", arn=record.arn, wire=command.wire)
        process.queue.send(command(arn=record.arn))


def _report_undeployed(process: WorkerProcess, record: Record) -> None:
    asked = record.update.created if record.update is not None else record.created
    if process.store.now() - asked > process.settings.deploy_deadline_seconds:
        reason = "No runtime service took the campaign up. Start one, then update the campaign."
        facts.apply_fact(process, Failed(arn=record.arn, attempt=record.attempt, reason=reason))
