"""Help with the work that another worker has claimed: a job process that is monitored, under no lease of its own.

Helpers divide the work among themselves, by locks for example. Their end is not reported: the worker with the lease
finds what they have done, and does the rest.
"""

from __future__ import annotations

import time

import redis.exceptions
import structlog

from shared.jobs.runner import JobMonitor, get_outcome_label
from shared.jobs.worker_process import WorkerProcess
from shared.observability import metrics
from shared.state.messages import Command, Finished, Progressed
from shared.store import Lease

log = structlog.get_logger()


def run_helper(command: Command, process: WorkerProcess, module: str) -> None:
    """Run the command's job in a process of ``module`` while the work on its resource is in progress."""
    record = process.store.get(command.arn)
    if record is None or record.in_progress is None:
        log.info("no work to help with", arn=command.arn, wire=command.wire)
        return
    work = Lease(arn=record.arn, worker=process.name, attempt=record.attempt, seconds_left=0.0)
    with structlog.contextvars.bound_contextvars(arn=record.arn, attempt=record.attempt):
        begun = time.monotonic()
        ended = HelperMonitor(process, work, module, type(command)).run()
        metrics.count_job(command.get_queue_name(), get_outcome_label(ended), time.monotonic() - begun)
        if ended is None:
            _discard_leftovers(process, work.arn)
        if not isinstance(ended, Finished):
            log.warning("help ended early", outcome=type(ended).__name__, reason=getattr(ended, "reason", ""))


def _discard_leftovers(process: WorkerProcess, arn: str) -> None:
    """Discard what a helper has written after the end of the work, when its workspace was discarded already."""
    record = process.store.get(arn)
    # The workspace may belong to new work of this ARN, unless the record shows that the work has ended.
    if record is not None and record.in_progress is None:
        process.artifacts.discard_workspace(arn)


class HelperMonitor(JobMonitor):
    """Monitors the job of a helper, which ends with the work that it helps with."""

    def _renew_lease(self) -> bool:
        try:
            record = self._process.store.get(self._lease.arn)
        except redis.exceptions.RedisError as error:
            log.warning("helped work not looked up", reason=str(error))
            return True
        if record is None or record.in_progress is None:
            return False
        if self._process.ending.is_set():
            self._requeueing = True
            self._request_stop()
        return True

    def _send_progress(self, fact: Progressed) -> None:
        """Report nothing: the worker with the lease counts the work of all."""
