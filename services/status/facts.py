"""Apply a fact: write the status that follows, and start the next steps of the resource."""

from __future__ import annotations

from services.status import recommenders, transitions, tuning_wakeups
from shared.jobs.worker_process import WorkerProcess
from shared.state.messages import Fact


def apply_fact(process: WorkerProcess, fact: Fact) -> None:
    """Apply a fact; a repeated, late or misplaced one changes nothing."""
    transitions.write_transition(process.store, fact)
    recommenders.advance_after_fact(process, fact)
    tuning_wakeups.wake_tuner(process, fact)
