"""The Celery process of the status service: it handles facts and its own commands, and runs the periodic tasks."""

from __future__ import annotations

from services.status import (
    attribution,
    compaction,
    deletions,
    facts,
    memory_guard,
    recommenders,
    reconcile,
    schedule,
    sync,
    transitions,
)
from shared.jobs.celery_app import register_handler
from shared.jobs.worker_process import create_worker_app, get_current_process
from shared.state import messages


def _apply_fact(fact: messages.Fact) -> None:
    facts.apply_fact(get_current_process(), fact)


for _fact in messages.FACTS:
    register_handler(_fact)(_apply_fact)


@register_handler(messages.Provision)
def provision_resource(command: messages.Provision) -> None:
    transitions.provision_resource(get_current_process().store, command)


@register_handler(messages.AdvanceRecommender)
def advance_recommender(command: messages.AdvanceRecommender) -> None:
    recommenders.advance_recommender(get_current_process(), command.arn)


@register_handler(messages.Remove)
def remove_resource(command: messages.Remove) -> None:
    record = get_current_process().store.get(command.arn)
    if record is None or deletions.is_waiting(get_current_process(), record):
        return
    transitions.remove_resource(get_current_process().store, get_current_process().artifacts, command)


def _start_periodic_tasks() -> None:
    reconcile.start_reconciler()
    deletions.start_deletions()
    schedule.start_scheduler()
    sync.start_sync()
    compaction.start_compactions()
    attribution.start_summing()
    memory_guard.start_memory_guard(get_current_process())


app = create_worker_app("status", long_work=False, on_ready=_start_periodic_tasks)
