"""Messages that are none of foretaste's are set aside: nothing that lies on a queue ends the worker that takes it.

Celery and kombu raise, in the consumer's own loop, whatever the reading of a message raises; the worker ends, the
message goes back to its queue, and the next worker takes it. A message only rings: that one is missing does no harm.
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
logger = logging.getLogger(__name__)  # as kombu wants one

#: What is set aside of a queue, for a person to look at: the first so many, of so many characters.
KEY = "set-aside:{queue}"
KEPT = 100
CHARACTERS = 10_000
#: A Redis that refuses is asked again after so long (seconds).
PAUSE = 0.5


class MalformedMessage(Exception):
    """What was taken from a queue is no message; its text may tell why."""


class Channel(redis.Channel):
    """What is not even an envelope is set aside as soon as it is read."""

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        except ResponseError as error:
            # A full disk, say: to end would help nobody, and to start again needs a write.
            if not redis_errors.is_redis_unavailable(error):
                raise
            log.warning("the queue waits for Redis", reason=str(error))
            time.sleep(PAUSE)
        except MalformedMessage as error:
            self.set_aside(str(error))
        except (ValueError, RecursionError) as error:
            # No JSON, or no text: json tells of what it read.
            self.set_aside(str(getattr(error, "doc", error)))
        return True

    def set_aside(self, text: str) -> None:
        """Keep what can't be read, which is on its queue no more, or acknowledged after this."""
        queue = next(iter(self.active_queues), "")
        log.error("a message that can't be read was set aside", queue=queue, message=text[:200])
        metrics.count_set_aside(f"queue {queue}")
        key = KEY.format(queue=queue)
        # It has been said: that Redis has no room for it must not end the worker either.
        with suppress(RedisError), self.conn_or_acquire() as client:
            if client.llen(key) < KEPT:
                client.lpush(key, text[:CHARACTERS])


class GuardedTransport(redis.Transport):
    """kombu's, which would raise KeyError, TypeError and others of an envelope that is none."""

    Channel = Channel
    # A Redis that refuses is one that is away: the consumer connects again, and does not end.
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
    """Celery's consumer, which hands on what can be read, and sets aside what can't be or breaks it."""

    def create_task_handler(self, *args: Any, **more: Any) -> Callable[[Any], None]:
        take = super().create_task_handler(*args, **more)

        def taken(message: Any) -> None:
            try:
                _check_message(message)
                take(message)
            except self.connection_errors:
                raise
            except Exception as error:
                # Whatever it is: it would be so for the next worker, and for the one after that.
                log.warning("a message was not taken", reason=f"{type(error).__name__}: {error}")
                message.channel.set_aside(f"{message.headers!r} {message.body!r}")
                message.ack_log_error(logger, self.connection_errors)

        return taken


def _check_message(message: Any) -> None:
    """Raises what shows that it is none of ours. Which task it is for, and with what, is looked at later."""
    headers = message.headers
    if not (isinstance(headers.get("task"), str) and isinstance(headers.get("id"), str)):
        raise MalformedMessage("no task, or no id")
    if odd := [name for name in _UNUSED if headers.get(name) not in _NOTHING]:
        raise MalformedMessage(f"with {', '.join(odd)}")
    match message.decode():
        case [list(), dict(), dict() | None]:
            return
    raise MalformedMessage("no arguments")


#: Headers of Celery's that no message of foretaste's bears, and by which one would wait, expire or be cut short.
_UNUSED = ("eta", "expires", "timelimit", "group", "stamps", "stamped_headers", "retries")
_NOTHING: tuple[Any, ...] = (None, 0, [], {}, [None, None])


def install_transport() -> None:
    """Have kombu read Redis this way, in this process."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:GuardedTransport"
