"""One handler per command of the ``inference`` queue."""

from __future__ import annotations

from shared.aws.arns import parse_noun
from shared.jobs.celery_app import register_handler
from shared.jobs.helper_runner import run_helper
from shared.jobs.runner import run_leased
from shared.jobs.worker_process import get_current_process
from shared.state.messages import HelpBatchJob, RunBatchInference, RunBatchSegment

#: The type of a job -> the module of its job processes.
MODULES = {"batch_inference_job": "workers.inference.batch_inference_job"}


@register_handler(RunBatchInference)
def run_batch_inference(command: RunBatchInference) -> None:
    run_leased(command, get_current_process(), MODULES["batch_inference_job"])


@register_handler(RunBatchSegment)
def run_batch_segment(command: RunBatchSegment) -> None:
    run_leased(command, get_current_process(), "workers.inference.batch_segment_job")


@register_handler(HelpBatchJob)
def help_batch_job(command: HelpBatchJob) -> None:
    module = MODULES.get(parse_noun(command.arn) or "")
    if module is not None:
        run_helper(command, get_current_process(), module)
