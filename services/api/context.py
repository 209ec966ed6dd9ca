"""The context of a control-plane operation, and how an operation that changes something is retried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import structlog
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from shared.aws.errors import (
    PersonalizeError,
    ServiceUnavailable,
)
from shared.http.app import Call
from shared.jobs import celery_app as queue
from shared.resources import ResourceReader
from shared.state.messages import Command
from shared.store import Conflict, Store

log = structlog.get_logger()

T = TypeVar("T")

#: An operation that loses so many races in a row meets more than bad luck.
MAX_ATTEMPTS = 50


@dataclass(frozen=True)
class ApiContext:
    """The store, the message queue and the settings that an operation works with."""

    store: Store
    queue: queue.MessageQueue
    reading: ResourceReader
    invocation: str | None = None
    """The key under which the store remembers that this call has changed something; None for calls that only read."""

    def dispatch(self, command: Command) -> None:
        """Send a command that is in the outbox. While the queue does not take it, leave it to the reconciler."""
        try:
            queue.send_command(self.store, self.queue, command)
        except (OperationalError, RedisError) as error:
            log.warning("command left in the outbox", arn=command.arn, wire=command.wire, reason=str(error))


def retry_on_conflict(attempt: Callable[[], T]) -> T:
    """Run a read-decide-write until no other request wrote in between. Raises ServiceUnavailable after 50 conflicts."""
    for _ in range(MAX_ATTEMPTS):
        try:
            return attempt()
        except Conflict:
            continue
    raise ServiceUnavailable("The resource is being changed by too many requests at once. Try again.")


def run_once(context: ApiContext, call: Call, attempt: Callable[[ApiContext], object]) -> None:
    """Run an attempt once per invocation, with ``retry_on_conflict``, for a call that answers only that it was done.

    An SDK that lost the answer sends the call again under the same invocation. The second try changes nothing and gets
    the same answer, even where the resource has changed since.
    """
    bound = replace(context, invocation=get_invocation_key(call))

    def attempt_once() -> None:
        if _is_done(bound):
            return
        try:
            attempt(bound)
        except PersonalizeError:
            # The first try may have ended just now, which is why this one was refused.
            if not _is_done(bound):
                raise

    retry_on_conflict(attempt_once)


def get_invocation_key(call: Call) -> str:
    """Return the key that is the same for every try of one call."""
    return f"{call.operation}/{call.invocation}"


def _is_done(context: ApiContext) -> bool:
    return context.invocation is not None and context.store.find_by_invocation(context.invocation) is not None
