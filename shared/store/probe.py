"""A quick look at Redis, for those who ask whether it is there: it gives up where the store would go on trying."""

from __future__ import annotations

from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

#: One look takes no longer (seconds), but for the making of a connection, which may take as long again.
SECONDS = 0.5
#: As redis.py has it.
FULL = "foretaste:full"


class Probe:
    """Safe to share between threads. Connects to nothing yet."""

    def __init__(self, url: str) -> None:
        self._redis: Any = redis.Redis.from_url(
            url, socket_timeout=SECONDS, socket_connect_timeout=SECONDS, retry=Retry(NoBackoff(), 0)
        )

    def answers(self) -> bool:
        """Whether Redis can be worked with now; not while it loads its data."""
        try:
            return bool(self._redis.ping())
        except redis.RedisError:
            return False

    def has_room(self) -> bool:
        """Whether Redis takes writes, as far as its disk goes; one that does not answer is not asked for more."""
        try:
            persistence = self._redis.info("persistence")
            return persistence.get("aof_last_write_status", "ok") == "ok" and not self._redis.exists(FULL)
        except redis.RedisError:
            return True

    def used_bytes(self) -> int:
        """The memory that Redis takes for its data. Raises RedisError."""
        return int(self._redis.info("memory")["used_memory"])
