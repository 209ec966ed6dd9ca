"""The child's side of a piece of work: one job in a process of its own, started and watched by ``work.py``.

They talk in lines: the child's answers are JSON objects on its standard output, each with one key (``progress``,
``finished``, ``failed``, ``stopped``); a line ``stop`` on its standard input asks it to end, and the end of that input
(its worker died) ends it at once. Imports nothing of the queue: a job starts quickly.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any, TextIO

import orjson
import redis.exceptions
import structlog

log = structlog.get_logger()


class WorkFailed(Exception):
    """The work can't be done; the message becomes the resource's failureReason."""


class WorkStopped(Exception):
    """The job ended because it was asked to."""


Progress = Callable[[Mapping[str, Any]], None]
Job = Callable[[str, int, Progress, Callable[[], bool]], Mapping[str, Any]]


def child(job: Job) -> None:
    """The main function of a child process: run ``job(arn, attempt, progress, should_stop)`` and say how it went.

    The job returns its outcome, or raises WorkFailed or WorkStopped; any other exception is a fault of ours, and
    is said as such.
    """
    answers = _private_output()
    stop = threading.Event()
    threading.Thread(target=_obey, args=(stop,), daemon=True).start()

    def say(**what: Any) -> None:
        answers.write(orjson.dumps(what).decode() + "\n")
        answers.flush()

    arn, attempt = sys.argv[1], int(sys.argv[2])
    try:
        outcome = job(arn, attempt, lambda progress: say(progress=progress), stop.is_set)
    except WorkFailed as error:
        say(failed=str(error))
    except WorkStopped:
        say(stopped=True)
    except redis.exceptions.RedisError as error:
        # Not the work's fault: end without an answer, and somebody takes the work up again.
        log.warning("job lost Redis", arn=arn, attempt=attempt, reason=str(error))
        sys.exit(os.EX_TEMPFAIL)
    except OSError as error:
        log.exception("job met the system", arn=arn, attempt=attempt)
        say(failed=f"The worker's system refused what the work needs: {error.strerror or error}.")
    except MemoryError:
        say(failed="The work needs more memory than the worker has.")
    except Exception as error:
        log.exception("job broke", arn=arn, attempt=attempt)
        say(failed=f"An internal error ended the work ({type(error).__name__}). The worker's log says more.")
    else:
        say(finished=outcome)


def _private_output() -> TextIO:
    """Keep standard output for answers: what a library prints goes to standard error instead."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def _obey(stop: threading.Event) -> None:
    # Read without sys.stdin's buffer, whose lock a daemon thread may not hold when the interpreter ends.
    while said := os.read(0, 64):
        if b"stop" in said:
            stop.set()
    os._exit(1)  # the worker is gone: whoever takes the work up next must not find us at it
