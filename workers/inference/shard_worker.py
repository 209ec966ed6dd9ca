"""Work on the shards of a batch job, by the worker that holds its lease and by any number of helpers.

Before a worker begins a shard it takes the shard's lock, which it keeps while the work gets on. A lock only avoids
double work: the parts decide which shards are done (see ``shards.py``).
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Protocol, TypeVar

import structlog

from shared.jobs.entrypoint import WorkStopped
from shared.store import Leases, redis_errors
from workers.inference.json_lines import Answer, Line, LineError, format_result, iter_lines
from workers.inference.shards import Plan, Shard, ShardFolder

log = structlog.get_logger()

T = TypeVar("T")

#: How often the lock of a shard is renewed (seconds).
_RENEW_EVERY = 1.0
#: How long a worker waits for the shards of other workers before it looks again (seconds).
_WAIT_SECONDS = 0.2
#: How long a block is tried again while Redis is away (seconds): its filters read the store.
_RETRY_SECONDS = 120.0
#: Characters of text in one block, about: a block of long lines has fewer of them.
_MOST_BLOCK_BYTES = 8 << 20


class LineAnswerer(Protocol):
    """Answers the queries of a kind of job. Equal lines of one job must get equal answers in every process."""

    @property
    def block_lines(self) -> int:
        """The number of lines that are answered at once."""
        ...

    def answer_lines(self, lines: Sequence[Line]) -> Iterable[Answer]:
        """Return the answer of each line, in order. The lines have no ``error``: their ``input`` is an object."""
        ...


class ShardWorker:
    """Answers the lines of shards, and writes the parts."""

    def __init__(
        self,
        folder: ShardFolder,
        plan: Plan,
        answerer: LineAnswerer,
        locks: Leases,
        *,
        lock_name: str,
        lock_seconds: float,
        should_stop: Callable[[], bool],
    ) -> None:
        self._folder = folder
        self._plan = plan
        self._answerer = answerer
        self._locks = locks
        self._lock_name = lock_name
        self._lock_seconds = lock_seconds
        self._should_stop = should_stop
        self._owner = uuid.uuid4().hex
        self._renewed_at = 0.0
        self._done: set[int] = set()
        #: The shards that this worker has answered.
        self.answered_shards = 0

    def work_on_free_shards(
        self, on_answered: Callable[[int], object] = lambda _: None, until: float = math.inf
    ) -> bool:
        """Work on each shard that no other worker has; return whether all shards are done.

        ``on_answered`` is called after each block with the number of answered lines of the shard. No shard is begun
        after ``until`` (by time.monotonic). Raises WorkStopped, and FileNotFoundError once the job has ended.
        """
        for shard in self._plan.shards:
            self._check_stop()
            if time.monotonic() > until:
                break
            if self._is_done(shard) or not self._take_lock(shard) or self._is_done(shard):
                continue
            self._work_on_shard(shard, on_answered)
        return len(self._done) == len(self._plan.shards)

    def finish_all_shards(self, on_answered: Callable[[int], object]) -> None:
        """Work on free shards until all are done. The lock of a worker that has died expires, which frees its shard."""
        while not self.work_on_free_shards(on_answered):
            on_answered(0)
            self._check_stop()
            time.sleep(_WAIT_SECONDS)

    def _is_done(self, shard: Shard) -> bool:
        if shard.number not in self._done and self._folder.has_part(shard):
            self._done.add(shard.number)
        return shard.number in self._done

    def _work_on_shard(self, shard: Shard, on_answered: Callable[[int], object]) -> None:
        answered = 0
        with self._folder.write_part(shard) as part:
            for block in self._iter_blocks(shard):
                answers = self._retry_while_redis_is_away(partial(self._answer_block, block))
                for line, answer in zip(block, answers, strict=True):
                    part.write_result(*format_result(line, answer))
                    self._keep_lock(shard)
                answered += len(block)
                on_answered(answered)
        self._done.add(shard.number)
        self.answered_shards += 1

    def _iter_blocks(self, shard: Shard) -> Iterator[list[Line]]:
        name, block, begin = self._plan.files[shard.file], list[Line](), shard.begin
        with self._folder.get_input(shard.file).open("rb") as reading:
            reading.seek(shard.begin)
            for line in iter_lines(reading, shard.end, name, shard.first_line):
                block.append(line)
                if len(block) >= self._answerer.block_lines or reading.tell() - begin >= _MOST_BLOCK_BYTES:
                    yield block
                    block, begin = [], reading.tell()
        if block:
            yield block

    def _answer_block(self, lines: Sequence[Line]) -> list[Answer]:
        """Return the answer of each line; lines that are no queries are answered with their errors."""
        answers = iter(list(self._answerer.answer_lines([line for line in lines if line.error is None])))
        return [next(answers) if line.error is None else LineError(line.error) for line in lines]

    def _take_lock(self, shard: Shard) -> bool:
        self._renewed_at = time.monotonic()
        name = f"{self._lock_name}:{shard.number}"
        return self._retry_while_redis_is_away(lambda: self._locks.acquire_lock(name, self._owner, self._lock_seconds))

    def _keep_lock(self, shard: Shard) -> None:
        """Show that the work gets on, and renew the lock."""
        self._check_stop()
        if time.monotonic() - self._renewed_at >= _RENEW_EVERY:
            self._take_lock(shard)

    def _check_stop(self) -> None:
        if self._should_stop():
            raise WorkStopped

    def _retry_while_redis_is_away(self, action: Callable[[], T]) -> T:
        deadline = time.monotonic() + _RETRY_SECONDS
        while True:
            try:
                return action()
            except Exception as error:
                if not redis_errors.is_redis_unavailable(error) or time.monotonic() > deadline:
                    raise
                log.warning("batch job waits for Redis", reason=str(error))
            self._check_stop()
            time.sleep(_WAIT_SECONDS)
