"""A quick look at Redis, for those who ask whether it is there: it gives up where the store would go on trying."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

#: One look takes no longer (seconds), but for the making of a connection, which may take as long again.
SECONDS = 0.5
#: Any key that may be read.
FORMAT = "foretaste:format"
#: What redis.py has them say who refuses writes.
FULL = "foretaste:full:"


@dataclass(frozen=True, kw_only=True)
class MemoryUsage:
    """Bytes that Redis takes for its data, and may: by maxmemory where it is ``bound``, else all of the machine's."""

    used: int
    limit: int
    is_limited: bool


class RedisProbe:
    """Safe to share between threads. Connects to nothing yet."""

    def __init__(self, url: str) -> None:
        self._redis: Any = redis.Redis.from_url(
            url, socket_timeout=SECONDS, socket_connect_timeout=SECONDS, retry=Retry(NoBackoff(), 0)
        )

    def is_answering(self) -> bool:
        """Whether Redis can be worked with now; not while it loads its data."""
        try:
            self._redis.exists(FORMAT)  # not PING: a Redis that can't write refuses that
        except redis.RedisError:
            return False
        return True

    def has_disk_space(self) -> bool:
        """Whether Redis takes writes, as far as its disk goes; one that does not answer is not asked for more."""
        try:
            persistence = self._redis.info("persistence")
            return persistence.get("aof_last_write_status", "ok") == "ok" and not self._redis.exists(f"{FULL}disk")
        except redis.RedisError:
            return True

    def has_memory(self) -> bool:
        """Whether Redis takes writes, as far as its memory goes; one that does not answer is not asked for more."""
        try:
            return not self._redis.exists(f"{FULL}memory")
        except redis.RedisError:
            return True

    @property
    def write_checks(self) -> Mapping[str, Callable[[], bool]]:
        """The checks of /readyz that tell why writes are refused."""
        return {"disk": self.has_disk_space, "memory": self.has_memory}

    def get_memory(self) -> MemoryUsage:
        """Raises RedisError."""
        told = self._redis.info("memory")
        most = int(told.get("maxmemory", 0))
        used, machine = int(told["used_memory"]), int(told.get("total_system_memory", 0))
        return MemoryUsage(used=used, limit=most or machine, is_limited=most > 0)

    def get_aof_bytes(self) -> int:
        """The size of its append-only file; 0 where it has none. Raises RedisError."""
        return int(self._redis.info("persistence").get("aof_current_size", 0))
