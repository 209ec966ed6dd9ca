"""Wakes the tuner of a solution version when one of its trials has something to say.

A bell that is lost does no harm: the reconciler rings for work that moves and that nobody has.
"""

from __future__ import annotations

from shared.aws import arns
from shared.jobs.worker_process import WorkerProcess
from shared.resources.resource_type import is_terminal
from shared.state.messages import Fact, Progressed, TuneSolutionVersion


def wake_tuner(process: WorkerProcess, fact: Fact) -> None:
    """After a fact about a trial has been written."""
    if arns.parse_noun(fact.arn) != "trial":
        return
    epoch_ended = isinstance(fact, Progressed) and fact.progress.get("gain") is not None
    trial = process.store.get(fact.arn)
    if trial is not None and (epoch_ended or is_terminal(trial)):
        process.queue.send(TuneSolutionVersion(arn=trial.parents[0]))
