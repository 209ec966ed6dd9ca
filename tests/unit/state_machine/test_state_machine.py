"""Random lives of all resources: no move that AWS does not have, nothing lost, and everything ends.

A run makes, updates, stops and deletes resources in any order, while messages are lost, doubled and handed out in any
order, workers die, fall silent and report of attempts that are long over, and the reconciler comes round.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
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

from shared.messages import (
    AdvanceRecommender,
    Decline,
    Fact,
    Failed,
    Finished,
    Message,
    Progressed,
    Provision,
    Remove,
    Started,
    Stopped,
)
from shared.queue import note
from shared.resources import RESOURCES
from shared.store import Lease, Record
from tests.unit.state_machine import rules
from tests.unit.state_machine.control_plane import ControlPlane, Refused, has_a_worker
from tests.unit.state_machine.requests import CREATIONS, UPDATES, VIDEO, Pick, Wish, some
from tests.unit.state_machine.rules import Model

SETTINGS = settings(
    max_examples=120,
    stateful_step_count=100,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    # A run that fails is short enough to read, and to shorten it takes minutes.
    phases=[Phase.generate],
)
OFFERED = [kind for kind, resource in RESOURCES.items() if kind in CREATIONS]
HIDDEN = {kind for kind, resource in RESOURCES.items() if resource.hidden}
#: What the last report of good work says.
OUTCOMES: dict[str, dict[str, Any]] = {
    "solution_version": {"metrics": {"coverage": 0.5}, "baseline": {}, "seconds": 7.2, "epochs": 3},
}
#: Kinds of which the checks know more than the rules here: these may be refused for their content.
PARTICULAR = {"filter", "metric_attribution", "batch_inference_job", "batch_segment_job", "recommender"}

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
    "batch_segment_job",
    "dataset_export_job",
    "data_deletion_job",
)

steps: list[int] = []
seen: set[tuple[str, str | None]] = set()


def fact_of(word: str, lease: Lease, kind: str) -> Fact:
    named: dict[str, Any] = {"arn": lease.arn, "attempt": lease.attempt}
    match word:
        case "progressed":
            return Progressed(**named, progress={"phase": "working"})
        case "finished":
            return Finished(**named, outcome=OUTCOMES.get(kind, {}))
        case "failed":
            return Failed(**named, reason="no")
        case "stopped":
            return Stopped(**named)
    return Started(**named)


def _statuses(record: Record) -> tuple[str | None, str | None]:
    return record.status, record.update.status if record.update else None


class Lives(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.plane = ControlPlane()
        self.model = Model()
        #: In which life of its ARN, and for what kind, an attempt was handed out.
        self.lives: dict[tuple[str, int], int] = {}
        self.count = 0

    # Making the world

    @initialize()
    def begin(self) -> None:
        """One of each type, so that a run does not spend itself on getting so far."""
        for kind in ("dataset_group", "schema", "dataset", *FIRST):
            self._begin_with(kind, "a")
        for kind in ("dataset_group", "schema", "dataset", "recommender"):
            self._begin_with(kind, VIDEO)
        self._begin_with("dataset_import_job", "b", end="failed")

    def _begin_with(self, kind: str, name: str, end: str = "finished") -> None:
        def pick(choices: Sequence[str]) -> str:
            return next((choice for choice in choices if choice.endswith(name)), choices[0])

        if kind in OFFERED:
            self._create(CREATIONS[kind](self.model, pick))
            self._settle(end)

    def _create(self, wish: Wish, *, again: bool = False) -> None:
        resource = RESOURCES[wish.kind]
        codes = self.model.refuses_create(wish.kind, wish.name, wish.uses)
        answer = self.plane.call(f"Create{resource.name}", wish.request)
        if isinstance(answer, Refused):
            self._refused(answer, codes, wish.kind)
            return
        assert not codes, f"Create{resource.name} went through and had to be refused: {codes}"
        arn = answer[resource.arn_member]
        self.model.born(arn, wish.kind, wish.name or arn, wish.uses, self.plane.store.everything()[arn].attempt)
        if again:
            assert self.plane.call(f"Create{resource.name}", wish.request, again=True) == answer

    def _refused(self, answer: Refused, codes: set[str], kind: str) -> None:
        if answer.code == "LimitExceededException" or (kind in PARTICULAR and answer.code == "InvalidInputException"):
            return
        assert answer.code in codes, f"{kind}: {answer.code}, where the rules have {codes or 'no objection'}"

    @rule(data=st.data(), kind=st.sampled_from(OFFERED), again=st.booleans(), told=st.integers(0, 2))
    def create(self, data: st.DataObject, kind: str, again: bool, told: int) -> None:
        self._create(CREATIONS[kind](self.model, self._pick(data)), again=again)
        self._deliver_newest(told)

    def _deliver_newest(self, count: int) -> None:
        """As when nothing is in the way: the command arrives, the worker's first report too."""
        for _ in range(min(count, len(self.plane.bag.messages))):
            self._handle(self.plane.bag.messages.pop())

    def _pick(self, data: st.DataObject) -> Pick:
        return lambda choices: data.draw(st.sampled_from(choices))

    @rule(
        data=st.data(),
        kind=st.sampled_from([k for k in OFFERED if k not in rules.VANISHES_WITH]),
        told=st.integers(0, 1),
        allowed=st.booleans(),
    )
    def delete(self, data: st.DataObject, kind: str, told: int, allowed: bool) -> None:
        pick = self._pick(data)
        free = [one.arn for one in self.model.of(kind) if not self.model.refuses_delete(one.arn)]
        self._delete(kind, pick(free) if allowed and free else some(kind, self.model, pick))
        self._deliver_newest(told)

    def _delete(self, kind: str, arn: str) -> None:
        resource = RESOURCES[kind]
        codes = self.model.refuses_delete(arn)
        answer = self.plane.call(f"Delete{resource.name}", {resource.arn_member: arn})
        if isinstance(answer, Refused):
            assert answer.code in codes, f"{arn}: {answer.code}, where the rules have {codes or 'no objection'}"
            return
        assert not codes, f"{arn} was deleted and had to be kept: {codes}"
        if rules.FIRST.get(kind, "") is None:
            self.model.died(arn)
            return
        self.model.known[arn].status = "DELETE PENDING"
        self._anew(arn)

    def _anew(self, arn: str) -> None:
        """A request begins a new attempt: what earlier workers still report is of the past."""
        attempt = self.plane.store.everything()[arn].attempt
        assert attempt > self.model.known[arn].attempt
        self.model.known[arn].attempt = attempt

    @rule(data=st.data(), kind=st.sampled_from([k for k in OFFERED if k in UPDATES]), told=st.integers(0, 2))
    def update(self, data: st.DataObject, kind: str, told: int) -> None:
        resource, pick = RESOURCES[kind], self._pick(data)
        if not self.plane.offers(f"Update{resource.name}"):
            return
        arn = some(kind, self.model, pick)
        wish = UPDATES[kind](arn, self.model, pick)
        codes = self.model.refuses_update(arn, wish.uses)
        answer = self.plane.call(f"Update{resource.name}", wish.request)
        if isinstance(answer, Refused):
            assert answer.code in codes | {"InvalidInputException"}, f"{arn}: {answer.code}; the rules have {codes}"
            return
        assert not codes, f"{arn} was updated and had to be left alone: {codes}"
        known = self.model.known[arn]
        known.update, known.wanted = rules.UPDATES[kind], wish.uses
        self._anew(arn)
        self._deliver_newest(told)

    @rule(data=st.data())
    def stop_creation(self, data: st.DataObject) -> None:
        moving = [one.arn for one in self.model.of("solution_version") if one.moving]
        arn = self._pick(data)(moving or [some("solution_version", self.model, self._pick(data))])
        codes = self.model.refuses_stop(arn, of="solution_version")
        answer = self.plane.call("StopSolutionVersionCreation", {"solutionVersionArn": arn})
        if isinstance(answer, Refused):
            assert answer.code in codes, f"{arn}: {answer.code}, where the rules have {codes or 'no objection'}"
            return
        assert not codes
        known = self.model.known[arn]
        known.status = "CREATE STOPPED" if known.status == "CREATE PENDING" else "CREATE STOPPING"

    @rule(data=st.data(), to=st.sampled_from(["Stop", "Start"]))
    @precondition(lambda self: self.model.of("recommender"))
    def switch(self, data: st.DataObject, to: str) -> None:
        arn = some("recommender", self.model, self._pick(data))
        stops = to == "Stop"
        codes = self.model.refuses_stop(arn, of="recommender") if stops else self.model.refuses_start(arn)
        answer = self.plane.call(f"{to}Recommender", {"recommenderArn": arn})
        if isinstance(answer, Refused):
            assert answer.code in codes, f"{arn}: {answer.code}, where the rules have {codes or 'no objection'}"
            return
        assert not codes
        self.model.known[arn].status = "STOP PENDING" if stops else "START PENDING"
        self._anew(arn)

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
                self._handle(message)

    def _handle(self, message: Message) -> None:
        known = self.model.known.get(message.arn)
        moving = known.moving if known else None
        lease = self.plane.handle(message)
        match message:
            case Fact():
                if known and message.attempt == known.attempt and self._life(message) == known.life:
                    known.hear(message.wire.partition(".")[2])
                self._adopt()
                if known and known.kind in HIDDEN:  # its recommender may go on now
                    self._look_again()
            case AdvanceRecommender():
                self._adopt()
                self._look_again()
            case Provision() if (known and moving in rules.WORK) or moving in rules.PENDING_OF:
                if known and not (moving or "").startswith("DELETE"):
                    known.hear("finished")
            case Decline() if known:
                if not (moving or "").startswith("DELETE"):
                    known.hear("failed")
            case Remove() if known and (moving or "").startswith("DELETE"):
                self.model.died(message.arn)
        self._claimed(lease)

    def _adopt(self) -> None:
        """What no client asked for or sees: the models of recommenders come and go with what happens to these."""
        records = self.plane.store.everything()
        for arn in [arn for arn, one in self.model.known.items() if one.kind in HIDDEN and arn not in records]:
            self.model.died(arn)
        for record in [one for one in records.values() if one.kind in HIDDEN and one.arn not in self.model.known]:
            self.model.born(record.arn, record.kind, "", record.parents, record.attempt).status = record.status
            owner = self.model.known[record.parents[0]]
            owner.status, owner.update = _statuses(records[owner.arn])

    def _life(self, fact: Fact) -> int | None:
        return self.lives.get((fact.arn, fact.attempt))

    def _claimed(self, lease: Lease | None) -> None:
        if lease is None:
            return
        known = self.model.known[lease.arn]
        assert known.moving in {*rules.WORK, *rules.PENDING_OF}
        assert lease.attempt > known.attempt
        assert (lease.arn, lease.attempt) not in self.lives, "an attempt that was handed out before"
        known.attempt = lease.attempt
        self.lives[lease.arn, lease.attempt] = known.life

    @rule(
        data=st.data(),
        word=st.sampled_from(["started", "progressed", "finished", "finished", "finished", "failed", "stopped"]),
        by=st.sampled_from(["report", "report", "at once", "outbox alone"]),
        late=st.sampled_from([False, False, True]),
    )
    @precondition(lambda self: self.plane.leases)
    def report(self, data: st.DataObject, word: str, by: str, late: bool) -> None:
        """Who has the work says something, or who ever had it."""
        leases = [] if late else [lease for lease in self.plane.leases if self._at_work(lease)]
        leases = leases or self.plane.leases
        lease = leases[data.draw(st.integers(0, len(leases) - 1))]
        fact = fact_of(word, lease, self._kind(lease.arn))
        match by:
            case "report":
                self.plane.report(fact)
            case "at once":
                self._handle(fact)
            case _:
                self.plane.store.add_note(note(fact))

    def _at_work(self, lease: Lease) -> bool:
        known = self.model.known.get(lease.arn)
        return known is not None and known.moving is not None and known.attempt == lease.attempt

    def _kind(self, arn: str) -> str:
        known = self.model.known.get(arn)
        return known.kind if known else ""

    @rule(
        data=st.data(), off=st.sampled_from([-1, 1]), word=st.sampled_from(["started", "finished", "failed", "stopped"])
    )
    def report_of_another_attempt(self, data: st.DataObject, off: int, word: str) -> None:
        arns = [arn for arn, one in self.model.known.items() if one.status is not None and one.kind not in HIDDEN]
        if arns:
            arn = self._pick(data)(arns)
            lease = Lease(arn=arn, worker="nobody", attempt=self.model.known[arn].attempt + off, seconds_left=0)
            before = self.plane.store.get(arn)
            self.plane.handle(fact_of(word, lease, self._kind(arn)))
            assert self.plane.store.get(arn) == before

    @rule(data=st.data(), word=st.sampled_from(["", "started", "started", "finished", "failed"]))
    def work(self, data: st.DataObject, word: str) -> None:
        """A worker that was told long ago, or a runtime that watches: takes work up, and may end it at once."""
        if waiting := self.plane.waiting():
            lease = self.plane.take_up(self._pick(data)(waiting))
            self._claimed(lease)
            if lease is not None and word:
                self._handle(fact_of(word, lease, self._kind(lease.arn)))

    @rule(data=st.data(), failed=st.booleans())
    @precondition(lambda self: self.plane.leases)
    def give_back(self, data: st.DataObject, failed: bool) -> None:
        lease = self.plane.leases[data.draw(st.integers(0, len(self.plane.leases) - 1))]
        self.plane.store.release(lease, failed=failed)

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
        self._look_again()

    def _look_again(self) -> None:
        """The reconciler decides by itself what it does: the store has checked its moves, the model follows them."""
        self._adopt()
        for arn, record in self.plane.store.everything().items():
            known = self.model.known[arn]
            status, update = _statuses(record)
            if (known.status, known.update) != (status, update):
                assert known.moving, f"{arn} stood in {known.status} and was moved to {record.status}"
            if update != known.update and update in rules.AT_REST:
                known.uses = known.wanted if update == "ACTIVE" else known.uses
                known.wanted = ()
            known.status, known.update = status, update

    @rule()
    @precondition(lambda self: len(self.plane.bag.messages) > 12)
    def calm(self) -> None:
        self._settle()

    # What always holds

    @invariant()
    def the_store_is_as_the_rules_say(self) -> None:
        self.count += 1
        records = self.plane.store.everything()
        assert records.keys() == self.model.known.keys()
        for arn, record in records.items():
            known = self.model.known[arn]
            assert (*_statuses(record), record.attempt) == (known.status, known.update, known.attempt), arn

    @rule(kind=st.sampled_from(OFFERED))
    def look(self, kind: str) -> None:
        """Lists and descriptions show what stands, and nothing else."""
        resource = RESOURCES[kind]
        listed = self.plane.call(f"List{resource.name}s", {})
        assert not isinstance(listed, Refused)
        [rows] = [value for value in listed.values() if isinstance(value, list)]
        assert {row[resource.arn_member]: row.get("status") for row in rows} == {
            one.arn: one.shown for one in self.model.of(kind)
        }
        for arn in self.model.lives:
            if f":{kind.replace('_', '-')}/" in arn:
                self._describe(kind, arn)

    def _describe(self, kind: str, arn: str) -> None:
        resource, known = RESOURCES[kind], self.model.known.get(arn)
        answer = self.plane.call(f"Describe{resource.name}", {resource.arn_member: arn})
        if known is None or known.kind != kind:
            assert answer == Refused("ResourceNotFoundException")
            return
        assert not isinstance(answer, Refused)
        shown = answer[resource.camel]
        assert shown.get("status") == known.shown
        latest = shown.get(f"latest{resource.name}Update")
        assert (latest["status"] if latest else None) == known.update

    # The end

    def _settle(self, end: str = "finished") -> None:
        """Whoever is alive does its work, and the reconciler comes round: then everything must come to rest."""
        self.plane.bag.down = False
        wanted = {arn for arn, one in self.model.known.items() if (one.status or "").startswith("DELETE")}
        for _ in range(20):
            while self.plane.bag.messages:
                self._handle(self.plane.bag.messages.pop(0))
                self._end_what_was_taken_up(end)
            for arn in self.plane.waiting():
                self._claimed(self.plane.take_up(arn))
                self._end_what_was_taken_up(end)
            if not (self.plane.bag.messages or self.plane.store.outbox() or self.plane.store.moving()):
                break
            self.plane.wait(16)
            self.plane.reconcile()
            self._look_again()
        stuck = {arn: one.moving for arn, one in self.model.known.items() if one.moving}
        assert not stuck
        assert not self.plane.store.outbox()
        assert not wanted & self.model.known.keys(), "asked to go, and still there"

    def _end_what_was_taken_up(self, end: str) -> None:
        for lease in reversed(self.plane.leases):
            held = self.plane.store.lease(lease.arn)
            known = self.model.known.get(lease.arn)
            if held and known and known.moving and held.attempt == lease.attempt == known.attempt:
                word = "stopped" if known.moving == "CREATE STOPPING" else end
                self.plane.report(fact_of(word, lease, known.kind))
                self._handle(self.plane.bag.messages.pop())
                self.plane.store.release(lease, failed=False)

    def _clear(self) -> None:
        """Whatever has become of them, all can be deleted, and nothing is left."""
        for kind in rules.CLEARING:
            for one in self.model.of(kind):
                self._delete(kind, one.arn)
            self._settle()
        assert not self.plane.store.everything()

    def teardown(self) -> None:
        try:
            self._settle()
            self.the_store_is_as_the_rules_say()
            self._clear()
        finally:
            steps.append(self.count)
            seen.update(self.plane.store.seen)
            self.plane.close()


def test_ten_thousand_steps_of_random_lives(capsys: pytest.CaptureFixture[str]) -> None:
    with structlog.testing.capture_logs():
        while sum(steps) < 10_000:
            run_state_machine_as_test(Lives, settings=SETTINGS)
    with capsys.disabled():
        print(f" {len(steps)} lives, {sum(steps):,} steps", end="")


def test_every_status_was_reached() -> None:
    """The test above would pass on lives that go nowhere."""
    possible = {(kind, status) for kind in OFFERED for move in rules.moves(kind) for status in move}
    # What nobody does yet can't but fail, what needs no worker can't fail, and all others will not all have failed.
    undone = {kind for kind in OFFERED if RESOURCES[kind].command is Decline}
    expected = {(kind, status) for kind, status in possible if kind not in undone and status not in rules.FAILED}
    missed = sorted(expected - seen, key=str)
    assert [one for one in missed if one[1] in {*rules.AT_REST, rules.GONE}] == []
    assert len(missed) < len(expected) / 10, missed  # what is on the way may be skipped
    assert {kind for kind, status in seen if status in rules.FAILED and has_a_worker(kind)} - undone


def test_every_type_takes_part() -> None:
    assert RESOURCES.keys() - CREATIONS.keys() - HIDDEN == set()
