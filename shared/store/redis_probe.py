"""Quick health checks of Redis: they give up where the store would retry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

#: The timeout of a check (seconds); connecting first may take as long again.
SECONDS = 0.5
#: A key that every client may read.
FORMAT = "foretaste:format"
#: The keys by which redis.py refuses writes, before "disk" or "memory".
FULL = "foretaste:full:"


@dataclass(frozen=True, kw_only=True)
class MemoryUsage:
    """Bytes of Redis' data, and their limit: maxmemory where it ``is_limited``, else the machine's memory."""

    used: int
    limit: int
    is_limited: bool


class RedisProbe:
    """A client for health checks; connects at the first check. Safe to share between threads."""

    def __init__(self, url: str) -> None:
        self._redis: Any = redis.Redis.from_url(
            url, socket_timeout=SECONDS, socket_connect_timeout=SECONDS, retry=Retry(NoBackoff(), 0)
        )

    def is_answering(self) -> bool:
        """Whether Redis answers commands now; False while it loads its data."""
        try:
            self._redis.exists(FORMAT)  # not PING: a Redis that can't write refuses that
        except redis.RedisError:
            return False
        return True

    def has_disk_space(self) -> bool:
        """Whether Redis' disk takes writes; also True where Redis does not answer, which ``is_answering`` reports."""
        try:
            persistence = self._redis.info("persistence")
            return persistence.get("aof_last_write_status", "ok") == "ok" and not self._redis.exists(f"{FULL}disk")
        except redis.RedisError:
            return True

    def has_memory(self) -> bool:
        """Whether Redis' memory takes writes; also True where Redis does not answer, which ``is_answering`` reports."""
        try:
            return not self._redis.exists(f"{FULL}memory")
        except redis.RedisError:
            return True

    @property
    def write_checks(self) -> Mapping[str, Callable[[], bool]]:
        """The checks of /readyz that show why writes are refused."""
        return {"disk": self.has_disk_space, "memory": self.has_memory}

    def get_memory(self) -> MemoryUsage:
        """Return the memory usage. Raises RedisError."""
        info = self._redis.info("memory")
        maximum = int(info.get("maxmemory", 0))
        used, machine = int(info["used_memory"]), int(info.get("total_system_memory", 0))
        return MemoryUsage(used=used, limit=maximum or machine, is_limited=maximum > 0)

    def get_aof_bytes(self) -> int:
        """Return the size of the append-only file in bytes, 0 where there is none. Raises RedisError."""
        return int(self._redis.info("persistence").get("aof_current_size", 0))
