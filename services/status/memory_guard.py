"""Has writes of clients refused before the memory of Redis is full.

A Redis at its maxmemory refuses leases and statuses as well: what is left is for these. Whatever Redis it is: of its
disk, whoever runs it tells.
"""

from __future__ import annotations

import structlog

from services.status import periodic
from shared.jobs.worker_process import WorkerProcess
from shared.store.redis import RedisStore
from shared.store.redis_probe import RedisProbe

log = structlog.get_logger()

EVERY = 1.0
#: Of maxmemory, for writes of clients.
SHARE = 0.95


def start_memory_guard(process: WorkerProcess) -> None:
    watch = MemoryGuard(RedisStore(process.settings.redis_url), RedisProbe(process.settings.redis_url))
    periodic.run_periodically("space", EVERY, lambda _: watch.check_memory())


class MemoryGuard:
    """Remembers what it found last, to say what has changed."""

    def __init__(self, store: RedisStore, probe: RedisProbe) -> None:
        self._store = store
        self._probe = probe
        self._full = False

    def check_memory(self) -> None:
        """Raises RedisError."""
        memory = self._probe.get_memory()
        full = memory.is_limited and memory.used > SHARE * memory.limit
        if full:
            share = f"{memory.used >> 20} of {memory.limit >> 20} MiB"
            self._store.refuse_writes("memory", f"{share} of its memory (maxmemory) are used")
        elif self._full:
            self._store.accept_writes("memory")
        if full != self._full:
            log.warning("writes are refused" if full else "writes are taken again", used=memory.used, most=memory.limit)
        self._full = full
