"""One handler per command of the ``tuning`` queue."""

from __future__ import annotations

from shared.jobs.celery_app import handles
from shared.jobs.runner import ending_if_hung, insist
from shared.jobs.worker_process import current
from shared.state.messages import TuneSolutionVersion
from workers.tuning import tuner


@handles(TuneSolutionVersion)
def tune_solution_version(command: TuneSolutionVersion) -> None:
    # Every step is safe to repeat: it reads what stands and writes with a comparison.
    with ending_if_hung(command, current().settings.tuning_silence_seconds):
        insist(lambda: tuner.advance(current(), command.arn))
