"""What is done when a fact is heard, from whomever: it is written, and what follows from it is set going."""

from __future__ import annotations

from services.status import recommenders, transitions, tuning_wakeups
from shared.jobs.worker_process import WorkerProcess
from shared.state.messages import Fact


def apply_fact(process: WorkerProcess, fact: Fact) -> None:
    """A repeated, late or misplaced fact changes nothing."""
    transitions.write_transition(process.store, fact)
    recommenders.advance_after_fact(process, fact)
    tuning_wakeups.wake_tuner(process, fact)
