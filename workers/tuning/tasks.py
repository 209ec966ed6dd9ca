"""One handler per command of the ``tuning`` queue."""

from __future__ import annotations

from shared.jobs.celery_app import register_handler
from shared.jobs.runner import end_process_if_hung, retry_until_redis_answers
from shared.jobs.worker_process import get_current_process
from shared.state.messages import TuneSolutionVersion
from workers.tuning import tuner


@register_handler(TuneSolutionVersion)
def tune_solution_version(command: TuneSolutionVersion) -> None:
    # Every step is safe to repeat: it reads the records and writes with a comparison.
    with end_process_if_hung(command, get_current_process().settings.tuning_silence_seconds):
        retry_until_redis_answers(lambda: tuner.advance_tuning(get_current_process(), command.arn))
