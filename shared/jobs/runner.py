"""How a worker does one piece of work: under a lease, in a child process of its own, watched until it ends.

The worker process stays small and responsive; the child (``child.py``) imports what is heavy and may die of it.
"""

from __future__ import annotations

import contextlib
import os
import queue as threads
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

#: How often the lease is looked after (seconds): well within its length, and within the 5 s that a stop may take.
RENEW_EVERY = 1.0
#: A child that was asked to end is killed after so long (seconds): a checkpoint's time.
STOP_SECONDS = 4.0
#: How long a report is tried while Redis can't be reached (seconds).
RETRY_SECONDS = 120.0

T = TypeVar("T")

_pool = JobProcessPool()


def run_leased(command: Command, process: WorkerProcess, module: str) -> None:
    """Claim the resource, have a child that runs ``module`` do the job named as the command, and report how it went."""
    lease = process.store.claim_lease(command.arn, process.name, CLAIMABLE, process.settings.lease_seconds)
    if lease is None:
        log.info("nothing to take up", arn=command.arn, wire=command.wire)
        return
    with structlog.contextvars.bound_contextvars(arn=lease.arn, attempt=lease.attempt):
        retry_until_redis_answers(
            lambda: report_fact(process.store, process.queue, Started(arn=lease.arn, attempt=lease.attempt))
        )
        begun, span = time.monotonic(), tracing.start_job_span(command.wire)
        ended = JobMonitor(process, lease, module, type(command)).run()
        outcome = "Lost" if ended is None else type(ended).__name__
        metrics.count_job(command.get_queue_name(), outcome, time.monotonic() - begun)
        if span is not None:
            span.end(_describe_failure(ended), arn=lease.arn, attempt=lease.attempt, outcome=outcome)
        match ended:
            case Fact() as last:
                retry_until_redis_answers(lambda: report_fact(process.store, process.queue, last))
                if _keep_until_applied(process, lease):
                    # However it ended, nobody goes on from here: a failure must not keep the disk it filled.
                    process.artifacts.discard_workspace(lease.arn)
            case Requeued():
                retry_until_redis_answers(lambda: process.store.release_lease(lease, failed=False))
                retry_until_redis_answers(lambda: process.queue.send(command))
            case Crashed() | Hung() as death:
                _retry_after_crash(command, process, lease, death)


def _describe_failure(ended: Fact | Requeued | Crashed | Hung | None) -> str | None:
    match ended:
        case Failed():
            return ended.reason
        case Crashed() | Hung():
            return f"The process died {ended}."
        case None:
            return "The lease was lost."
    return None


def _retry_after_crash(command: Command, process: WorkerProcess, lease: Lease, death: Crashed | Hung) -> None:
    """Whoever is free takes the work up again, from its last checkpoint, unless it has died too often."""
    retry_until_redis_answers(lambda: process.store.release_lease(lease, failed=True))
    record = retry_until_redis_answers(lambda: process.store.get(lease.arn))
    if record is None or record.attempt != lease.attempt:
        return
    if record.failures < process.settings.max_attempts:
        retry_until_redis_answers(lambda: process.queue.send(command))
        return
    reason = f"The work was given up after its process died {record.failures} times, the last time {death}."
    retry_until_redis_answers(
        lambda: report_fact(process.store, process.queue, Failed(arn=lease.arn, attempt=lease.attempt, reason=reason))
    )


def _keep_until_applied(process: WorkerProcess, lease: Lease) -> bool:
    """Hold the lease until the status service has written what was reported: nobody must start it anew meanwhile.

    False when this worker has to end first, or the work went to another.
    """
    while retry_until_redis_answers(lambda: process.store.renew_lease(lease, process.settings.lease_seconds)):
        if process.ending.wait(0.1):
            return False  # the lease runs out by itself, after the report has been applied
    record = retry_until_redis_answers(lambda: process.store.get(lease.arn))
    return record is not None and record.attempt == lease.attempt and record.in_progress is None


class ActivityTracker:
    """Of work that gets on in threads of this process: any of them gives one, now and then."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def record_activity(self) -> None:
        self._last = time.monotonic()

    def get_silent_seconds(self) -> float:
        return time.monotonic() - self._last


@contextlib.contextmanager
def keep_lease(process: WorkerProcess, lease: Lease, signs: ActivityTracker) -> Iterator[None]:
    """Renew a lease in the background while the block gives signs of getting on, then give it back.

    One that gives none for the setting's time goes on, but has lost its lease: somebody else may do the work.
    """
    over = threading.Event()
    signs.record_activity()

    def renew() -> None:
        while not over.wait(RENEW_EVERY):
            silent = signs.get_silent_seconds()
            if silent >= process.settings.deploy_silence_seconds:
                log.error("work hung: its lease is not renewed", arn=lease.arn, silent_seconds=round(silent))
                metrics.count_job(process.name.partition("@")[0], "Hung", silent)
                return
            retry_until_redis_answers(lambda: process.store.renew_lease(lease, process.settings.lease_seconds))

    renewing = threading.Thread(target=renew, name="lease", daemon=True)
    renewing.start()
    try:
        yield
    finally:
        over.set()
        renewing.join()
        process.store.release_lease(lease, failed=False)


@contextlib.contextmanager
def end_process_if_hung(command: Command, seconds: float) -> Iterator[None]:
    """End this process when the block takes longer than so many seconds: nothing else ends a thread that hangs.

    For short work without a lease. Whoever runs the process starts it anew, and the reconciler rings for the work.
    """

    def end() -> None:
        log.error("work hung: the process ends", arn=command.arn, wire=command.wire, seconds=seconds)
        metrics.count_job(command.get_queue_name(), "Hung", seconds)
        end_process(os.EX_TEMPFAIL)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


#: At once, whatever its threads wait for.
end_process = os._exit


def retry_until_redis_answers(action: Callable[[], T]) -> T:
    """Do it again while Redis can't be reached. Each action is safe to repeat. Raises in the end what it last met."""
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
    """The worker was told to end: the work is another's now."""


@dataclass(frozen=True)
class Crashed:
    """The child ended without a word."""

    code: int

    def __str__(self) -> str:
        if self.code < 0:
            return f"with signal {signal.Signals(-self.code).name}"
        return f"with exit status {self.code}"


@dataclass(frozen=True)
class Hung:
    """The child showed no sign of getting on for as long as the setting says, and was killed."""

    seconds: float
    setting: str

    def __str__(self) -> str:
        return (
            f"killed because it had not got on for {self.seconds:g} seconds, as if it waited for something that never "
            f"comes (FORETASTE_{self.setting.upper()} says for how long it may)"
        )


class _SilenceTimer:
    """For how long a child has not shown that it gets on. What is waited in vain counts, not the clock: a worker that
    was itself stopped for an hour has not listened.
    """

    def __init__(self, limit: float, setting: str) -> None:
        self.limit = limit
        self.setting = setting
        self._waited = 0.0
        self._since = time.monotonic()

    def reset(self) -> None:
        self._waited, self._since = 0.0, time.monotonic()

    def add_waited_time(self) -> None:
        """Nothing was heard again."""
        now = time.monotonic()
        self._waited += min(now - self._since, RENEW_EVERY)
        self._since = now

    def is_exceeded(self) -> bool:
        return self._waited >= self.limit


class JobMonitor:
    """One job of a child, and the lease that it is done under."""

    def __init__(self, process: WorkerProcess, lease: Lease, module: str, command: type[Command]) -> None:
        self._process = process
        self._lease = lease
        self._silence = _SilenceTimer(getattr(process.settings, command.silence), command.silence)
        self._child = _pool.acquire(module)
        self._child.submit(command.wire, lease.arn, lease.attempt)
        self._stopping_since: float | None = None
        self._handing_back = False

    def run(self) -> Fact | Requeued | Crashed | Hung | None:
        """The fact to report, or why there is none; None when the lease went to somebody else."""
        looked = 0.0
        while not self._silence.is_exceeded():
            if time.monotonic() - looked >= RENEW_EVERY:
                looked = time.monotonic()
                if not self._renew_lease():
                    log.warning("lease lost")
                    self._child.wait_or_kill()
                    return None
            try:
                said = self._child.receive(0.1)
            except threads.Empty:
                self._silence.add_waited_time()
                continue
            self._silence.reset()
            if said is None:
                return self._finish_job(None)
            if "alive" in said:
                continue
            fact = self._parse_answer(said)
            if not isinstance(fact, Progressed):
                return self._finish_job(fact)
            self._send_progress(fact)
        hung = Hung(self._silence.limit, self._silence.setting)
        log.error("child hung: it is killed", silent_seconds=hung.seconds, limit=hung.setting)
        self._child.wait_or_kill()
        return hung if self._stopping_since is None else self._get_stop_outcome()

    def _send_progress(self, fact: Progressed) -> None:
        try:
            self._process.queue.send(fact)
        except OperationalError as error:
            log.warning("progress not said", reason=str(error))

    def _renew_lease(self) -> bool:
        try:
            moving = self._process.store.renew_lease(self._lease, self._process.settings.lease_seconds)
        except redis.exceptions.RedisError as error:
            # The child works on: when Redis is back the lease is ours still, or it is not, and then we end it.
            log.warning("lease not renewed", reason=str(error))
            return True
        if moving is None:
            return False
        if self._process.ending.is_set():
            self._handing_back = True
        if moving == CREATE_STOPPING or self._handing_back:
            self._request_stop()
        return True

    def _request_stop(self) -> None:
        if self._stopping_since is None:
            self._stopping_since = time.monotonic()
            self._child.cancel()
        elif time.monotonic() - self._stopping_since > STOP_SECONDS:
            self._child.kill()

    def _finish_job(self, last: Fact | None) -> Fact | Requeued | Crashed:
        """``last`` is what the child said of how it went; None: it ended without a word."""
        if isinstance(last, Finished | Stopped) and not self._process.ending.is_set():
            _pool.release(self._child, self._process.settings.child_idle_seconds)
        else:
            # A job that failed may have left anything behind.
            code = self._child.wait_or_kill(STOP_SECONDS if last is None else 0.0)
        if isinstance(last, Finished | Failed):
            return last
        if self._stopping_since is not None:
            return self._get_stop_outcome()
        if last is not None:
            return last
        log.warning("child died", code=code)
        return Crashed(code)

    def _get_stop_outcome(self) -> Fact | Requeued:
        return Requeued() if self._handing_back else Stopped(arn=self._lease.arn, attempt=self._lease.attempt)

    def _parse_answer(self, said: Mapping[str, Any]) -> Fact:
        named: dict[str, Any] = {"arn": self._lease.arn, "attempt": self._lease.attempt}
        match said:
            case {"progress": progress}:
                return Progressed(**named, progress=progress)
            case {"finished": outcome}:
                return Finished(**named, outcome=outcome)
            case {"failed": reason}:
                return Failed(**named, reason=reason)
        return Stopped(**named)
