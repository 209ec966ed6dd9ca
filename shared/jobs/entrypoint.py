"""The entry point of a job process, which ``subprocess_pool.py`` starts and ``runner.py`` monitors.

The two processes exchange lines of JSON. The worker sends ``{"job", "arn", "attempt"}``, the next job, or ``{"stop"}``,
which stops it. The job process answers ``{"progress"}``, ``{"alive"}`` while the job gets on without news, and once per
job ``{"finished"}``, ``{"failed"}``, ``{"postponed"}`` or ``{"stopped"}``. When its standard input ends (its worker
died), it exits at once. It imports nothing of the queue, so that a job starts quickly.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO

import orjson
import redis.exceptions
import structlog

log = structlog.get_logger()


class WorkFailed(Exception):
    """The work has failed; the message becomes the resource's failureReason."""


class WorkStopped(Exception):
    """The job ended because ``should_stop`` returned True."""


class WorkPostponed(Exception):
    """The job waits for other work: a worker starts it again after a while, and until then it holds none."""


#: The shortest time between two signs of life of a job (seconds).
ALIVE_EVERY = 1.0

ReportProgress = Callable[[Mapping[str, Any]], None]
Job = Callable[[str, int, ReportProgress, Callable[[], bool]], Mapping[str, Any]]


@dataclass(frozen=True)
class _JobRequest:
    job: str
    arn: str
    attempt: int
    stop: threading.Event = field(default_factory=threading.Event)


def run_jobs(jobs: Mapping[str, Job]) -> None:
    """Run the jobs that the worker submits, one after the other, until the worker is gone: a main function.

    ``jobs`` maps the wire names of commands to their jobs. A job is called with ``(arn, attempt, progress,
    should_stop)``; it returns its outcome, or raises WorkFailed, WorkPostponed or WorkStopped. Any other exception is
    a bug of foretaste, and is reported as an internal error.

    A job calls ``should_stop`` after each piece of its work (a batch, a block, some rows): each call is a sign of life
    for the worker, which kills a job without calls or progress as hung. So the thread that does the work must call it,
    never a separate timer.
    """
    answers = _take_over_output()
    requests: queue.Queue[_JobRequest] = queue.Queue()
    threading.Thread(target=_read_requests, args=(requests,), daemon=True).start()

    write_lock = threading.Lock()

    def send_answer(**members: Any) -> None:
        with write_lock:
            answers.write(orjson.dumps(members).decode() + "\n")
            answers.flush()

    while True:
        request = requests.get()
        with structlog.contextvars.bound_contextvars(arn=request.arn, attempt=request.attempt):
            _run_job(jobs[request.job], request, send_answer)


def _run_job(job: Job, request: _JobRequest, send_answer: Callable[..., None]) -> None:
    should_stop = _create_should_stop(request, send_answer)
    try:
        outcome = job(request.arn, request.attempt, lambda progress: send_answer(progress=progress), should_stop)
    except WorkFailed as error:
        send_answer(failed=str(error))
    except WorkPostponed:
        send_answer(postponed=True)
    except WorkStopped:
        send_answer(stopped=True)
    except redis.exceptions.RedisError as error:
        # The work itself has not failed: exit without an answer, and a worker claims it again.
        log.warning("job lost Redis", reason=str(error))
        sys.exit(os.EX_TEMPFAIL)
    except OSError as error:
        log.exception("job failed with a system error")
        send_answer(failed=f"The worker's system refused what the work needs: {error.strerror or error}.")
    except MemoryError:
        send_answer(failed="The work needs more memory than the worker has.")
    except Exception as error:
        log.exception("job failed with an internal error")
        send_answer(failed=f"An internal error ended the work ({type(error).__name__}). The worker's log says more.")
    else:
        send_answer(finished=outcome)


def _create_should_stop(request: _JobRequest, send_answer: Callable[..., None]) -> Callable[[], bool]:
    """Build ``should_stop``, which also sends the worker a sign of life."""
    sent_at = time.monotonic()

    def should_stop() -> bool:
        nonlocal sent_at
        if time.monotonic() - sent_at >= ALIVE_EVERY:
            sent_at = time.monotonic()
            send_answer(alive=True)
        return request.stop.is_set()

    return should_stop


def _take_over_output() -> TextIO:
    """Reserve standard output for answers: the output of libraries goes to standard error instead."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def _read_requests(requests: queue.Queue[_JobRequest]) -> None:
    # Read without sys.stdin's buffer, whose lock a daemon thread may not hold when the interpreter ends.
    last: _JobRequest | None = None
    unread = b""
    while read := os.read(0, 65536):
        *lines, unread = (unread + read).split(b"\n")
        for line in lines:
            members = orjson.loads(line)
            if "job" in members:
                last = _JobRequest(members["job"], members["arn"], members["attempt"])
                requests.put(last)
            elif last is not None:
                last.stop.set()
    os._exit(1)  # the worker is gone: the next worker on this job must not run next to this process
