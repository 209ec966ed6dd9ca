"""Random lives of all resources: no move that AWS does not have, nothing lost, and everything ends.

A run makes, updates, stops and deletes resources in any order, while messages are lost, doubled and handed out in any
order, workers die, fall silent and report of attempts that are long over, and the reconciler comes round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from shared.jobs.celery_app import build_outbox_entry
from shared.resources import RESOURCES
from shared.store import Lease
from tests.unit.state_machine import rules
from tests.unit.state_machine.account import HIDDEN, Account, fact_of
from tests.unit.state_machine.control_plane import has_a_worker
from tests.unit.state_machine.requests import CREATIONS, SEGMENTS, UPDATES, VIDEO, Pick, some

SETTINGS = settings(
    max_examples=120,
    stateful_step_count=100,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    # A run that fails is short enough to read, and to shorten it takes minutes.
    phases=[Phase.generate],
)
OFFERED = [kind for kind, resource in RESOURCES.items() if kind in CREATIONS]
#: In which order the first custom dataset group is furnished.
FIRST = (
    "dataset_import_job",
    "solution",
    "solution_version",
    "campaign",
    "event_tracker",
    "filter",
    "metric_attribution",
    "batch_inference_job",
    "dataset_export_job",
    "data_deletion_job",
)

steps: list[int] = []
seen: set[tuple[str, str | None]] = set()


def picking(data: st.DataObject) -> Pick:
    return lambda choices: data.draw(st.sampled_from(choices))


class Lives(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.account = Account()
        self.plane, self.model = self.account.plane, self.account.model
        self.count = 0

    @initialize()
    def begin(self) -> None:
        """One of each type, so that a run does not spend itself on getting so far."""
        for kind in ("dataset_group", "schema", "dataset", *FIRST):
            self._begin_with(kind, "a")
        for kind in ("solution", "solution_version", "batch_segment_job"):
            self._begin_with(kind, SEGMENTS)
        for kind in ("dataset_group", "schema", "dataset", "recommender"):
            self._begin_with(kind, VIDEO)
        self._begin_with("dataset_import_job", "b", end="failed")
        for to in ("Stop", "Start"):
            self.account.switch(self.model.of("recommender")[0].arn, to)
            self.account.settle()
        self.account.create(CREATIONS["solution_version"](self.model, lambda choices: choices[0]))
        self.account.stop_creation(self.model.of("solution_version")[-1].arn)

    def _begin_with(self, kind: str, name: str, end: str = "finished") -> None:
        def pick(choices: Sequence[str]) -> str:
            return next((choice for choice in choices if choice.endswith(name)), choices[0])

        if kind in OFFERED:
            self.account.create(CREATIONS[kind](self.model, pick))
            self.account.settle(end)

    # What clients ask

    @rule(data=st.data(), kind=st.sampled_from(OFFERED), again=st.booleans(), told=st.integers(0, 2))
    def create(self, data: st.DataObject, kind: str, again: bool, told: int) -> None:
        self.account.create(CREATIONS[kind](self.model, picking(data)), again=again)
        self.account.deliver_newest(told)

    @rule(
        data=st.data(),
        kind=st.sampled_from([kind for kind in OFFERED if kind not in rules.VANISHES_WITH]),
        told=st.integers(0, 1),
        allowed=st.booleans(),
    )
    def delete(self, data: st.DataObject, kind: str, told: int, allowed: bool) -> None:
        pick = picking(data)
        free = [one.arn for one in self.model.of(kind) if not self.model.refuses_delete(one.arn)]
        self.account.delete(kind, pick(free) if allowed and free else some(kind, self.model, pick))
        self.account.deliver_newest(told)

    @rule(data=st.data(), kind=st.sampled_from([kind for kind in OFFERED if kind in UPDATES]), told=st.integers(0, 2))
    def update(self, data: st.DataObject, kind: str, told: int) -> None:
        pick = picking(data)
        arn = some(kind, self.model, pick)
        self.account.update(kind, arn, UPDATES[kind](arn, self.model, pick))
        self.account.deliver_newest(told)

    @rule(data=st.data())
    def stop_creation(self, data: st.DataObject) -> None:
        moving = [one.arn for one in self.model.of("solution_version") if one.moving]
        self.account.stop_creation(picking(data)(moving or [some("solution_version", self.model, picking(data))]))

    @rule(data=st.data(), to=st.sampled_from(["Stop", "Start"]))
    def switch(self, data: st.DataObject, to: str) -> None:
        self.account.switch(some("recommender", self.model, picking(data)), to)

    # What happens meanwhile

    @rule(data=st.data(), copies=st.integers(0, 2))
    @precondition(lambda self: self.plane.bag.messages)
    def deliver(self, data: st.DataObject, copies: int) -> None:
        """Any message, in any order; sometimes it stays in the queue as well, or never arrives."""
        messages = self.plane.bag.messages
        message = messages.pop(data.draw(st.integers(0, len(messages) - 1)))
        for number in range(copies):
            if number:
                messages.append(message)
            else:
                self.account.handle(message)

    @rule(
        data=st.data(),
        word=st.sampled_from(["started", "progressed", "finished", "finished", "finished", "failed", "stopped"]),
        by=st.sampled_from(["report", "report", "at once", "outbox alone"]),
        late=st.sampled_from([False, False, True]),
    )
    @precondition(lambda self: self.plane.leases)
    def report(self, data: st.DataObject, word: str, by: str, late: bool) -> None:
        """Who has the work says something, or who ever had it."""
        leases = [] if late else [lease for lease in self.plane.leases if self.account.at_work(lease)]
        leases = leases or self.plane.leases
        lease = leases[data.draw(st.integers(0, len(leases) - 1))]
        fact = fact_of(word, lease, self.account.kind(lease.arn))
        match by:
            case "report":
                self.plane.report(fact)
            case "at once":
                self.account.handle(fact)
            case _:
                self.plane.store.add_to_outbox(build_outbox_entry(fact))

    @rule(
        data=st.data(), off=st.sampled_from([-1, 1]), word=st.sampled_from(["started", "finished", "failed", "stopped"])
    )
    def report_of_another_attempt(self, data: st.DataObject, off: int, word: str) -> None:
        arns = [arn for arn, one in self.model.known.items() if one.status is not None and one.kind not in HIDDEN]
        if arns:
            arn = picking(data)(arns)
            lease = Lease(arn=arn, worker="nobody", attempt=self.model.known[arn].attempt + off, seconds_left=0)
            before = self.plane.store.get(arn)
            self.plane.handle(fact_of(word, lease, self.account.kind(arn)))
            assert self.plane.store.get(arn) == before

    @rule(data=st.data(), word=st.sampled_from(["", "started", "started", "finished", "failed"]))
    def work(self, data: st.DataObject, word: str) -> None:
        """A worker that was told long ago, or a runtime that watches: takes work up, and may end it at once."""
        if waiting := self.plane.waiting():
            lease = self.account.take_up(picking(data)(waiting))
            if lease is not None and word:
                self.account.handle(fact_of(word, lease, self.account.kind(lease.arn)))

    @rule(data=st.data(), failed=st.booleans())
    @precondition(lambda self: self.plane.leases)
    def give_back(self, data: st.DataObject, failed: bool) -> None:
        lease = self.plane.leases[data.draw(st.integers(0, len(self.plane.leases) - 1))]
        self.plane.store.release_lease(lease, failed=failed)

    @rule(seconds=st.sampled_from([1, 16]))
    def wait(self, seconds: float) -> None:
        self.plane.wait(seconds)

    @rule(down=st.booleans())
    def broker(self, down: bool) -> None:
        self.plane.bag.down = down

    @rule(no_runtime=st.sampled_from([False, False, True]), restarted=st.booleans())
    @precondition(lambda self: not self.plane.bag.down)
    def reconcile(self, no_runtime: bool, restarted: bool) -> None:
        self.plane.reconcile(no_runtime=no_runtime, restarted=restarted)
        self.account.look_again()

    @rule()
    @precondition(lambda self: len(self.plane.bag.messages) > 12)
    def calm(self) -> None:
        self.account.settle()

    @rule(kind=st.sampled_from(OFFERED))
    def look(self, kind: str) -> None:
        self.account.look(kind)

    @invariant()
    def the_store_is_as_the_rules_say(self) -> None:
        self.count += 1
        self.account.check()

    def teardown(self) -> None:
        try:
            self.account.settle()
            self.account.check()
            self.account.clear()
        finally:
            steps.append(self.count)
            seen.update(self.plane.store.reached)
            self.plane.close()


def test_ten_thousand_steps_of_random_lives(record_property: Callable[[str, object], None]) -> None:
    with structlog.testing.capture_logs():
        while sum(steps) < 10_000:
            run_state_machine_as_test(Lives, settings=SETTINGS)
    record_property("told", f"state machine: {len(steps)} lives, {sum(steps):,} steps")


def test_every_status_was_reached() -> None:
    """The test above would pass on lives that go nowhere."""
    possible = {(kind, status) for kind in OFFERED for move in rules.moves(kind) for status in move}
    # What needs no worker can't fail, and all others will not all have failed.
    expected = {(kind, status) for kind, status in possible if status not in rules.FAILED}
    missed = sorted(expected - seen, key=str)
    assert [one for one in missed if one[1] in {*rules.AT_REST, rules.GONE}] == []
    assert len(missed) < len(expected) / 10, missed  # what is on the way may be skipped
    assert {kind for kind, status in seen if status in rules.FAILED and has_a_worker(kind)}


def test_every_type_takes_part() -> None:
    assert RESOURCES.keys() - CREATIONS.keys() - HIDDEN == set()
