"""Faults of our own making: each takes away one thing that keeps the promises.

A simulation that does not notice is worth nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from services.api import operations
from services.events import app as events
from services.runtime import deployer
from services.status import attribution, reconcile, transitions
from shared.jobs import celery_app, runner
from shared.resources import RESOURCES
from shared.state import lifecycle
from shared.state.lifecycle import ACTIVE, CREATE_STOPPING, Happened
from shared.state.messages import Fact, Remove
from shared.store import Conflict, Record, Store
from shared.store.attributions import WaitingData
from shared.store.memory import MemoryStore
from shared.store.quarantine import Quarantine

Plant = Callable[[pytest.MonkeyPatch], None]


def no_fence(patch: pytest.MonkeyPatch) -> None:
    """The report of an earlier attempt is heard as if it were of this one."""
    real = transitions.compute_next_record

    def heard(record: Record, fact: Fact, now: float) -> Record | None:
        return real(record, replace(fact, attempt=record.attempt), now)

    patch.setattr(transitions, "compute_next_record", heard)


def no_guards(patch: pytest.MonkeyPatch) -> None:
    """A resource is made although what it stands on has changed since it was looked at."""
    real = MemoryStore.create
    patch.setattr(MemoryStore, "create", lambda self, record, **more: real(self, record, **{**more, "guards": ()}))


def no_comparison(patch: pytest.MonkeyPatch) -> None:
    """A change is written over whatever was written since it was decided."""
    real = MemoryStore.replace

    def written(self: MemoryStore, record: Record, **more: Any) -> None:
        standing = self.get(record.arn)
        if standing is None:
            raise Conflict(record.arn)
        real(self, replace(record, version=standing.version), **more)

    patch.setattr(MemoryStore, "replace", written)


def no_note_of_a_report(patch: pytest.MonkeyPatch) -> None:
    """A worker says how it went, and keeps no note of it."""

    def said(_records: Any, sending: celery_app.MessageQueue, fact: Fact) -> None:
        sending.send(fact)

    patch.setattr(runner, "report_fact", said)
    patch.setattr(deployer, "report_fact", said)


def a_note_gone_before_it_is_applied(patch: pytest.MonkeyPatch) -> None:
    real = transitions.write_transition

    def applied(store: Store, fact: Fact) -> None:
        store.remove_from_outbox(celery_app.build_outbox_entry(fact).id)
        real(store, fact)

    patch.setattr(transitions, "write_transition", applied)


def nobody_walks_the_outbox(patch: pytest.MonkeyPatch) -> None:
    real = reconcile.reconcile

    def walk(process: Any, since: dict[str, float], aside: Quarantine) -> None:
        settings = replace(process.settings, resend_after_seconds=1e9)
        real(replace(process, settings=settings), since, aside)

    patch.setattr(reconcile, "reconcile", walk)


def nobody_looks_for_dead_workers(patch: pytest.MonkeyPatch) -> None:
    real = reconcile.reconcile_record

    def tend(process: Any, record: Record, since: dict[str, float]) -> None:
        if process.store.get_lease(record.arn) is None:
            real(process, record, since)

    patch.setattr(reconcile, "reconcile_record", tend)


def a_call_that_is_not_remembered(patch: pytest.MonkeyPatch) -> None:
    """The second try of a Create makes another."""
    numbers, real = itertools.count(), operations.create_resource

    def create(context: Any, resource: Any, call: Any) -> Any:
        return real(context, resource, replace(call, invocation=f"{call.invocation}-{next(numbers)}"))

    patch.setattr(operations, "create_resource", create)
    patch.setitem(api_verbs(), "Create{}", create)


def api_verbs() -> dict[str, Any]:
    from services.api import app

    verbs: Any = app.RESOURCE_OPERATIONS
    return verbs


def events_that_are_not_remembered(patch: pytest.MonkeyPatch) -> None:
    """The second try of a PutEvents is kept beside the first."""
    numbers, real = itertools.count(), events.OPERATIONS["PutEvents"]

    def put(store: Any, reading: Any, call: Any) -> None:
        real(store, reading, replace(call, invocation=f"{call.invocation}-{next(numbers)}"))

    known: Any = events.OPERATIONS
    patch.setitem(known, "PutEvents", put)


def a_lease_that_keeps_no_other_worker_out(patch: pytest.MonkeyPatch) -> None:
    """A message that comes twice has two workers at one job."""
    real = MemoryStore.claim_lease

    def claim(self: MemoryStore, arn: str, *args: Any) -> Any:
        self._leases.pop(arn, None)
        return real(self, arn, *args)

    patch.setattr(MemoryStore, "claim_lease", claim)


def a_worker_that_works_on_without_its_lease(patch: pytest.MonkeyPatch) -> None:
    real = runner.JobMonitor._renew_lease

    def looked(self: Any) -> bool:
        real(self)
        return True

    patch.setattr(runner.JobMonitor, "_renew_lease", looked)


def a_job_that_hangs_and_is_waited_for(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(runner._SilenceTimer, "is_exceeded", lambda _silence: False)


def an_owner_that_goes_before_what_it_owns(patch: pytest.MonkeyPatch) -> None:
    """Where the process dies in between, what was owned is nobody's."""

    def remove(store: Store, artifacts: Any, command: Remove) -> None:
        record = store.get(command.arn)
        if record is None or not (record.status or "").startswith("DELETE"):
            return
        for each in [record, *transitions._iter_owned(store, record)]:
            artifacts.discard_artifact(each.arn)
            if RESOURCES[each.kind].holds_interactions:
                store.clear_dataset(each.arn)
            if RESOURCES[each.kind].holds_sums:
                store.clear_attribution(each.arn)
            store.remove(each)

    patch.setattr(transitions, "remove_resource", remove)


def a_deletion_that_is_taken_at_its_word(patch: pytest.MonkeyPatch) -> None:
    """A Remove that comes late finds another resource of that ARN, and removes it."""
    real = transitions.remove_resource

    def remove(store: Store, artifacts: Any, command: Remove) -> None:
        real(store, artifacts, command)
        record = store.get(command.arn)
        if record is not None and record.kind == "filter":
            store.remove(record)

    patch.setattr(transitions, "remove_resource", remove)


def a_stop_that_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    """What ends well while it is being stopped is ACTIVE."""
    moves = {**lifecycle.TRAINED.transitions, (CREATE_STOPPING, Happened.FINISHED): ACTIVE}
    trained = replace(lifecycle.TRAINED, transitions=moves)
    resources: Any = dict(RESOURCES)
    resources["solution_version"] = replace(resources["solution_version"], lifecycle=trained)
    patch.setattr(transitions, "RESOURCES", resources)


def sums_that_are_saved_before_their_events_are_removed(patch: pytest.MonkeyPatch) -> None:
    """Where the process dies in between, the events are summed again."""
    real = attribution._Summing._save_sums

    def save(summing: Any, waiting: WaitingData, more: Any, *, entries: Any = (), jobs: Any = None) -> bool:
        saved = real(summing, waiting, more)
        return saved and real(summing, replace(waiting, version=waiting.version + 1), {}, entries=entries, jobs=jobs)

    patch.setattr(attribution._Summing, "_save_sums", save)


def sums_that_outlive_their_attribution(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryStore, "clear_attribution", lambda _store, _attribution: None)


PLANTED: Mapping[str, Plant] = {
    plant.__name__: plant
    for plant in (
        no_fence,
        no_guards,
        no_comparison,
        no_note_of_a_report,
        a_note_gone_before_it_is_applied,
        nobody_walks_the_outbox,
        nobody_looks_for_dead_workers,
        a_call_that_is_not_remembered,
        events_that_are_not_remembered,
        a_lease_that_keeps_no_other_worker_out,
        a_worker_that_works_on_without_its_lease,
        a_job_that_hangs_and_is_waited_for,
        an_owner_that_goes_before_what_it_owns,
        a_deletion_that_is_taken_at_its_word,
        a_stop_that_is_forgotten,
        sums_that_are_saved_before_their_events_are_removed,
        sums_that_outlive_their_attribution,
    )
}
