"""The Celery application, and the functions that send and handle messages; no other module touches the queue.

JSON only, one Celery queue per worker folder, no result backend: facts carry results. Messages are acknowledged
when they are received: the lease on the record protects the work, not the broker.
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

#: The options of every Celery process of foretaste, after ``celery --app <module> worker --queues <queue>``.
#: Threads, so that the consumer still receives messages and SIGTERM while a handler monitors its job process.
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

#: The watchdog of this process.
consumer_watchdog = ConsumerWatchdog()

#: The prefix of a queue's key in Redis.
PREFIX = "foretaste:queue:"
#: How often a busy worker checks whether it can take another message (seconds).
POLL_EVERY = 0.1


class PollWhileBusy(StartStopStep):  # type: ignore[misc]  # celery has no types
    """Polls while a task runs: Celery's event loop would notice a free worker up to a second late."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        task_prerun.connect(lambda **_: self.start(parent), weak=False)

    def start(self, parent: Any) -> None:
        """Start polling, at each task and at each new connection: a lost connection clears the event loop."""
        parent.hub.call_soon(self._poll_again, parent)

    def _poll_again(self, parent: Any) -> None:
        if parent.controller.state.reserved_requests:
            parent.hub.call_later(POLL_EVERY, self._poll_again, parent)


def register_handler(message: type[M]) -> Callable[[Callable[[M], None]], Callable[[M], None]]:
    """Register a function as the one handler of a message; ``create_celery_app`` makes it a task."""

    def register(handler: Callable[[M], None]) -> Callable[[M], None]:
        if message.wire in _handlers:
            raise ValueError(f"{message.wire} has a handler already")
        _handlers[message.wire] = handler
        return handler

    return register


def create_celery_app(settings: Settings, *, long_work: bool = True) -> Celery:
    """Create the Celery application, with the handlers registered so far as its tasks. Connects to nothing yet.

    With ``long_work`` a message stays in Redis until this worker is free, so that a busy worker does not hold back
    messages that another could handle.
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
            received = message.from_fields(fields)
        except TypeError as error:
            # A message of another release, say, is logged and dropped. The reconciler sends lost commands again.
            log.warning("message not understood", wire=message.wire, fields=sorted(fields), reason=str(error))
            return
        with consumer_watchdog, tracing.extract_context(bound.request.headers):
            handler(received)

    return task


class MessageQueue:
    """A client that sends messages; one per process."""

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
        """Return how many messages wait on a queue. Raises RedisError."""
        # Without kombu, whose every connection begins with PING: a Redis that can't write refuses that as well.
        return int(self._redis.llen(f"{PREFIX}{queue}"))


def build_outbox_entry(message: Message) -> OutboxEntry:
    """Build the outbox entry of a message, to be written with the change that causes it.

    Equal messages have equal ids, so that a handler can compute the id of the entry and remove it.
    """
    attempt = f":{message.attempt}" if isinstance(message, Fact) else ""
    return OutboxEntry(id=f"{message.wire}:{message.arn}{attempt}", message=message)


def send_command(records: Records, queue: MessageQueue, command: Command) -> None:
    """Send a command, and remove its entry (written with its record) from the outbox."""
    queue.send(command)
    records.remove_from_outbox(build_outbox_entry(command).id)


def report_fact(records: Records, queue: MessageQueue, fact: Fact) -> None:
    """Send a fact that can't get lost: its outbox entry stays until the fact has been applied."""
    records.add_to_outbox(build_outbox_entry(fact))
    queue.send(fact)
