"""Exports and deletions of users whose processes are killed: the result is that of an undisturbed run.

The job processes are real, and are started as a worker starts them. ``test_runner.py`` and ``test_faults.py`` have what
a worker and the reconciler do after a death.
"""

from __future__ import annotations

import queue
import random
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import pytest
import redis

from shared.jobs.subprocess_pool import JobProcess
from shared.recipes import RECIPES
from shared.state.lifecycle import CREATE_IN_PROGRESS, IN_PROGRESS
from shared.state.messages import DeleteUsers, ExportDataset
from shared.store import PutRecord
from shared.store.redis import RedisStore
from tests.recipes.test_artifact import described, written
from tests.unit.workers import test_deletion_job
from tests.unit.workers.test_deletion_job import GONE, event, find_traces, kept_files
from tests.unit.workers.world import GROUP, PREFIX, SOLUTION, World

EXPORT, DELETION = f"{PREFIX}:dataset-export-job/out", test_deletion_job.JOB
INTERACTIONS, USERS = f"{PREFIX}:dataset/g/INTERACTIONS", f"{PREFIX}:dataset/g/USERS"
#: Every seventh event is of the user who is deleted.
EVENTS = f"""SELECT CASE WHEN i % 7 = 0 THEN '{GONE}' ELSE 'u' || i % 997 END AS USER_ID, 'i' || i % 89 AS ITEM_ID,
                    i AS TIMESTAMP, 'tv' AS DEVICE
             FROM range(200_000) AS t(i) ORDER BY USER_ID, TIMESTAMP"""


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    bucket = tmp_path / "s3" / "bucket"
    bucket.mkdir(parents=True)
    (bucket / "users.csv").write_text(f"USER_ID\nstranger\n{GONE}\n")
    return bucket


@pytest.fixture
def fill(
    tmp_path: Path, bucket: Path, redis_server: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], World]]:
    """Makes the same group, in an empty store and an empty folder, as often as it is called."""
    monkeypatch.setenv("FORETASTE_REDIS_URL", redis_server)
    monkeypatch.setenv("FORETASTE_ARTIFACTS_DIR", str(tmp_path / "world" / "artifacts"))
    monkeypatch.setenv("FORETASTE_S3_FOLDER", str(bucket.parent))
    monkeypatch.setenv("FORETASTE_EXPORT_FILE_MB", "1")
    monkeypatch.setenv("FORETASTE_IMPORT_MEMORY_MB", "256")

    def make() -> World:
        redis.Redis.from_url(redis_server).flushall()
        shutil.rmtree(tmp_path / "world", ignore_errors=True)
        (tmp_path / "world").mkdir()
        world = World(tmp_path / "world", RedisStore(redis_server))
        fill_group(world)
        return world

    yield make
    redis.Redis.from_url(redis_server).flushall()


def fill_group(world: World) -> None:
    interactions, people = world.dataset("Interactions"), world.dataset("Users")
    for first in (0, 1):
        world.imported(interactions, "INCREMENTAL" if first else "FULL", EVENTS.replace("'i' ||", f"'i{first}' ||"))
    world.imported(people, rows=f"SELECT * FROM (VALUES ('anna', 7), ('{GONE}', 8)) AS t(USER_ID, AGE)")
    for part in range(6):
        sent = [event(GONE if n % 3 == 0 else f"u{n}", f"s{n % 50}", f"e{part}-{n}") for n in range(1000)]
        world.store.append_interactions(interactions, sent, invocation=str(part))
    put = [PutRecord(id=GONE if n == 0 else f"u{n}", properties={"AGE": n}, at=50.0) for n in range(500)]
    world.store.save_put_records(people, put, invocation="put")
    body = {"datasetGroupArn": GROUP, "recipeArn": RECIPES["aws-hrnn"].arn}
    world.put(test_deletion_job.VERSION, "solution_version", body, parents=(SOLUTION,))
    with world.artifacts.fill_artifact(test_deletion_job.VERSION, 1) as folder:
        written(folder, described())
    world._imports = 100
    output = {"jobOutput": {"s3DataDestination": {"path": "s3://bucket/out"}}}
    asked = {"jobName": "out", "datasetArn": interactions, "ingestionMode": "ALL", **output}
    world.put(EXPORT, "dataset_export_job", asked, CREATE_IN_PROGRESS, parents=(interactions,))


def request_deletion(world: World) -> None:
    """Ask for the deletion, which would wait for the export."""
    found = world.store.get(EXPORT)
    assert found is not None
    world.store.remove(found)
    body = {"datasetGroupArn": GROUP, "dataSource": {"dataLocation": "s3://bucket/users.csv"}}
    world.put(DELETION, "data_deletion_job", body, IN_PROGRESS, parents=(GROUP,))


def run_job(module: str, wire: str, arn: str, kill_after: float | None = None) -> Mapping[str, Any] | None:
    """Return the outcome of a job in a process of its own; None where the process was killed before its end."""
    process = JobProcess(module)
    began: float | None = None
    process.submit(wire, arn, 1)
    try:
        while True:
            if kill_after is not None and began is not None and time.monotonic() - began >= kill_after:
                return None
            try:
                answer = process.receive(0.01)
            except queue.Empty:
                continue
            assert answer is not None, "the process died by itself"
            began = began or time.monotonic()  # the job has begun: its imports take longer than the rest
            assert "failed" not in answer, answer
            if "finished" in answer:
                return dict(answer["finished"])
    finally:
        process.kill()
        process.wait_or_kill()


def run_with_kills(module: str, wire: str, arn: str, seed: int, kills: int, seconds: float) -> Mapping[str, Any]:
    """Run a job whose process is killed at random moments; ``seconds`` is how long it takes undisturbed."""
    chance, killed = random.Random(seed), 0
    while killed < kills:
        outcome = run_job(module, wire, arn, chance.uniform(0.0, seconds))
        if outcome is not None:
            return outcome
        killed += 1
    outcome = run_job(module, wire, arn)
    assert outcome is not None
    return outcome


def check_export(fill: Callable[[], World], bucket: Path, seed: int, kills: int) -> None:
    fill()
    module, wire = "workers.importing.export_job", ExportDataset.wire
    began = time.monotonic()
    expected = run_job(module, wire, EXPORT)
    seconds = time.monotonic() - began
    files = {path.name: path.read_bytes() for path in (bucket / "out").iterdir()}
    assert expected is not None
    assert (len(files), expected["files"] > 3) == (expected["files"], True)
    shutil.rmtree(bucket / "out")
    fill()
    assert run_with_kills(module, wire, EXPORT, seed, kills, seconds) == expected, seed
    # A draft of a process that was killed while it copied has another name than any result.
    results = {path.name: path.read_bytes() for path in (bucket / "out").iterdir() if not path.name.startswith(".")}
    assert results == files, seed


def check_deletion(fill: Callable[[], World], seed: int, kills: int) -> None:
    module, wire = "workers.importing.deletion_job", DeleteUsers.wire
    world = fill()
    [(imported,)] = duckdb.sql(f"SELECT count(*) FROM ({EVENTS}) WHERE USER_ID = '{GONE}'").fetchall()
    request_deletion(world)
    began = time.monotonic()
    expected = run_job(module, wire, DELETION)
    seconds = time.monotonic() - began
    assert expected == {"numDeleted": 2 * imported + 1 + 6 * 334 + 1}
    kept = kept_files(world)
    world = fill()
    request_deletion(world)
    assert run_with_kills(module, wire, DELETION, seed, kills, seconds) == expected, seed
    assert kept_files(world) == kept, seed
    world.artifacts.discard_workspace(DELETION)
    assert list(find_traces(world)) == [], seed


def test_a_killed_export_ends_with_the_files_of_an_undisturbed_one(fill: Callable[[], World], bucket: Path) -> None:
    check_export(fill, bucket, seed=1, kills=3)


def test_a_killed_deletion_ends_as_an_undisturbed_one(fill: Callable[[], World]) -> None:
    check_deletion(fill, seed=1, kills=3)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(2, 4))
def test_an_export_that_is_killed_twenty_times(fill: Callable[[], World], bucket: Path, seed: int) -> None:
    check_export(fill, bucket, seed, kills=20)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(2, 4))
def test_a_deletion_that_is_killed_twenty_times(fill: Callable[[], World], seed: int) -> None:
    check_deletion(fill, seed, kills=20)
