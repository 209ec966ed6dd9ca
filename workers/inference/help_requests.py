"""Ask idle inference workers to help with a batch job, as many as there are free shards."""

from __future__ import annotations

import time

import redis.exceptions
import structlog

from shared.settings import Settings
from shared.state.messages import HelpBatchJob
from shared.store import Leases

log = structlog.get_logger()

#: How often help is asked for again: workers may have started, or come free (seconds).
EVERY = 5.0


class HelpRequests:
    """The requests of one job. A lost one costs time alone."""

    def __init__(self, arn: str, store: Leases, settings: Settings) -> None:
        self._command = HelpBatchJob(arn=arn)
        self._store = store
        self._settings = settings
        self._asked_at = -EVERY

    def request_help(self, free_shards: int) -> None:
        """Send the command once for each free shard and each other worker, unless messages wait already."""
        if free_shards <= 0 or time.monotonic() - self._asked_at < EVERY:
            return
        self._asked_at = time.monotonic()
        queue_name = self._command.get_queue_name()
        try:
            live = self._store.list_live_processes()
            others = sum(name.startswith(f"{queue_name}@") for name in live) - 1
            if others > 0:
                self._send_commands(min(free_shards, others), queue_name)
        except redis.exceptions.RedisError as error:
            log.warning("no help requested", reason=str(error))

    def _send_commands(self, count: int, queue_name: str) -> None:
        # Imported here: most jobs are small and need no queue.
        from kombu.exceptions import OperationalError

        from shared.jobs.celery_app import MessageQueue, create_celery_app

        queue = MessageQueue(create_celery_app(self._settings))
        try:
            # While all workers are busy, requests would pile up.
            for _ in range(count - queue.count_waiting(queue_name)):
                queue.send(self._command)
        except OperationalError as error:
            log.warning("no help requested", reason=str(error))
