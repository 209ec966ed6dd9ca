"""Wakes the tuner of a solution version after each epoch and at the end of each of its trials.

A lost message does no harm: the reconciler sends the command again while the tuning has no worker.
"""

from __future__ import annotations

from shared.aws import arns
from shared.jobs.worker_process import WorkerProcess
from shared.resources.resource_type import is_terminal
from shared.state.messages import Fact, Progressed, TuneSolutionVersion


def wake_tuner(process: WorkerProcess, fact: Fact) -> None:
    """Send the tuner its command; to be called after a fact has been written. Only facts of trials wake it."""
    if arns.parse_noun(fact.arn) != "trial":
        return
    epoch_ended = isinstance(fact, Progressed) and fact.progress.get("gain") is not None
    trial = process.store.get(fact.arn)
    if trial is not None and (epoch_ended or is_terminal(trial)):
        process.queue.send(TuneSolutionVersion(arn=trial.parents[0]))
