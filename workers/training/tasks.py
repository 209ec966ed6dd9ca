"""One handler per command of the ``training`` queue."""

from __future__ import annotations

from shared.jobs.celery_app import handles
from shared.jobs.runner import work
from shared.jobs.worker_process import current
from shared.state.messages import RunTrial, TrainSolutionVersion


@handles(TrainSolutionVersion)
def train_solution_version(command: TrainSolutionVersion) -> None:
    work(command, current(), "workers.training.job")


@handles(RunTrial)
def run_trial(command: RunTrial) -> None:
    work(command, current(), "workers.training.job")
