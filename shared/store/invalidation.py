"""Invalidations from Redis: its client-side caching (CLIENT TRACKING) in broadcasting mode, on a separate connection.

With a server that has no tracking (a proxy in front of it, a version before 6) everything counts as changed each time.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

import redis
import structlog

log = structlog.get_logger()

#: A server that has sent nothing for so long (seconds) is asked whether it still answers.
SILENCE = 0.5

_PUSHED = object()


class RedisInvalidations:
    """``shared.store.Invalidations`` of key families after a prefix. The connections of ``pool`` speak RESP3."""

    def __init__(
        self,
        pool: redis.ConnectionPool,
        prefix: str,
        families: Collection[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._prefix = prefix
        self._families = families
        self._clock = clock
        self._connection: Any = None
        self._can_track = True
        self._answered_at = 0.0
        self._keys: list[str] = []
        self._all_changed = False

    def read_changed_keys(self) -> Sequence[str] | None:
        if not self._can_track:
            return None
        if self._connection is not None:
            try:
                return self._read_pushes()
            except redis.ConnectionError:
                # A restarted server has closed its connections: it answers, and has forgotten its clients.
                self._close_connection()
            except redis.TimeoutError:
                self._close_connection()
                raise
        self._start_tracking()
        return None

    def _read_pushes(self) -> Sequence[str] | None:
        self._keys, self._all_changed = [], False
        # Silence is the same from a server without news and from one that can't be reached: ask.
        asked = self._clock() - self._answered_at > SILENCE
        if asked:
            # Not PING: a server that can't write to its disk refuses it, and still sends invalidations.
            self._connection.send_command("EXISTS", f"{self._prefix}format")
            while self._connection.read_response(push_request=True) is _PUSHED:
                pass
            self._answered_at = self._clock()
        # Usually no push has come: polling the socket alone takes a tenth of the time of the connection's own check.
        # But pushes that came with the answer above are in the connection's buffer, and no longer in the socket.
        if asked or self._readable.poll(0):
            while self._connection.can_read(timeout=0):
                self._connection.read_response(push_request=True)
        return None if self._all_changed else self._keys

    def _start_tracking(self) -> None:
        connection: Any = self._pool.make_connection()
        prefixes = [word for family in self._families for word in ("PREFIX", f"{self._prefix}{family}:")]
        try:
            connection.connect()  # an old server refuses RESP3 here
            connection._parser.set_invalidation_push_handler(self._collect_keys)  # as redis-py's own cache does
            connection.send_command("CLIENT", "TRACKING", "ON", "BCAST", *prefixes)
            connection.read_response()
        except redis.ResponseError as error:
            connection.disconnect()
            self._can_track = False
            log.warning("client tracking refused: answers of the store are not cached", reason=str(error))
            return
        self._connection, self._answered_at = connection, self._clock()
        self._readable = select.poll()
        self._readable.register(connection._sock, select.POLLIN)

    def _collect_keys(self, message: Sequence[Any]) -> object:
        """Collect the keys of one push; a push without keys means that all have changed."""
        if message[1] is None:
            self._all_changed = True
        else:
            self._keys += [_remove_generation(key.removeprefix(self._prefix)) for key in message[1]]
        return _PUSHED

    def _close_connection(self) -> None:
        self._connection.disconnect()
        self._connection = None


def _remove_generation(key: str) -> str:
    """Return "recent:<dataset>:<user>" for the key of any generation of these events."""
    family, _, rest = key.partition(":")
    generation, _, owner = rest.partition(":")
    return f"{family}:{owner}" if family == "recent" and generation.isdecimal() else key
