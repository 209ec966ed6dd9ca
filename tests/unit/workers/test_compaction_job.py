"""The child process of a compaction, called in this one, and what a training reads before and after it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
import redis

from shared.data.live_events import iter_live_events
from shared.jobs.entrypoint import WorkFailed, WorkStopped
from shared.jobs.worker_process import WorkerProcess
from shared.settings import Settings
from shared.state.messages import CompactEvents
from shared.store import Interaction
from shared.store.redis import RedisStore
from tests.unit.workers.world import World
from workers.importing import compaction_job, tasks


@pytest.fixture
def world(tmp_path: Path, redis_server: str, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("FORETASTE_REDIS_URL", redis_server)
    monkeypatch.setenv("FORETASTE_ARTIFACTS_DIR", str(tmp_path / "artifacts"))
    redis.Redis.from_url(redis_server).flushall()
    return World(tmp_path, RedisStore(redis_server))


def send(world: World, dataset: str, first: int, number: int) -> list[Interaction]:
    """Send events: every third one names no user, until its session's last one does."""
    events = [
        Interaction(
            user_id=f"s{n % 5}" if n % 3 else f"u{n % 5}",
            session_id=f"s{n % 5}",
            item_id=f"i{n}" if n % 4 else None,
            event_type="Watch",
            event_value=n / 3,
            sent_at=1e9 + n / 7,
            event_id=str(n),
            properties={"DEVICE": f"tv {n}"},
        )
        for n in range(first, first + number)
    ]
    world.store.append_interactions(dataset, events, invocation=str(first))
    return events


def compact(dataset: str) -> int:
    return int(compaction_job.compact_events(dataset, 0, lambda progress: None, lambda: False)["events"])


def test_a_training_reads_the_same_before_and_after_a_compaction(world: World) -> None:
    dataset = world.dataset("Interactions")
    world.imported(dataset)
    version = world.version()

    def read_rows() -> list[object]:
        sources = world.finding(version).find_sources({})
        found = duckdb.sql(f"SELECT * FROM read_parquet('{sources.interactions.files[-1]}')").fetchall()
        (world.workspace / "live.parquet").unlink()
        return list(found)

    sent = send(world, dataset, 0, 20)
    before = read_rows()
    assert compact(dataset) == 20
    assert list(iter_live_events(world.store, world.artifacts, dataset)) == sent
    assert read_rows() == before
    sent += send(world, dataset, 20, 10)
    before = read_rows()
    assert compact(dataset) == 10
    assert read_rows() == before
    assert compact(dataset) == 0


def test_a_compaction_that_is_asked_to_stop_leaves_the_events(world: World) -> None:
    dataset = world.dataset("Interactions")
    sent = send(world, dataset, 0, 20)
    with pytest.raises(WorkStopped):
        compaction_job.compact_events(dataset, 0, lambda progress: None, lambda: True)
    assert list(iter_live_events(world.store, world.artifacts, dataset)) == sent


def test_a_damaged_file_is_named_and_new_events_move_all_the_same(world: World) -> None:
    dataset = world.dataset("Interactions")
    for first in (0, 20):
        send(world, dataset, first, 20)
        for path in world.artifacts.get_live_folder(dataset).glob("*.parquet"):
            path.write_bytes(path.read_bytes()[:-1])
        if first:
            with pytest.raises(WorkFailed, match=r"\.parquet with live events of .* is damaged"):
                compact(dataset)
        else:
            compact(dataset)
    assert [file.events for file in world.store.list_live_files(dataset)] == [20, 20]
    assert list(world.store.iter_interactions(dataset)) == []


def test_a_worker_starts_a_process_only_while_a_compaction_is_due(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []
    process = WorkerProcess("importing@test:1", Settings(live_events_most=3), world.store, *[None] * 3)  # type: ignore[arg-type]
    monkeypatch.setattr(tasks, "get_current_process", lambda: process)
    monkeypatch.setattr(tasks, "run_locked", lambda command, *_: begun.append(command.arn))
    dataset = world.dataset("Interactions")
    tasks.compact_events(CompactEvents(arn=dataset))
    send(world, dataset, 0, 2)
    tasks.compact_events(CompactEvents(arn=dataset))
    assert begun == []
    send(world, dataset, 2, 1)
    tasks.compact_events(CompactEvents(arn=dataset))
    assert begun == [dataset]
    process = replace(process, settings=Settings(live_events_most=4))
    tasks.compact_events(CompactEvents(arn=dataset))
    assert begun == [dataset]
