"""The control plane without processes: the API's operations, the status service and its reconciler on one store in
memory, with a queue whose messages the test hands out as it likes.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kombu.exceptions import OperationalError

from services.api import app
from services.api.context import ApiContext
from services.runtime.deployer import get_awaited_version
from services.status import recommenders, transitions
from services.status import reconcile as reconciler
from shared.aws import request_schemas, serialization, service_model
from shared.aws.errors import PersonalizeError
from shared.http.app import Answer, Call
from shared.jobs.celery_app import build_outbox_entry
from shared.jobs.worker_process import WorkerProcess
from shared.resources import RESOURCES, ResourceReader
from shared.settings import Settings
from shared.state.messages import AdvanceRecommender, Command, Fact, Message, Provision, Remove, Started
from shared.storage.artifacts import Artifacts
from shared.store import Lease, OutboxEntry, Record
from shared.store.memory import MemoryStore
from tests.strict import STRICT
from tests.unit.state_machine import rules

#: What a worker may take up, in AWS's words.
WORKED_ON = frozenset({*rules.WORK, *rules.PENDING_OF} - {"DELETE PENDING", "DELETE IN_PROGRESS"})


class WatchedStore(MemoryStore):
    """Refuses every move that the rules do not know."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.reached: set[tuple[str, str | None]] = set()
        self.lost: list[str] = []

    def _write_record(self, record: Record, guards: Any, notes: Any) -> None:
        before = self._records.get(record.arn)
        kind, status = record.kind, record.status
        if before is None:
            assert status == rules.FIRST.get(kind, "CREATE PENDING"), (kind, status)
        else:
            legal = before.status == status or (before.status, status) in rules.moves(kind)
            assert legal, f"{kind}: {before.status} > {status}"
            of, to = (one.update.status if one.update else None for one in (before, record))
            assert of == to or (of, to) in rules.update_moves(kind), f"update of {kind}: {of} > {to}"
        # A recommender that could not be stopped or started is as it was, and may say why.
        if kind != "recommender" or status not in ("ACTIVE", "INACTIVE"):
            assert (record.reason is not None) == (status in rules.FAILED), f"{kind} in {status} with {record.reason}"
        self.reached.add((kind, status))
        super()._write_record(record, guards, notes)

    def remove(self, record: Record, *, invocation: str | None = None) -> None:
        before = self._records.get(record.arn)
        super().remove(record, invocation=invocation)
        assert before is not None
        assert (before.status, rules.GONE) in rules.moves(record.kind), f"{record.kind} went from {before.status}"
        self.reached.add((record.kind, rules.GONE))
        self.lost.append(record.arn)

    def everything(self) -> Mapping[str, Record]:
        return self._records

    def outbox(self) -> list[OutboxEntry]:
        return [entry for _, entry in self._outbox.values()]


class Bag:
    """Stands where the queue stands: messages lie in it until the test takes one out."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.down = False

    def send(self, message: Message) -> None:
        if self.down:
            raise OperationalError("the broker is away")
        self.messages.append(message)

    def count_waiting(self, queue: str) -> int:
        return sum(message.get_queue_name() == queue for message in self.messages)


@dataclass(frozen=True)
class Refused:
    code: str


class ControlPlane:
    """One account."""

    def __init__(self) -> None:
        self._later = 0.0
        self.store = WatchedStore(lambda: time.time() + self._later)
        self.bag = Bag()
        self._scratch = tempfile.TemporaryDirectory()
        queue: Any = self.bag
        self._process = WorkerProcess(
            name="status@test:1",
            settings=Settings(resend_after_seconds=0, ring_after_seconds=0),
            store=self.store,
            queue=queue,
            artifacts=Artifacts(Path(self._scratch.name)),
            ending=threading.Event(),
        )
        self._handlers = app.build_handlers(
            ApiContext(self.store, queue, ResourceReader(self.store, self._process.settings))
        )
        self._since: dict[str, float] = {}
        self._calls = 0
        self.leases: list[Lease] = []

    def close(self) -> None:
        self._scratch.cleanup()

    def wait(self, seconds: float) -> None:
        self._later += seconds

    def call(self, operation: str, request: Mapping[str, Any], *, again: bool = False) -> Mapping[str, Any] | Refused:
        """What the API answers; ``again``: as an SDK that lost the answer to its last call asks."""
        self._calls += not again
        known = service_model.load_operations("personalize")[operation]
        try:
            members = request_schemas.load_request(known, json.loads(json.dumps(request)))
            answer = self._handlers[operation](
                Call(operation=operation, request=members, request_id="r", invocation=f"i{self._calls}")
            )
        except PersonalizeError as error:
            return Refused(error.code)
        shaped: Mapping[str, Any] = json.loads(
            serialization.serialize_answer(known, answer.members if isinstance(answer, Answer) else answer or {})
            or b"{}"
        )
        return shaped

    def offers(self, operation: str) -> bool:
        return operation in self._handlers

    def handle(self, message: Message) -> Lease | None:
        """What the process does that a message is for; the lease when a worker has taken work up."""
        try:
            return self._handle(message)
        except OperationalError:
            return None  # Celery logs it and goes on to the next message

    def _handle(self, message: Message) -> Lease | None:
        match message:
            case Fact():
                transitions.write_transition(self.store, message)
                recommenders.advance_after_fact(self._process, message)
            case AdvanceRecommender():
                recommenders.advance_recommender(self._process, message.arn)
            case Provision():
                transitions.provision_resource(self.store, message)
            case Remove():
                transitions.remove_resource(self.store, self._process.artifacts, message)
            case Command() if message.get_queue_name() != "status":
                return self.take_up(message.arn)
            case _:
                raise AssertionError(f"the test does not know who handles {message.wire}")
        return None

    def waiting(self) -> list[str]:
        """What a worker or a runtime could take up."""
        return [
            record.arn
            for record in self.store.everything().values()
            if record.in_progress in WORKED_ON
            and (get_awaited_version(record, self.store) or (has_a_worker(record.kind) and record.kind != "campaign"))
        ]

    def take_up(self, arn: str) -> Lease | None:
        lease = self.store.claim_lease(arn, f"worker-{len(self.leases)}", WORKED_ON, 15)
        if lease is not None:
            self.leases.append(lease)
            self.report(Started(arn=arn, attempt=lease.attempt))
        return lease

    def report(self, fact: Fact) -> None:
        """As a worker reports: kept in the outbox first, then sent, if that can be done."""
        self.store.add_to_outbox(build_outbox_entry(fact))
        if not self.bag.down:
            self.bag.send(fact)

    def reconcile(self, *, no_runtime: bool = False, restarted: bool = False) -> None:
        process = self._process
        if no_runtime:
            process = replace(process, settings=replace(process.settings, deploy_deadline_seconds=-1.0))
        if restarted:
            self._since.clear()
        reconciler.reconcile(process, self._since, STRICT)


def has_a_worker(kind: str) -> bool:
    """Its work is done under a lease, by a worker or by a runtime that watches for it."""
    command = RESOURCES[kind].command
    return RESOURCES[kind].lifecycle is not None and (command is None or command.get_queue_name() != "status")
