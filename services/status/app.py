"""The Celery process of the status service: facts and its own commands in, its rounds beside them."""

from __future__ import annotations

from services.status import deletions, facts, memory_guard, recommenders, reconcile, schedule, sync, transitions
from shared.jobs.celery_app import handles
from shared.jobs.worker_process import celery_process, current
from shared.state import messages


def _hear(fact: messages.Fact) -> None:
    facts.hear(current(), fact)


for _fact in messages.FACTS:
    handles(_fact)(_hear)


@handles(messages.Provision)
def provision(command: messages.Provision) -> None:
    transitions.provision(current().store, command)


@handles(messages.AdvanceRecommender)
def advance_recommender(command: messages.AdvanceRecommender) -> None:
    recommenders.advance(current(), command.arn)


@handles(messages.Decline)
def decline(command: messages.Decline) -> None:
    transitions.decline(current().store, command)


@handles(messages.Remove)
def remove(command: messages.Remove) -> None:
    record = current().store.get(command.arn)
    if record is None or deletions.waits(current(), record):
        return
    transitions.remove(current().store, current().artifacts, command)


def _walk() -> None:
    for rounds in (reconcile, deletions, schedule, sync):
        rounds.start()
    memory_guard.start(current())


app = celery_process("status", long_work=False, started=_walk)
