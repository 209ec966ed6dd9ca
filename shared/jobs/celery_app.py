"""The Celery application; ``send``, ``report`` and ``handles`` are the only ways to touch the queue.

JSON only, one Celery queue per worker folder, no result backend: facts carry results. Messages are acknowledged
when they are taken: the lease on the record protects the work, not the broker.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar

import redis
import structlog
from celery import Celery
from celery.bootsteps import StartStopStep
from celery.signals import task_prerun

from shared.jobs import message_guard
from shared.jobs.stall_watchdog import ConsumerWatchdog
from shared.observability import tracing
from shared.settings import Settings
from shared.state.messages import BY_WIRE, Command, Fact, Message
from shared.store import OutboxEntry, Records

log = structlog.get_logger()

#: How every Celery process of foretaste is started, behind ``celery --app <module> worker --queues <queue>``.
#: Threads, so that the consumer goes on listening (and hears SIGTERM) while a handler watches its child process.
WORKER_FLAGS: tuple[str, ...] = (
    "--pool=threads",
    "--concurrency=1",
    "--without-gossip",
    "--without-mingle",
    "--without-heartbeat",
    "--loglevel=warning",
)

M = TypeVar("M", bound=Message)
MessageHandler = Callable[[Any], None]

_handlers: dict[str, MessageHandler] = {}

#: Of this process.
consumer_watchdog = ConsumerWatchdog()

#: Before the name of a queue, in Redis.
PREFIX = "foretaste:queue:"
#: How often a worker that has a piece of work looks whether it is free for another (seconds).
POLL_EVERY = 0.1


class PollWhileBusy(StartStopStep):  # type: ignore[misc]  # celery has no types
    """Celery's event loop would sleep for up to a second before it sees that a worker is free again."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        task_prerun.connect(lambda **_: self.start(parent), weak=False)

    def start(self, parent: Any) -> None:
        """At each connection, since what waits in the loop goes with the one before, and at each piece of work."""
        parent.hub.call_soon(self._poll_again, parent)

    def _poll_again(self, parent: Any) -> None:
        if parent.controller.state.reserved_requests:
            parent.hub.call_later(POLL_EVERY, self._poll_again, parent)


def register_handler(message: type[M]) -> Callable[[Callable[[M], None]], Callable[[M], None]]:
    """Declare a function as the one handler of a message. The process's ``application`` takes it up."""

    def declare(handler: Callable[[M], None]) -> Callable[[M], None]:
        if message.wire in _handlers:
            raise ValueError(f"{message.wire} has a handler already")
        _handlers[message.wire] = handler
        return handler

    return declare


def create_celery_app(settings: Settings, *, long_work: bool = True) -> Celery:
    """The Celery application, with the handlers declared so far as its tasks. Connects to nothing yet.

    With ``long_work`` a message stays in Redis until this worker is free, so that a busy one does not sit on what
    another could do.
    """
    message_guard.install_transport()
    app = Celery("foretaste", broker=settings.redis_url, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_create_missing_queues=True,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=long_work,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        worker_consumer="shared.jobs.message_guard:GuardedConsumer",
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "global_keyprefix": PREFIX,
            "socket_timeout": 10,
            "socket_connect_timeout": 2,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
    )
    if long_work:
        app.steps["consumer"].add(PollWhileBusy)
    for wire, handler in _handlers.items():
        app.task(_create_task(BY_WIRE[wire], handler), name=wire, shared=False, bind=True)
    return app


def _create_task(message: type[Message], handler: MessageHandler) -> Callable[..., None]:
    def task(bound: Any, /, **fields: Any) -> None:
        try:
            unpacked = message.from_fields(fields)
        except TypeError as error:
            # A poisoned message (another release's, say) is said and dropped: the reconciler rings for real work.
            log.warning("message not understood", wire=message.wire, fields=sorted(fields), reason=str(error))
            return
        with consumer_watchdog, tracing.extract_context(bound.request.headers):
            handler(unpacked)

    return task


class MessageQueue:
    """Sends messages; one per process."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def send(self, message: Message) -> None:
        """Put a message on its queue. Raises kombu's OperationalError when Redis can't be reached."""
        self._app.send_task(
            message.wire,
            kwargs=message.to_fields(),
            headers=tracing.inject_headers(),
            queue=message.get_queue_name(),
            retry=True,
            retry_policy={"max_retries": 2, "interval_start": 0.1, "interval_max": 0.5},
        )

    @cached_property
    def _redis(self) -> Any:
        return redis.Redis.from_url(self._app.conf.broker_url, socket_timeout=5.0, socket_connect_timeout=2.0)

    def count_waiting(self, queue: str) -> int:
        """How many messages wait on a queue. Raises RedisError."""
        # Not by kombu, whose every connection begins with PING: a Redis that can't write refuses that as well.
        return int(self._redis.llen(f"{PREFIX}{queue}"))


def build_outbox_entry(message: Message) -> OutboxEntry:
    """The message as an outbox note, to be written with the change that causes it.

    A message that says the same has the same id: its handler can take the note out without having been told of it.
    """
    attempt = f":{message.attempt}" if isinstance(message, Fact) else ""
    return OutboxEntry(id=f"{message.wire}:{message.arn}{attempt}", message=message)


def send_command(records: Records, queue: MessageQueue, command: Command) -> None:
    """Send a command, and take its note (written with its record) out of the outbox."""
    queue.send(command)
    records.remove_from_outbox(build_outbox_entry(command).id)


def report_fact(records: Records, queue: MessageQueue, fact: Fact) -> None:
    """Say that something happened, so that it can't be lost: the note stays until the fact has been applied."""
    written = build_outbox_entry(fact)
    records.add_to_outbox(written)
    queue.send(fact)
