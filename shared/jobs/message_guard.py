"""A guard against malformed messages: they are set aside, so that no message on a queue ends the worker that reads it.

Without it Celery and kombu raise the errors of reading a message in the consumer's loop: the worker ends, the message
goes back to its queue, and ends the next worker. A message only prompts work, so that a missing one does no harm.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog
from celery.worker.consumer import Consumer
from kombu.transport import TRANSPORT_ALIASES, redis
from redis.exceptions import RedisError, ResponseError

from shared.observability import metrics
from shared.store import redis_errors

log = structlog.get_logger()
logger = logging.getLogger(__name__)  # kombu's acknowledgement takes a standard logger

#: The list of a queue's malformed messages, for a person to look at: the first KEPT, each cut to CHARACTERS.
KEY = "set-aside:{queue}"
KEPT = 100
CHARACTERS = 10_000
#: The pause after a refusal of Redis (seconds).
PAUSE = 0.5


class MalformedMessage(Exception):
    """An entry of a queue that is not a message of foretaste's; the text is the entry, or the reason."""


class GuardedChannel(redis.Channel):
    """A kombu channel that sets an entry aside when it is no message envelope."""

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        except ResponseError as error:
            # A full disk, say: ending the worker would not help, and a restart needs a write.
            if not redis_errors.is_redis_unavailable(error):
                raise
            log.warning("the queue waits for Redis", reason=str(error))
            time.sleep(PAUSE)
        except MalformedMessage as error:
            self.set_aside(str(error))
        except (ValueError, RecursionError) as error:
            # No JSON, or no text: JSONDecodeError has the text in ``doc``.
            self.set_aside(str(getattr(error, "doc", error)))
        return True

    def set_aside(self, text: str) -> None:
        """Save the text of a malformed message, which has left its queue or is acknowledged after this."""
        queue = next(iter(self.active_queues), "")
        log.error("malformed message set aside", queue=queue, message=text[:200])
        metrics.count_set_aside(f"queue {queue}")
        key = KEY.format(queue=queue)
        # The message is in the log. A Redis without room for it must not end the worker.
        with suppress(RedisError), self.conn_or_acquire() as client:
            if client.llen(key) < KEPT:
                client.lpush(key, text[:CHARACTERS])


class GuardedTransport(redis.Transport):
    """A kombu transport that checks envelopes; kombu's own raises KeyError, TypeError and more of a malformed one."""

    Channel = GuardedChannel
    # A refusal counts as a lost connection: the consumer connects again, and does not end.
    connection_errors = (*redis.Transport.connection_errors, ResponseError)

    def _deliver(self, message: Any, queue: str) -> None:
        if not _is_envelope(message):
            raise MalformedMessage(repr(message))
        super()._deliver(message, queue)  # type: ignore[no-untyped-call]


def _is_envelope(message: Any) -> bool:
    properties = message.get("properties") if isinstance(message, dict) else None
    return (
        isinstance(properties, dict)
        and isinstance(properties.get("delivery_tag"), str)
        and isinstance(properties.get("delivery_info"), dict)
        and {"exchange", "routing_key"} <= properties["delivery_info"].keys()
        and isinstance(message.get("headers"), dict)
        and isinstance(message.get("body"), str)
    )


class GuardedConsumer(Consumer):  # type: ignore[misc]  # celery has no types
    """A Celery consumer that sets aside the messages that it can't read, or whose reading raises."""

    def create_task_handler(self, *args: Any, **more: Any) -> Callable[[Any], None]:
        handle_message = super().create_task_handler(*args, **more)

        def handle_checked(message: Any) -> None:
            try:
                _check_message(message)
                handle_message(message)
            except self.connection_errors:
                raise
            except Exception as error:
                # The next worker would get the same error, and the one after that.
                log.warning("message refused", reason=f"{type(error).__name__}: {error}")
                message.channel.set_aside(f"{message.headers!r} {message.body!r}")
                message.ack_log_error(logger, self.connection_errors)

        return handle_checked


def _check_message(message: Any) -> None:
    """Raise MalformedMessage unless a client of foretaste sent it. Its task and arguments are checked later."""
    headers = message.headers
    if not (isinstance(headers.get("task"), str) and isinstance(headers.get("id"), str)):
        raise MalformedMessage("no task, or no id")
    if odd := [name for name in _UNUSED if headers.get(name) not in _NOTHING]:
        raise MalformedMessage(f"with {', '.join(odd)}")
    match message.decode():
        case [list(), dict(), dict() | None]:
            return
    raise MalformedMessage("no arguments")


#: Celery headers that no message of foretaste's sets, and that would delay, expire or limit a task.
_UNUSED = ("eta", "expires", "timelimit", "group", "stamps", "stamped_headers", "retries")
_NOTHING: tuple[Any, ...] = (None, 0, [], {}, [None, None])


def install_transport() -> None:
    """Make kombu use GuardedTransport for Redis in this process."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:GuardedTransport"
