"""One handler per command of the ``training`` queue."""

from __future__ import annotations

from shared.jobs.celery_app import register_handler
from shared.jobs.runner import run_leased
from shared.jobs.worker_process import get_current_process
from shared.state.messages import RunTrial, TrainSolutionVersion


@register_handler(TrainSolutionVersion)
def train_solution_version(command: TrainSolutionVersion) -> None:
    run_leased(command, get_current_process(), "workers.training.job")


@register_handler(RunTrial)
def run_trial(command: RunTrial) -> None:
    run_leased(command, get_current_process(), "workers.training.job")
