"""The child's side of a worker's jobs, which ``child.py`` starts and ``work.py`` watches.

They talk in lines of JSON. The child is told ``{"job", "arn", "attempt"}``, the next thing to do, or ``{"stop"}``,
which ends that; it answers ``{"progress"}``, ``{"alive"}`` while it gets on but has nothing to tell, and, once a job,
``{"finished"}``, ``{"failed"}`` or ``{"stopped"}``. The end of its standard input (its worker died) ends it at once.
Imports nothing of the queue: a job starts quickly.
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
    """The work can't be done; the message becomes the resource's failureReason."""


class WorkStopped(Exception):
    """The job ended because it was asked to."""


#: A job says that it gets on so often at most (seconds).
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
    """The main function of a child process: do what is ordered, until the worker is gone.

    ``jobs`` are by the wire names of the commands that they do. A job is called with
    ``(arn, attempt, progress, should_stop)``; it returns its outcome, or raises WorkFailed or WorkStopped. Any other
    exception is a fault of ours, and is said as such.

    A job asks ``should_stop`` wherever it has got on (a batch, a block, some rows): each time its worker hears that it
    lives, and one that has not asked, or told progress, for long is taken for hung. So it is asked by what does the
    work, never beside it.
    """
    answers = _take_over_output()
    orders: queue.Queue[_JobRequest] = queue.Queue()
    threading.Thread(target=_read_requests, args=(orders,), daemon=True).start()

    one_at_a_time = threading.Lock()

    def say(**what: Any) -> None:
        with one_at_a_time:
            answers.write(orjson.dumps(what).decode() + "\n")
            answers.flush()

    while True:
        order = orders.get()
        with structlog.contextvars.bound_contextvars(arn=order.arn, attempt=order.attempt):
            _run_job(jobs[order.job], order, say)


def _run_job(job: Job, order: _JobRequest, say: Callable[..., None]) -> None:
    try:
        outcome = job(
            order.arn, order.attempt, lambda progress: say(progress=progress), _create_should_stop(order, say)
        )
    except WorkFailed as error:
        say(failed=str(error))
    except WorkStopped:
        say(stopped=True)
    except redis.exceptions.RedisError as error:
        # Not the work's fault: end without an answer, and somebody takes the work up again.
        log.warning("job lost Redis", reason=str(error))
        sys.exit(os.EX_TEMPFAIL)
    except OSError as error:
        log.exception("job met the system")
        say(failed=f"The worker's system refused what the work needs: {error.strerror or error}.")
    except MemoryError:
        say(failed="The work needs more memory than the worker has.")
    except Exception as error:
        log.exception("job broke")
        say(failed=f"An internal error ended the work ({type(error).__name__}). The worker's log says more.")
    else:
        say(finished=outcome)


def _create_should_stop(order: _JobRequest, say: Callable[..., None]) -> Callable[[], bool]:
    """``should_stop``, which says that the job gets on."""
    said = time.monotonic()

    def should_stop() -> bool:
        nonlocal said
        if time.monotonic() - said >= ALIVE_EVERY:
            said = time.monotonic()
            say(alive=True)
        return order.stop.is_set()

    return should_stop


def _take_over_output() -> TextIO:
    """Keep standard output for answers: what a library prints goes to standard error instead."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def _read_requests(orders: queue.Queue[_JobRequest]) -> None:
    # Read without sys.stdin's buffer, whose lock a daemon thread may not hold when the interpreter ends.
    last: _JobRequest | None = None
    unread = b""
    while read := os.read(0, 65536):
        *lines, unread = (unread + read).split(b"\n")
        for line in lines:
            told = orjson.loads(line)
            if "job" in told:
                last = _JobRequest(told["job"], told["arn"], told["attempt"])
                orders.put(last)
            elif last is not None:
                last.stop.set()
    os._exit(1)  # the worker is gone: whoever takes the work up next must not find us at it
