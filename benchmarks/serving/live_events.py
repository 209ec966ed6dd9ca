"""``python -m benchmarks.serving.live_events``: Redis's memory for live events, kept there and moved to files.

The same events go to two Redis servers, one after the other: in the first they stay, as if there were no compaction.
From the second they are moved to files from each so many events on, as an importing worker does it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis

from benchmarks.serving.world import World, world
from shared.data.live_events import iter_live_events
from shared.data.live_files import LiveFileWriter
from shared.settings import Settings
from shared.storage.artifacts import Artifacts
from shared.store import Interaction
from shared.store.redis import RedisStore

DATASET = "arn:aws:personalize:us-east-1:000000000000:dataset/films/INTERACTIONS"
#: Events of one call of PutEvents.
CALL = 10
ITEMS = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.live_events")
    parser.add_argument("--events", type=int, default=200_000, help="events sent")
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--most", type=int, default=50_000, help="FORETASTE_LIVE_EVENTS_MOST")
    parser.add_argument("--ids", action="store_true", help="events with an eventId of the client's own")
    chosen = parser.parse_args()
    print(f"{chosen.events:,} events of {chosen.users:,} users\n")
    for most in (None, chosen.most):
        with tempfile.TemporaryDirectory() as scratch, world(Path(scratch)) as here:
            run(here, chosen.events, chosen.users, most, ids=chosen.ids)


def run(here: World, events: int, users: int, most: int | None, *, ids: bool) -> None:
    """Send the events, move them from each ``most`` on (None: never), and print what they take."""
    store, artifacts = RedisStore(here.redis_url), Artifacts(here.data_dir / "artifacts")
    server: Any = redis.Redis.from_url(here.redis_url)
    empty, most_used, moving = get_used_bytes(server), 0, 0.0
    for begin in range(0, events, CALL):
        calls = list(make_events(begin, min(begin + CALL, events), users, ids=ids))
        store.append_interactions(DATASET, calls, invocation=f"{begin}")
        if most is not None and (begin + CALL) % most < CALL:
            most_used = max(most_used, get_used_bytes(server) - empty)
            moving += compact(store, artifacts)
    clear_invocations(server)
    used = get_used_bytes(server) - empty
    print(f"{'kept in Redis' if most is None else f'moved from each {most:,} events on'}:")
    print(f"    memory of Redis at the end      {used / events:8.1f} bytes/event  {used / 2**20:8.1f} MiB")
    if most is not None:
        print(
            f"    memory of Redis at most         {most_used / events:8.1f} bytes/event  {most_used / 2**20:8.1f} MiB"
        )
        for name, pattern in (("files", "*.parquet"), ("indexes", "*.index")):
            size = sum(path.stat().st_size for path in artifacts.get_live_folder(DATASET).glob(pattern))
            print(f"    {name:31} {size / events:8.1f} bytes/event  {size / 2**20:8.1f} MiB")
        print(f"    time of the compactions         {moving / events * 1e6:8.1f} µs/event")
    began = time.perf_counter()
    kept = sum(1 for _ in iter_live_events(store, artifacts, DATASET))
    print(f"    reading all of them             {(time.perf_counter() - began) / events * 1e6:8.1f} µs/event")
    print(f"    there                           {kept:8,} events")


def compact(store: RedisStore, artifacts: Artifacts) -> float:
    """Return the seconds that a compaction took."""
    began = time.perf_counter()
    memory_mb = Settings().import_memory_mb
    with LiveFileWriter(store, artifacts, DATASET, memory_mb=memory_mb, on_step=lambda: None) as writer:
        writer.remove_garbage()
        writer.compact_stream()
        writer.sweep_moved_generations()
        writer.merge_small_files()
        writer.remove_garbage()
    return time.perf_counter() - began


def make_events(begin: int, end: int, users: int, *, ids: bool) -> Iterator[Interaction]:
    for number in range(begin, end):
        user = number * 7919 % users
        yield Interaction(
            user_id=f"user-{user}",
            session_id=f"session-{user}-{number // (50 * users)}",
            item_id=f"item-{number * 104_729 % ITEMS}",
            event_type=("Watch", "Click", "Click", "Click")[number % 4],
            event_value=None,
            sent_at=1.76e9 + number / 100,
            event_id=f"{number:032x}" if ids else None,
            properties={"DEVICE": ("tv", "phone")[number % 2]},
        )


def clear_invocations(server: Any) -> None:
    """Remove the marks of calls, which expire after ten minutes."""
    for key in server.scan_iter(match="foretaste:invocation:*", count=10_000):
        server.unlink(key)


def get_used_bytes(server: Any) -> int:
    return int(server.info("memory")["used_memory"])


if __name__ == "__main__":
    main()
