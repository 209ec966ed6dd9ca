"""The part of the store in Redis that moves live events to files: ``shared.store.live_files.LiveFiles``.

``redis.py`` describes the keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

import orjson

from shared.store import Interaction, SeenItems, record_codec
from shared.store.live_files import ByGeneration, LiveFile, LivePage, StreamCut, StreamSize
from shared.store.positions import get_arrival, get_next_position, parse_position

#: Users whose recent events one script removes: Redis does nothing else for so long.
SWEEP_USERS = 200
#: The pattern of a generation's number in a key.
ANY_GENERATION = "[0-9]" * 10


class RedisLiveFiles:
    """Implements ``shared.store.live_files.LiveFiles`` and reads recent events, for a class with these members."""

    _redis: Any
    _scripts: Mapping[str, Any]
    _prefix: str

    def measure_stream(self, dataset: str) -> StreamSize | None:
        key = f"{self._prefix}stream:{dataset}"
        with self._redis.pipeline() as pipeline:
            pipeline.xlen(key)
            pipeline.xrange(key, count=1)
            events, oldest = pipeline.execute()
        return StreamSize(events=events, oldest=get_arrival(oldest[0][0])) if oldest else None

    def read_live_page(self, dataset: str, after: str, limit: int) -> LivePage:
        with self._redis.pipeline() as pipeline:
            pipeline.lrange(f"{self._prefix}live_files:{dataset}", 0, -1)
            pipeline.xrange(f"{self._prefix}stream:{dataset}", min=f"({after}", count=limit)
            files, events = pipeline.execute()
        place = parse_position(after)
        found = map(record_codec.read_live_file, files)
        return LivePage(
            files=[file for file in found if parse_position(file.last) > place],
            events=[(position, fields["event"]) for position, fields in events],
        )

    def list_live_files(self, dataset: str) -> Sequence[LiveFile]:
        entries = self._redis.lrange(f"{self._prefix}live_files:{dataset}", 0, -1)
        return [record_codec.read_live_file(entry) for entry in entries]

    def begin_live_writing(self, dataset: str, writer: str) -> None:
        self._redis.hset(f"{self._prefix}live:{dataset}", "writer", writer)

    def cut_stream(self, dataset: str, writer: str) -> StreamCut | None:
        found = self._scripts["cut"](args=[self._prefix, dataset, writer])
        if not found:
            return None
        last, generation, resumed = found
        return StreamCut(dataset=dataset, writer=writer, last=last, generation=generation, resumed=bool(resumed))

    def commit_live_file(self, cut: StreamCut, file: LiveFile) -> bool:
        following, entry = get_next_position(cut.last), record_codec.write_live_file(file)
        arguments = [self._prefix, cut.dataset, cut.writer, cut.generation, cut.last, following, entry]
        return bool(self._scripts["compact"](args=arguments))

    def replace_live_files(self, dataset: str, writer: str, old: Sequence[LiveFile], new: LiveFile | None) -> bool:
        arguments = {
            "prefix": self._prefix,
            "dataset": dataset,
            "writer": writer,
            "old": [file.name for file in old],
            **({"new": new.name, "entry": record_codec.write_live_file(new)} if new else {}),
        }
        return bool(self._scripts["replace_files"](args=[orjson.dumps(arguments)]))

    def list_superseded_files(self, dataset: str, newer_than: float = 0.0) -> Sequence[str]:
        key = f"{self._prefix}live_old:{dataset}"
        least = int(self._redis.time()[0] - newer_than) if newer_than else "-inf"
        return list(self._redis.zrange(key, least, "+inf", byscore=True))

    def list_unswept_generations(self, dataset: str) -> Sequence[int]:
        return sorted(map(int, self._redis.smembers(f"{self._prefix}live_unswept:{dataset}")))

    def sweep_generation(self, dataset: str, generation: int, users: Iterable[str] | None = None) -> None:
        owner = f"{generation:010d}:{dataset}" if generation else dataset
        if users is None:
            for family in ("recent", "seen"):
                self._delete_matching(f"{family}:{owner}:*")
        else:
            remaining = iter(users)
            while some := list(islice(remaining, SWEEP_USERS)):
                named = [part for user in some for part in (user, len(user.encode()))]
                self._scripts["sweep"](args=[self._prefix, f"{owner}:", *named])
        self._redis.srem(f"{self._prefix}live_unswept:{dataset}", generation)

    def _delete_matching(self, pattern: str) -> None:
        # ARNs contain no character with a meaning in patterns.
        for key in self._redis.scan_iter(match=f"{self._prefix}{pattern}", count=1000):
            self._redis.unlink(key)

    def get_recent_interactions(self, dataset: str, user_id: str) -> ByGeneration[list[Interaction]]:
        moved, *parts = self._scripts["recent"](args=[self._prefix, dataset, user_id])
        return ByGeneration(
            moved=moved, parts=[(generation, list(map(_read_interaction, texts))) for generation, texts in parts]
        )

    def get_seen_items(self, dataset: str, user_id: str) -> ByGeneration[SeenItems]:
        moved, *parts = self._scripts["seen"](args=[self._prefix, dataset, user_id, len(user_id.encode())])
        return ByGeneration(moved=moved, parts=[(generation, _read_seen(types)) for generation, types in parts])

    def forget_superseded_files(self, dataset: str, names: Sequence[str]) -> None:
        if names:
            self._redis.zrem(f"{self._prefix}live_old:{dataset}", *names)


@lru_cache(maxsize=4096)
def _read_interaction(text: str) -> Interaction:
    """Read an interaction, cached: the user's next request reads most of the same events again."""
    return record_codec.read_interaction(text)


def _read_seen(types: Sequence[tuple[str, Sequence[str]]]) -> SeenItems:
    return {
        type_: {item: float(at) for item, at in zip(items[::2], items[1::2], strict=True)} for type_, items in types
    }
