"""An account whose resources live: what a client knows of them by the rules, beside what the control plane does.

Every step is made on both, and they must agree.
"""

from __future__ import annotations

from typing import Any

from shared.resources import RESOURCES
from shared.state.messages import (
    AdvanceRecommender,
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
from shared.store import Lease, Record
from tests.unit.state_machine import rules
from tests.unit.state_machine.control_plane import WORKED_ON, ControlPlane, Refused
from tests.unit.state_machine.requests import Wish
from tests.unit.state_machine.rules import Known, Model

HIDDEN = {kind for kind, resource in RESOURCES.items() if resource.hidden}
#: What the last report of good work says.
OUTCOMES: dict[str, dict[str, Any]] = {
    "solution_version": {"metrics": {"coverage": 0.5}, "baseline": {}, "seconds": 7.2, "epochs": 3},
}
#: Kinds of which the checks know more than the rules here: these may be refused for their content.
PARTICULAR = {"filter", "metric_attribution", "batch_inference_job", "batch_segment_job", "recommender"}


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


def statuses(record: Record) -> tuple[str | None, str | None]:
    """Its own, and that of its update."""
    return record.status, record.update.status if record.update else None


class Account:
    def __init__(self) -> None:
        self.plane = ControlPlane()
        self.model = Model()
        #: In which life of its ARN an attempt was handed out.
        self.lives: dict[tuple[str, int], int] = {}

    # What clients ask

    def create(self, wish: Wish, *, again: bool = False) -> None:
        name, member = f"Create{RESOURCES[wish.kind].name}", RESOURCES[wish.kind].arn_member
        codes = self.model.refuses_create(wish.kind, wish.name, wish.uses) | {"LimitExceededException"}
        if wish.kind in PARTICULAR:
            codes.add("InvalidInputException")
        answer = self.plane.call(name, wish.request)
        if isinstance(answer, Refused):
            assert answer.code in codes, f"{name}: {answer.code}, where the rules have {codes}"
            return
        codes -= {"LimitExceededException", "InvalidInputException"}
        assert not codes, f"{name} went through and had to be refused: {codes}"
        arn = answer[member]
        self.model.born(arn, wish.kind, wish.name or arn, wish.uses, self._attempt(arn))
        if again:
            assert self.plane.call(name, wish.request, again=True) == answer

    def update(self, kind: str, arn: str, wish: Wish) -> None:
        # What an update says may be what stands already.
        codes = self.model.refuses_update(arn, wish.uses)
        if known := self._went_through(
            f"Update{RESOURCES[kind].name}", arn, wish.request, codes, "InvalidInputException"
        ):
            body = self.plane.store.everything()[arn].body
            if kind == "dataset" and not known.moving and body["schemaArn"] == wish.request["schemaArn"]:
                return  # it has that schema: nothing begins
            known.update, known.wanted = rules.UPDATES[kind], wish.uses
            self._anew(known)

    def delete(self, kind: str, arn: str) -> None:
        request = {RESOURCES[kind].arn_member: arn}
        if known := self._went_through(f"Delete{RESOURCES[kind].name}", arn, request, self.model.refuses_delete(arn)):
            if rules.FIRST.get(kind, "") is None:
                self.model.died(arn)
                return
            known.status = "DELETE PENDING"
            self._anew(known)

    def stop_creation(self, arn: str) -> None:
        codes = self.model.refuses_stop(arn, of="solution_version")
        if known := self._went_through("StopSolutionVersionCreation", arn, {"solutionVersionArn": arn}, codes):
            known.status = "CREATE STOPPED" if known.status == "CREATE PENDING" else "CREATE STOPPING"

    def switch(self, arn: str, to: str) -> None:
        """``to``: "Stop" or "Start"."""
        codes = self.model.refuses_start(arn)
        if to == "Stop":
            codes = self.model.refuses_stop(arn, of="recommender")
        if known := self._went_through(f"{to}Recommender", arn, {"recommenderArn": arn}, codes):
            known.status = f"{to.upper()} PENDING"
            self._anew(known)

    def _went_through(self, operation: str, arn: str, request: Any, codes: set[str], *more: str) -> Known | None:
        """The resource, when the request was answered, as it must be if and only if there are no ``codes``."""
        answer = self.plane.call(operation, request)
        if isinstance(answer, Refused):
            assert answer.code in {*codes, *more}, f"{operation} {arn}: {answer.code}, where the rules have {codes}"
            return None
        assert not codes, f"{operation} {arn} went through and had to be refused: {codes}"
        return self.model.known[arn]

    def _attempt(self, arn: str) -> int:
        return self.plane.store.everything()[arn].attempt

    def _anew(self, known: Known) -> None:
        """A request begins a new attempt: what earlier workers still report is of the past."""
        assert self._attempt(known.arn) > known.attempt
        known.attempt = self._attempt(known.arn)

    # What happens meanwhile

    def handle(self, message: Message) -> None:
        known = self.model.known.get(message.arn)
        moving = (known.moving if known else None) or ""
        lease = self.plane.handle(message)
        match message:
            case Fact():
                if known and message.attempt == known.attempt and self._life(message) == known.life:
                    known.hear(message.wire.partition(".")[2])
                self._adopt()
                if known and known.kind in HIDDEN:  # its recommender may go on now
                    self.look_again()
            case AdvanceRecommender():
                self.look_again()
            case Provision() if known and moving in WORKED_ON:
                known.hear("finished")
            case Remove() if moving.startswith("DELETE"):
                self.model.died(message.arn)
        self._claimed(lease)

    def deliver_newest(self, count: int) -> None:
        """As when nothing is in the way: the command arrives, the worker's first report too."""
        for _ in range(min(count, len(self.plane.bag.messages))):
            self.handle(self.plane.bag.messages.pop())

    def take_up(self, arn: str) -> Lease | None:
        lease = self.plane.take_up(arn)
        self._claimed(lease)
        return lease

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

    def at_work(self, lease: Lease) -> bool:
        known = self.model.known.get(lease.arn)
        return known is not None and known.moving is not None and known.attempt == lease.attempt

    def kind(self, arn: str) -> str:
        known = self.model.known.get(arn)
        return known.kind if known else ""

    def _adopt(self) -> None:
        """What no client asked for or sees: the models of recommenders come and go with what happens to these."""
        records = self.plane.store.everything()
        for arn in [arn for arn, one in self.model.known.items() if one.kind in HIDDEN and arn not in records]:
            self.model.died(arn)
        for record in [one for one in records.values() if one.kind in HIDDEN and one.arn not in self.model.known]:
            self.model.born(record.arn, record.kind, "", record.parents, record.attempt).status = record.status
            owner = self.model.known[record.parents[0]]
            owner.status, owner.update = statuses(records[owner.arn])

    def look_again(self) -> None:
        """The reconciler decides by itself what it does: the store has checked its moves, the model follows them."""
        self._adopt()
        for arn, record in self.plane.store.everything().items():
            known = self.model.known[arn]
            status, update = statuses(record)
            if (known.status, known.update) != (status, update):
                assert known.moving, f"{arn} stood in {known.status} and was moved to {record.status}"
            if update != known.update and update in rules.AT_REST:
                known.uses = known.wanted if update == "ACTIVE" else known.uses
                known.wanted = ()
            known.status, known.update = status, update

    # What always holds

    def check(self) -> None:
        """The store is as the rules say."""
        records = self.plane.store.everything()
        assert records.keys() == self.model.known.keys()
        for arn, record in records.items():
            known = self.model.known[arn]
            assert (*statuses(record), record.attempt) == (known.status, known.update, known.attempt), arn

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

    def settle(self, end: str = "finished") -> None:
        """Whoever is alive does its work, and the reconciler comes round: then everything must come to rest."""
        self.plane.bag.down = False
        wanted = {arn for arn, one in self.model.known.items() if (one.status or "").startswith("DELETE")}
        for _ in range(20):
            while self.plane.bag.messages:
                self.handle(self.plane.bag.messages.pop(0))
                self._end_what_was_taken_up(end)
            for arn in self.plane.waiting():
                self.take_up(arn)
                self._end_what_was_taken_up(end)
            if not (self.plane.bag.messages or self.plane.store.outbox() or self.plane.store.list_in_progress()):
                break
            self.plane.wait(16)
            self.plane.reconcile()
            self.look_again()
        stuck = {arn: one.moving for arn, one in self.model.known.items() if one.moving}
        assert not stuck
        assert not self.plane.store.outbox()
        assert not wanted & self.model.known.keys(), "asked to go, and still there"

    def _end_what_was_taken_up(self, end: str) -> None:
        for lease in reversed(self.plane.leases):
            held = self.plane.store.get_lease(lease.arn)
            known = self.model.known.get(lease.arn)
            if held and known and known.moving and held.attempt == lease.attempt == known.attempt:
                word = "stopped" if known.moving == "CREATE STOPPING" else end
                self.plane.report(fact_of(word, lease, known.kind))
                self.handle(self.plane.bag.messages.pop())
                self.plane.store.release_lease(lease, failed=False)

    def clear(self) -> None:
        """Whatever has become of them, all can be deleted, and nothing is left."""
        for kind in rules.CLEARING:
            for one in self.model.of(kind):
                self.delete(kind, one.arn)
            self.settle()
        assert not self.plane.store.everything()
