"""One handler per command of the ``training`` queue."""

from __future__ import annotations

from shared.process import current
from shared.queue import handles
from shared.state.messages import RunTrial, TrainSolutionVersion
from shared.work import work


@handles(TrainSolutionVersion)
def train_solution_version(command: TrainSolutionVersion) -> None:
    work(command, current(), "workers.training.job")


@handles(RunTrial)
def run_trial(command: RunTrial) -> None:
    work(command, current(), "workers.training.job")
