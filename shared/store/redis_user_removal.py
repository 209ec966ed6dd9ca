"""``shared.store.user_removal.UserRemoval`` in Redis."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import orjson
import redis
import structlog

from shared.store.user_removal import LogNotRewritten

log = structlog.get_logger()

#: Ids in one call of a script: it blocks the server for some milliseconds.
IDS_AT_ONCE = 500
POLL_SECONDS = 0.1


class RedisUserRemoval:
    """A part of ``RedisStore``, which sets these members."""

    _prefix: str
    _redis: Any
    _scripts: Mapping[str, Any]

    def forget_event_ids(self, dataset: str, event_ids: Sequence[str]) -> None:
        for ids in _iter_parts(event_ids):
            self._redis.delete(*(f"{self._prefix}event:{dataset}:{each}" for each in ids))

    def remove_put_records(self, dataset: str, ids: Sequence[str]) -> None:
        keys = [f"{self._prefix}put:{dataset}", f"{self._prefix}put_at:{dataset}"]
        for some in _iter_parts(ids):
            self._scripts["remove_put"](keys=keys, args=some)

    def report_purges(self, process: str, purges: Mapping[str, int], seconds: float) -> None:
        self._redis.set(f"{self._prefix}purges:{process}", orjson.dumps(dict(purges)), px=round(seconds * 1000))

    def get_reported_purges(self, process: str) -> Mapping[str, int]:
        text = self._redis.get(f"{self._prefix}purges:{process}")
        return {str(group): int(count) for group, count in orjson.loads(text).items()} if text else {}

    def rewrite_log(self, on_step: Callable[[], None]) -> bool:
        try:
            if not self._redis.info("persistence").get("aof_enabled"):
                return False
            self._wait_for_rewriting(on_step)
            self._redis.bgrewriteaof()
        except redis.exceptions.ResponseError as error:
            # One that has begun by itself since then serves as well.
            if "in progress" not in str(error):
                # Managed servers keep their logs themselves.
                log.info("the log of Redis is not rewritten", reason=str(error))
                return False
        if self._wait_for_rewriting(on_step).get("aof_last_bgrewrite_status", "ok") != "ok":
            raise LogNotRewritten("Redis could not rewrite its append-only file; is its disk full?")
        return True

    def _wait_for_rewriting(self, on_step: Callable[[], None]) -> Mapping[str, Any]:
        """Wait until no rewriting is in progress; return the server's state then."""
        while True:
            state: Mapping[str, Any] = self._redis.info("persistence")
            if not (state.get("aof_rewrite_in_progress") or state.get("aof_rewrite_scheduled")):
                return state
            on_step()
            time.sleep(POLL_SECONDS)


def _iter_parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for begin in range(0, len(ids), IDS_AT_ONCE):
        yield ids[begin : begin + IDS_AT_ONCE]
