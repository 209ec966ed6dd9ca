"""What is done when a fact is heard, from whomever: it is written, and what follows from it is set going."""

from __future__ import annotations

from services.status import recommenders, transitions, tuning_wakeups
from shared.jobs.worker_process import WorkerProcess
from shared.state.messages import Fact


def hear(process: WorkerProcess, fact: Fact) -> None:
    """A repeated, late or misplaced fact changes nothing."""
    transitions.apply(process.store, fact)
    recommenders.follow(process, fact)
    tuning_wakeups.follow(process, fact)
