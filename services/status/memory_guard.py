"""Refuses writes of clients before the memory of Redis is full.

A Redis at its maxmemory refuses leases and statuses as well: the rest of the memory is reserved for these. This guards
the memory of any Redis; its disk is guarded by the process or container that runs it.
"""

from __future__ import annotations

import structlog

from services.status import periodic
from shared.jobs.worker_process import WorkerProcess
from shared.store.redis import RedisStore
from shared.store.redis_probe import RedisProbe

log = structlog.get_logger()

EVERY = 1.0
#: The share of maxmemory up to which clients may write.
SHARE = 0.95


def start_memory_guard(process: WorkerProcess) -> None:
    guard = MemoryGuard(RedisStore(process.settings.redis_url), RedisProbe(process.settings.redis_url))
    periodic.run_periodically("space", EVERY, lambda _: guard.check_memory())


class MemoryGuard:
    """Refuses and accepts writes by the memory of Redis, and logs each change."""

    def __init__(self, store: RedisStore, probe: RedisProbe) -> None:
        self._store = store
        self._probe = probe
        self._full = False

    def check_memory(self) -> None:
        """Check the memory once. Raises RedisError."""
        memory = self._probe.get_memory()
        full = memory.is_limited and memory.used > SHARE * memory.limit
        if full:
            share = f"{memory.used >> 20} of {memory.limit >> 20} MiB"
            self._store.refuse_writes("memory", f"{share} of its memory (maxmemory) are used")
        elif self._full:
            self._store.accept_writes("memory")
        if full != self._full:
            log.warning(
                "writes refused: Redis memory nearly full" if full else "writes accepted again",
                used=memory.used,
                most=memory.limit,
            )
        self._full = full
