"""Watches the disk of a local Redis, and has writes of clients refused before the disk is full.

Redis itself refuses only after a failed write, and by then it has acknowledged one write that it would lose if it was
killed. Statuses and leases go on in the space that is left.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import redis

from shared.store.redis import FULL_SECONDS, RedisStore
from shared.system.disk_space import MIB, measure_free_bytes

LOOK_EVERY = 0.5


@contextmanager
def watch_disk(folder: Path, store: RedisStore, least_mb: int, *, say: Callable[[str], None]) -> Iterator[None]:
    """Within the block, while less than so many MiB are free; ``say`` is told of each change. 0: never."""
    ending = threading.Event()
    watch = _DiskWatch(folder, store, least_mb, say)
    thread = threading.Thread(target=watch.run, args=(ending,), name="space", daemon=True)
    if least_mb > 0:
        thread.start()
    try:
        yield
    finally:
        ending.set()
        if thread.is_alive():
            thread.join(FULL_SECONDS)


class _DiskWatch:
    def __init__(self, folder: Path, store: RedisStore, least_mb: int, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._store = store
        self._least_mb = least_mb
        self._say = say
        self._full = False

    def run(self, ending: threading.Event) -> None:
        while not ending.wait(LOOK_EVERY):
            # While Redis is being started again nothing is written; a disk that does not tell is no full one.
            with suppress(redis.RedisError, OSError):
                self._check_disk()

    def _check_disk(self) -> None:
        free_mb = measure_free_bytes(self._folder) // MIB
        full = free_mb < self._least_mb
        if full:
            self._store.refuse_writes("disk", f"{free_mb} MiB of its disk are free, and {self._least_mb} are kept")
        elif self._full:
            self._store.accept_writes("disk")
        if full != self._full:
            self._say(
                f"{self._folder}: {free_mb} MiB are free; writes are refused until there are {self._least_mb}"
                if full
                else f"{self._folder}: {free_mb} MiB are free; writes are taken again"
            )
        self._full = full
