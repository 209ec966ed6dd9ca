"""What every Celery process of foretaste is made of, and the sign of life that it and the runtime give.

``celery --app workers.training.app`` finds ``app`` there; it comes from ``create_worker_app``.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import redis.exceptions
import structlog
from celery import Celery, signals

from shared import settings
from shared.jobs import celery_app as queue
from shared.jobs import stall_watchdog
from shared.observability import logging
from shared.observability.health import HealthEndpoints
from shared.observability.threads import BackgroundThreads
from shared.settings import Settings
from shared.storage.artifacts import Artifacts
from shared.store import Store, data_format
from shared.store.redis import RedisStore
from shared.store.redis_probe import RedisProbe
from shared.system.disk_space import has_free_space

log = structlog.get_logger()

BEAT_EVERY = 1.0
BEAT_LASTS = 5.0


@dataclass(frozen=True)
class WorkerProcess:
    """What a handler works with: one per process, made by the first ``current()``."""

    name: str
    settings: Settings
    store: Store
    queue: queue.MessageQueue
    artifacts: Artifacts
    #: Set when the process was told to end: long work hands its lease back.
    ending: threading.Event
    #: What it can't do without.
    threads: BackgroundThreads = field(default_factory=BackgroundThreads)


_current: list[WorkerProcess] = []


def get_current_process() -> WorkerProcess:
    """This process. Raises IndexError when it was not started by ``create_worker_app``."""
    return _current[0]


def create_worker_app(queue_name: str, *, long_work: bool = True, started: Callable[[], None] | None = None) -> Celery:
    """The Celery application of one process, its handlers already declared; ``started`` runs when it consumes."""
    configured = settings.load()
    logging.configure_logging(configured, queue_name)
    app = queue.create_celery_app(configured, long_work=long_work)
    process = WorkerProcess(
        name=build_process_name(queue_name),
        settings=configured,
        store=RedisStore(configured.redis_url),
        queue=queue.MessageQueue(app),
        artifacts=Artifacts(configured.artifacts),
        ending=threading.Event(),
    )
    _current.append(process)
    consumes = threading.Event()
    probe = RedisProbe(configured.redis_url)
    vitals = HealthEndpoints(
        queue_name,
        threads=process.threads,
        ready={
            "consumes": lambda: consumes.is_set() and not process.ending.is_set(),
            "redis": probe.is_answering,
            "memory": probe.has_memory,
            "disk": lambda: probe.has_disk_space() and has_free_space(configured.artifacts, configured.min_free_mb),
        },
    )

    def begin(**_: object) -> None:
        try:
            data_format.check_data_format(configured.redis_url, configured.artifacts)
        except (data_format.NewerFormat, data_format.UnreadableStamp) as error:
            log.error("refused", reason=str(error))  # noqa: TRY400 - no fault of the code
            # Of all that a signal's receiver may raise, this alone ends Celery.
            raise SystemExit(str(error)) from error
        vitals.start_server(configured.metrics_bind)

    def ready(**_: object) -> None:
        stall_watchdog.watch_consumer(
            queue.consumer_watchdog, lambda: process.queue.count_waiting(queue_name), process.threads, process.ending
        )
        send_heartbeats(process)
        consumes.set()
        if started is not None:
            started()

    def ending(**_: object) -> None:
        process.ending.set()

    signals.worker_init.connect(begin, weak=False)
    signals.worker_ready.connect(ready, weak=False)
    signals.worker_shutting_down.connect(ending, weak=False)
    return app


def build_process_name(queue_name: str) -> str:
    """Unique among all processes: "training@host:pid"."""
    return f"{queue_name}@{socket.gethostname()}:{os.getpid()}"


def send_heartbeats(process: WorkerProcess) -> None:
    """Say every second that this process is alive, until it ends."""

    def beat() -> None:
        while not process.ending.is_set():
            try:
                process.store.send_heartbeat(process.name, BEAT_LASTS)
            except redis.exceptions.RedisError as error:
                log.warning("no sign of life could be given", reason=str(error))
            process.ending.wait(BEAT_EVERY)

    process.threads.start_thread("beat", beat, process.ending)
