"""The parts of every Celery process of foretaste, and the heartbeats that it and the runtime send.

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
    """The settings and clients that handlers use: one per process, created by ``create_worker_app``."""

    name: str
    settings: Settings
    store: Store
    queue: queue.MessageQueue
    artifacts: Artifacts
    #: Set when the process must end: long work is requeued.
    ending: threading.Event
    #: The background threads that the process needs.
    threads: BackgroundThreads = field(default_factory=BackgroundThreads)


_current: list[WorkerProcess] = []


def get_current_process() -> WorkerProcess:
    """Return this process's WorkerProcess. Raises IndexError before ``create_worker_app``."""
    return _current[0]


def create_worker_app(queue_name: str, *, long_work: bool = True, on_ready: Callable[[], None] | None = None) -> Celery:
    """Create the Celery application of this process with the handlers registered so far.

    ``on_ready`` runs when the process consumes messages; for ``long_work`` see ``create_celery_app``.
    """
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
    endpoints = _create_health_endpoints(process, queue_name, consumes)

    def on_worker_init(**_: object) -> None:
        try:
            data_format.check_data_format(configured.redis_url, configured.artifacts)
        except (data_format.NewerFormat, data_format.UnreadableStamp) as error:
            log.error("refused", reason=str(error))  # noqa: TRY400 - no fault of the code
            # SystemExit is the only exception of a signal's receiver that ends Celery.
            raise SystemExit(str(error)) from error
        endpoints.start_server(configured.metrics_bind)

    def on_worker_ready(**_: object) -> None:
        stall_watchdog.watch_consumer(
            queue.consumer_watchdog, lambda: process.queue.count_waiting(queue_name), process.threads, process.ending
        )
        send_heartbeats(process)
        consumes.set()
        if on_ready is not None:
            on_ready()

    def on_worker_shutting_down(**_: object) -> None:
        process.ending.set()

    signals.worker_init.connect(on_worker_init, weak=False)
    signals.worker_ready.connect(on_worker_ready, weak=False)
    signals.worker_shutting_down.connect(on_worker_shutting_down, weak=False)
    return app


def _create_health_endpoints(process: WorkerProcess, queue_name: str, consumes: threading.Event) -> HealthEndpoints:
    configured = process.settings
    probe = RedisProbe(configured.redis_url)
    return HealthEndpoints(
        queue_name,
        threads=process.threads,
        ready={
            "consumes": lambda: consumes.is_set() and not process.ending.is_set(),
            "redis": probe.is_answering,
            "memory": probe.has_memory,
            "disk": lambda: probe.has_disk_space() and has_free_space(configured.artifacts, configured.min_free_mb),
        },
    )


def build_process_name(queue_name: str) -> str:
    """Return a name that is unique among all processes: "training@host:pid"."""
    return f"{queue_name}@{socket.gethostname()}:{os.getpid()}"


def send_heartbeats(process: WorkerProcess) -> None:
    """Send a heartbeat every BEAT_EVERY seconds in the background, until the process ends."""

    def send_until_end() -> None:
        while not process.ending.is_set():
            try:
                process.store.send_heartbeat(process.name, BEAT_LASTS)
            except redis.exceptions.RedisError as error:
                log.warning("heartbeat not sent", reason=str(error))
            process.ending.wait(BEAT_EVERY)

    process.threads.start_thread("beat", send_until_end, process.ending)
