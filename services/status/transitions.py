"""Write the status that follows a fact, atomically and fenced by attempt; do the work that needs no worker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import structlog

from shared.jobs import celery_app
from shared.resources import RESOURCES
from shared.state.lifecycle import (
    ACTIVE,
    CLAIMABLE,
    COMPLETED,
    CREATE_PENDING,
    CREATE_STOPPED,
    DELETE_PENDING,
    DELETION,
    GONE,
    Happened,
)
from shared.state.messages import Fact, Failed, Finished, Progressed, Provision, Remove, Started
from shared.storage.artifacts import Artifacts
from shared.store import Conflict, Record, Store

log = structlog.get_logger()

REASON_LIMIT = 1000

#: Statuses after work that succeeded: the record keeps its outcome.
SUCCESSFUL = frozenset({ACTIVE, COMPLETED})


def write_transition(store: Store, fact: Fact) -> None:
    """Write the record that follows from a fact, once; a repeated, late or misplaced one changes nothing."""
    entry_id = celery_app.build_outbox_entry(fact).id
    while True:
        record = store.get(fact.arn)
        after = compute_next_record(record, fact, store.now()) if record else None
        if after is None:
            store.remove_from_outbox(entry_id)
            return
        try:
            store.replace(after, completed_entry=entry_id)
        except Conflict:
            continue
        if not isinstance(fact, Progressed):
            log.info("status changed", arn=fact.arn, attempt=fact.attempt, fact=fact.wire, status=after.status)
        return


def compute_next_record(record: Record, fact: Fact, now: float) -> Record | None:
    """Return the record after a fact; None when the fact changes nothing."""
    if fact.attempt != record.attempt:
        return None
    if record.update is not None and record.in_progress == record.update.status:
        return _compute_next_update(record, fact, now)
    lifecycle = RESOURCES[record.kind].lifecycle
    status = lifecycle.get_next_status(record.status or "", fact.happened) if lifecycle else None
    if status is None or status == GONE:  # only the removal of its record completes a deletion, not a fact
        return None
    moved = now if status != record.status else record.updated
    after = replace(record, status=status, updated=moved)
    match fact:
        case Progressed():
            return replace(after, state={**record.state, "progress": dict(fact.progress)})
        case Finished() if status in SUCCESSFUL:
            return replace(
                after,
                body=RESOURCES[record.kind].apply_outcome(record, fact.outcome),
                state={**record.state, **fact.outcome},
            )
        # A client that stopped the work sees CREATE STOPPED without a failure reason.
        case Failed() if status not in (record.status, CREATE_STOPPED):
            return replace(after, reason=fact.reason[:REASON_LIMIT])
    return after


def _compute_next_update(record: Record, fact: Fact, now: float) -> Record | None:
    update = record.update
    status = RESOURCES[record.kind].update.get_next_status(update.status, fact.happened) if update else None
    if update is None or status is None:
        return None
    moved = replace(update, status=status, updated=now)
    match fact:
        case Finished():
            body = RESOURCES[record.kind].apply_update(record, update.body)
            # A campaign whose creation failed becomes ACTIVE after its first successful update.
            return replace(
                record,
                status=ACTIVE,
                reason=None,
                body=body,
                parents=RESOURCES[record.kind].get_parents(record, body),
                update=moved,
                updated=now,
            )
        case Failed():
            moved = replace(moved, reason=fact.reason[:REASON_LIMIT])
            parents = RESOURCES[record.kind].get_parents(record, record.body)
            return replace(record, update=moved, parents=parents)
    return replace(record, update=moved)


def provision_resource(store: Store, command: Provision) -> None:
    """Complete a resource that consists of its record alone: apply Started and Finished."""
    record = store.get(command.arn)
    if record is None or record.in_progress not in CLAIMABLE:
        return
    write_transition(store, Started(arn=record.arn, attempt=record.attempt))
    if record.in_progress == CREATE_PENDING and record.kind == "filter" and _has_runtime(store):
        # A runtime first reads the data of the filter, then reports. Without a runtime the reconciler sends this again.
        return
    write_transition(store, Finished(arn=record.arn, attempt=record.attempt))


def _has_runtime(store: Store) -> bool:
    return any(name.startswith("runtime@") for name in store.list_live_processes())


def remove_resource(store: Store, artifacts: Artifacts, command: Remove) -> None:
    """Remove the resource's files, then the records that it owns, then its own. After a crash it is repeated."""
    while (record := store.get(command.arn)) is not None and record.status in _DELETING:
        if record.status == DELETE_PENDING:
            write_transition(store, Started(arn=record.arn, attempt=record.attempt))
            continue
        try:
            for owned in [*_iter_owned(store, record), record]:
                artifacts.discard_artifact(owned.arn)
                if RESOURCES[owned.kind].holds_interactions:
                    store.clear_dataset(owned.arn)
                if RESOURCES[owned.kind].holds_sums:
                    store.clear_attribution(owned.arn)
                store.remove(owned)
        except Conflict:
            continue
        log.info("removed", arn=record.arn)


_DELETING = frozenset(status for status, what in DELETION if what is Happened.FINISHED)


def _iter_owned(store: Store, record: Record) -> Iterator[Record]:
    for noun in RESOURCES[record.kind].owns:
        after: str | None = None
        while True:
            page, after = store.list_page(noun, record.arn, after=after, whole=True)
            yield from page
            if after is None:
                break
