"""Run one piece of work: under a lease, in a job process, which the worker monitors until the job ends.

The worker stays small and responsive; the job process (``subprocess_pool.py``) has the heavy imports, and may crash.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import redis.exceptions
import structlog
from kombu.exceptions import OperationalError

from shared.jobs.celery_app import report_fact
from shared.jobs.subprocess_pool import JobProcessPool
from shared.jobs.worker_process import WorkerProcess
from shared.observability import metrics, tracing
from shared.state.lifecycle import CLAIMABLE, CREATE_STOPPING
from shared.state.messages import Command, Fact, Failed, Finished, Progressed, Started, Stopped
from shared.store import Lease

log = structlog.get_logger()

#: How often the lease is renewed (seconds): well within its length, and within the 5 s that a stop may take.
RENEW_EVERY = 1.0
#: How long a cancelled job may take to stop before its process is killed (seconds): time for a checkpoint.
STOP_SECONDS = 4.0
#: How long an action is retried while Redis can't be reached (seconds).
RETRY_SECONDS = 120.0

T = TypeVar("T")

_pool = JobProcessPool()


def run_leased(command: Command, process: WorkerProcess, module: str) -> None:
    """Claim the resource, run the command's job in a process of ``module``, and report the outcome."""
    lease = process.store.claim_lease(command.arn, process.name, CLAIMABLE, process.settings.lease_seconds)
    if lease is None:
        log.info("no work to claim", arn=command.arn, wire=command.wire)
        return
    with structlog.contextvars.bound_contextvars(arn=lease.arn, attempt=lease.attempt):
        retry_until_redis_answers(
            lambda: report_fact(process.store, process.queue, Started(arn=lease.arn, attempt=lease.attempt))
        )
        begun, span = time.monotonic(), tracing.start_job_span(command.wire)
        ended = JobMonitor(process, lease, module, type(command)).run()
        outcome = get_outcome_label(ended)
        metrics.count_job(command.get_queue_name(), outcome, time.monotonic() - begun)
        if span is not None:
            span.end(_describe_failure(ended), arn=lease.arn, attempt=lease.attempt, outcome=outcome)
        match ended:
            case Fact() as last:
                retry_until_redis_answers(lambda: report_fact(process.store, process.queue, last))
                if _keep_until_applied(process, lease):
                    # No attempt needs the workspace any more: a failure must free the disk that it filled.
                    process.artifacts.discard_workspace(lease.arn)
            case Requeued():
                retry_until_redis_answers(lambda: process.store.release_lease(lease, failed=False))
                retry_until_redis_answers(lambda: process.queue.send(command))
            case Postponed():
                # The reconciler sends the command again after ``ring_after_seconds``.
                retry_until_redis_answers(lambda: process.store.release_lease(lease, failed=False))
            case Crashed() | Hung() as crash:
                _retry_after_crash(command, process, lease, crash)


def run_locked(command: Command, process: WorkerProcess, module: str) -> None:
    """Run the command's job in a process of ``module``, for upkeep of a resource: no record has a status for it.

    A lock keeps other workers from the same work. The outcome is logged and counted alone: the sender of the command
    looks for itself whether there is work left, and sends it again.
    """
    lock = f"{command.wire}:{command.arn}"
    if not process.store.acquire_lock(lock, process.name, process.settings.lease_seconds):
        log.info("no work to claim", arn=command.arn, wire=command.wire)
        return
    lease = Lease(arn=command.arn, worker=process.name, attempt=0, seconds_left=process.settings.lease_seconds)
    with structlog.contextvars.bound_contextvars(arn=command.arn):
        begun, span = time.monotonic(), tracing.start_job_span(command.wire)
        ended = _LockedJobMonitor(process, lease, module, type(command), lock).run()
        outcome, failure = get_outcome_label(ended), _describe_failure(ended)
        metrics.count_job(command.get_queue_name(), outcome, time.monotonic() - begun)
        if span is not None:
            span.end(failure, arn=command.arn, attempt=0, outcome=outcome)
        if failure is not None:
            log.warning("upkeep failed", wire=command.wire, reason=failure)


def get_outcome_label(ended: _Ending) -> str:
    """Return the outcome's label in metrics and spans, which dashboards query."""
    match ended:
        case None:
            return "Lost"
        case Requeued():
            return "HandedBack"
        case Crashed():
            return "Died"
    return type(ended).__name__


def _describe_failure(ended: _Ending) -> str | None:
    match ended:
        case Failed():
            return ended.reason
        case Crashed() | Hung():
            return f"The process died {ended}."
        case None:
            return "The lease was lost."
    return None


def _retry_after_crash(command: Command, process: WorkerProcess, lease: Lease, crash: Crashed | Hung) -> None:
    """Send the command again, for a free worker to resume from the last checkpoint, or fail after too many crashes."""
    retry_until_redis_answers(lambda: process.store.release_lease(lease, failed=True))
    record = retry_until_redis_answers(lambda: process.store.get(lease.arn))
    if record is None or record.attempt != lease.attempt:
        return
    if record.failures < process.settings.max_attempts:
        retry_until_redis_answers(lambda: process.queue.send(command))
        return
    reason = f"The work was given up after its process died {record.failures} times, the last time {crash}."
    retry_until_redis_answers(
        lambda: report_fact(process.store, process.queue, Failed(arn=lease.arn, attempt=lease.attempt, reason=reason))
    )


def _keep_until_applied(process: WorkerProcess, lease: Lease) -> bool:
    """Keep the lease until the status service has written the report: until then no worker may start the work again.

    False when this worker has to end first, or another worker has claimed the work.
    """
    while retry_until_redis_answers(lambda: process.store.renew_lease(lease, process.settings.lease_seconds)):
        if process.ending.wait(0.1):
            return False  # the lease runs out by itself, after the report has been applied
    record = retry_until_redis_answers(lambda: process.store.get(lease.arn))
    return record is not None and record.attempt == lease.attempt and record.in_progress is None


class ActivityTracker:
    """Records when work in threads of this process last got on. Safe to share between threads."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def record_activity(self) -> None:
        self._last = time.monotonic()

    def get_silent_seconds(self) -> float:
        return time.monotonic() - self._last


@contextlib.contextmanager
def keep_lease(process: WorkerProcess, lease: Lease, activity: ActivityTracker) -> Iterator[None]:
    """Renew a lease in the background while the block records activity, then release it.

    A block that records none for ``deploy_silence_seconds`` goes on, but loses its lease: another process may claim it.
    """
    over = threading.Event()
    activity.record_activity()

    def renew() -> None:
        while not over.wait(RENEW_EVERY):
            silent = activity.get_silent_seconds()
            if silent >= process.settings.deploy_silence_seconds:
                log.error("work hung: lease not renewed", arn=lease.arn, silent_seconds=round(silent))
                metrics.count_job(process.name.partition("@")[0], "Hung", silent)
                return
            retry_until_redis_answers(lambda: process.store.renew_lease(lease, process.settings.lease_seconds))

    renewer = threading.Thread(target=renew, name="lease", daemon=True)
    renewer.start()
    try:
        yield
    finally:
        over.set()
        renewer.join()
        process.store.release_lease(lease, failed=False)


@contextlib.contextmanager
def end_process_if_hung(command: Command, seconds: float) -> Iterator[None]:
    """End this process when the block takes longer than so many seconds: nothing else ends a thread that hangs.

    For short work without a lease. The supervisor restarts the process, and the reconciler sends the command again.
    """

    def end() -> None:
        log.error("work hung: this process exits", arn=command.arn, wire=command.wire, seconds=seconds)
        metrics.count_job(command.get_queue_name(), "Hung", seconds)
        end_process(os.EX_TEMPFAIL)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


#: Exits at once, even while threads wait.
end_process = os._exit


def retry_until_redis_answers(action: Callable[[], T]) -> T:
    """Repeat an action, which must be safe to repeat, while Redis can't be reached; raise the last error at the end."""
    deadline = time.monotonic() + RETRY_SECONDS
    while True:
        try:
            return action()
        except (redis.exceptions.RedisError, OperationalError) as error:
            if time.monotonic() > deadline:
                raise
            log.warning("waiting for Redis", reason=str(error))
            time.sleep(0.2)


class Requeued:
    """The worker was told to end: another worker will do the work."""


class Postponed:
    """The job waits for other work, and its worker is free."""


@dataclass(frozen=True)
class Crashed:
    """The job process ended without an answer."""

    code: int

    def __str__(self) -> str:
        if self.code < 0:
            return f"with signal {signal.Signals(-self.code).name}"
        return f"with exit status {self.code}"


@dataclass(frozen=True)
class Hung:
    """The job process showed no sign of life for as long as the setting allows, and was killed."""

    seconds: float
    setting: str

    def __str__(self) -> str:
        return (
            f"killed because it had made no progress for {self.seconds:g} seconds "
            f"(FORETASTE_{self.setting.upper()} is the limit)"
        )


_Ending = Fact | Requeued | Postponed | Crashed | Hung | None
"""How a job has ended: with a fact to report, or why there is none; None when the lease is lost."""


class _SilenceTimer:
    """How long a job has shown no sign of life. Only the time in which the worker waited for an answer counts: a worker
    that was itself stopped for an hour could not receive one.
    """

    def __init__(self, limit: float, setting: str) -> None:
        self.limit = limit
        self.setting = setting
        self._waited = 0.0
        self._since = time.monotonic()

    def reset(self) -> None:
        self._waited, self._since = 0.0, time.monotonic()

    def add_waited_time(self) -> None:
        """Count the time since the last call, in which no answer came."""
        now = time.monotonic()
        self._waited += min(now - self._since, RENEW_EVERY)
        self._since = now

    def is_exceeded(self) -> bool:
        return self._waited >= self.limit


class JobMonitor:
    """Monitors one job of a job process, and renews its lease."""

    def __init__(self, process: WorkerProcess, lease: Lease, module: str, command: type[Command]) -> None:
        self._process = process
        self._lease = lease
        self._silence = _SilenceTimer(getattr(process.settings, command.silence), command.silence)
        self._job_process = _pool.acquire(module)
        self._job_process.submit(command.wire, lease.arn, lease.attempt)
        self._stopping_since: float | None = None
        self._requeueing = False

    def run(self) -> _Ending:
        """Wait for the end of the job; return the fact to report, or why there is none; None when the lease is lost."""
        renewed_at = 0.0
        while not self._silence.is_exceeded():
            if time.monotonic() - renewed_at >= RENEW_EVERY:
                renewed_at = time.monotonic()
                if not self._renew_lease():
                    log.warning("lease lost")
                    self._job_process.wait_or_kill()
                    return None
            try:
                answer = self._job_process.receive(0.1)
            except queue.Empty:
                self._silence.add_waited_time()
                continue
            self._silence.reset()
            if answer is None:
                return self._end_job(None)
            if "alive" in answer:
                continue
            if "postponed" in answer:
                return self._end_postponed()
            fact = self._parse_answer(answer)
            if not isinstance(fact, Progressed):
                return self._end_job(fact)
            self._send_progress(fact)
        hung = Hung(self._silence.limit, self._silence.setting)
        log.error("job hung: its process is killed", silent_seconds=hung.seconds, limit=hung.setting)
        self._job_process.wait_or_kill()
        return hung if self._stopping_since is None else self._get_stop_outcome()

    def _send_progress(self, fact: Progressed) -> None:
        try:
            self._process.queue.send(fact)
        except OperationalError as error:
            log.warning("progress not sent", reason=str(error))

    def _renew_hold(self) -> str | None:
        """Renew the worker's hold on the work; return the record's status in progress, None when the hold is lost."""
        return self._process.store.renew_lease(self._lease, self._process.settings.lease_seconds)

    def _renew_lease(self) -> bool:
        try:
            status = self._renew_hold()
        except redis.exceptions.RedisError as error:
            # The job goes on: once Redis is back the lease is still held, or is lost, and then the process is killed.
            log.warning("lease not renewed", reason=str(error))
            return True
        if status is None:
            return False
        if self._process.ending.is_set():
            self._requeueing = True
        if status == CREATE_STOPPING or self._requeueing:
            self._request_stop()
        return True

    def _request_stop(self) -> None:
        if self._stopping_since is None:
            self._stopping_since = time.monotonic()
            self._job_process.cancel()
        elif time.monotonic() - self._stopping_since > STOP_SECONDS:
            self._job_process.kill()

    def _end_job(self, last: Fact | None) -> Fact | Requeued | Crashed:
        """Release or end the job process and return the outcome. ``last`` is its last answer; None: it has ended."""
        if isinstance(last, Finished | Stopped) and not self._process.ending.is_set():
            _pool.release(self._job_process, self._process.settings.child_idle_seconds)
        else:
            # A failed job may have left its process in any state.
            code = self._job_process.wait_or_kill(STOP_SECONDS if last is None else 0.0)
        if isinstance(last, Finished | Failed):
            return last
        if self._stopping_since is not None:
            return self._get_stop_outcome()
        if last is not None:
            return last
        log.warning("job process crashed", code=code)
        return Crashed(code)

    def _end_postponed(self) -> Postponed:
        if self._process.ending.is_set():
            self._job_process.wait_or_kill()
        else:
            _pool.release(self._job_process, self._process.settings.child_idle_seconds)
        return Postponed()

    def _get_stop_outcome(self) -> Fact | Requeued:
        return Requeued() if self._requeueing else Stopped(arn=self._lease.arn, attempt=self._lease.attempt)

    def _parse_answer(self, answer: Mapping[str, Any]) -> Fact:
        named: dict[str, Any] = {"arn": self._lease.arn, "attempt": self._lease.attempt}
        match answer:
            case {"progress": progress}:
                return Progressed(**named, progress=progress)
            case {"finished": outcome}:
                return Finished(**named, outcome=outcome)
            case {"failed": reason}:
                return Failed(**named, reason=reason)
        return Stopped(**named)


class _LockedJobMonitor(JobMonitor):
    """Monitors a job that a lock protects, instead of a lease."""

    def __init__(self, process: WorkerProcess, lease: Lease, module: str, command: type[Command], lock: str) -> None:
        super().__init__(process, lease, module, command)
        self._lock = lock

    def _renew_hold(self) -> str | None:
        held = self._process.store.acquire_lock(self._lock, self._process.name, self._process.settings.lease_seconds)
        return "" if held else None
