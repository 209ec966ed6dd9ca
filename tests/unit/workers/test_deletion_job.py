"""The job process of a data deletion job, called in this one: what it deletes, what it waits for, and its failures."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
import redis

from shared.data.live_events import iter_live_events
from shared.jobs.entrypoint import WorkFailed, WorkPostponed, WorkStopped
from shared.recipes import RECIPES
from shared.recipes.artifact import Artifact
from shared.resources import ResourceReader
from shared.resources.dataset_group.purges import count_purges
from shared.serving.snapshots import SnapshotCache
from shared.settings import Settings
from shared.state.lifecycle import ACTIVE, CREATE_IN_PROGRESS, CREATE_PENDING, IN_PROGRESS
from shared.store import Interaction, PutRecord
from shared.store.redis import RedisStore
from tests.recipes.test_artifact import described, written
from tests.unit.workers.world import GROUP, PREFIX, SOLUTION, World
from workers.importing import deletion_job

JOB = f"{PREFIX}:data-deletion-job/out"
VERSION = f"{SOLUTION}/0a1b2c3d"
#: Of the users of the made-up artifact: see tests/recipes/test_artifact.py.
GONE = "émile"
EVENTS = f"""SELECT * FROM (VALUES ('anna', 'x', 1), ('{GONE}', 'y', 2), ('{GONE}', 'z', 3), ('zoë', 'x', 4))
             AS t(USER_ID, ITEM_ID, TIMESTAMP)"""
PEOPLE = f"SELECT * FROM (VALUES ('anna', 7), ('{GONE}', 8)) AS t(USER_ID, AGE)"
RUNTIME = "runtime@here:1"


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    bucket = tmp_path / "s3" / "users"
    (bucket / "folder" / "more").mkdir(parents=True)
    (bucket / "folder" / "a.csv").write_text(f"USER_ID\nstranger\n{GONE}\n")
    (bucket / "folder" / "more" / "b.csv").write_text(f'USER_ID,WHY\n"{GONE}",asked\n')
    return bucket


@pytest.fixture
def world(tmp_path: Path, bucket: Path, redis_server: str, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("FORETASTE_REDIS_URL", redis_server)
    monkeypatch.setenv("FORETASTE_ARTIFACTS_DIR", str(tmp_path / "artifacts"))
    monkeypatch.setenv("FORETASTE_S3_FOLDER", str(bucket.parent))
    redis.Redis.from_url(redis_server).flushall()
    return World(tmp_path, RedisStore(redis_server))


def event(user: str, session: str = "s", event_id: str | None = None, item: str = "x") -> Interaction:
    return Interaction(
        user_id=user,
        session_id=session,
        item_id=item,
        event_type="view",
        event_value=None,
        sent_at=10.0,
        event_id=event_id,
    )


#: Those of the user: two by name, and one from before the session's user was known.
LIVE = [
    event("anna", "s-anna"),
    event("session-1", "session-1", "seen-first"),
    event(GONE, "session-1", "seen-second"),
    event("session-2", "session-2"),
    event(GONE, "session-3"),
    event("anna", "session-3"),
]
DELETED = 2 * 2 + 1 + 3 + 1
"""Two imports of interactions, one of users, live events, a put record."""


def filled(world: World) -> None:
    """A group with data of the user at every place, and a model that knows the user."""
    interactions, people = world.dataset("Interactions"), world.dataset("Users")
    world.imported(world.dataset("Items"), rows="SELECT 'x' AS ITEM_ID, 1::FLOAT AS PRICE")
    for rows in (EVENTS, EVENTS.replace("'x', 1", "'x', 9")):
        world.imported(interactions, rows=rows)
    world.imported(people, rows=PEOPLE)
    world.store.append_interactions(interactions, LIVE, invocation="1")
    put = [PutRecord(id=id_, properties={"AGE": 9}, at=50.0) for id_ in (GONE, "anna")]
    world.store.save_put_records(people, put, invocation="2")
    body = {"datasetGroupArn": GROUP, "recipeArn": RECIPES["aws-hrnn"].arn}
    world.put(VERSION, "solution_version", body, parents=(SOLUTION,))
    with world.artifacts.fill_artifact(VERSION, 1) as folder:
        written(folder, described())


def requested(world: World, location: str = "s3://users/folder/") -> None:
    world._imports = 100  # the time of the request
    body = {"datasetGroupArn": GROUP, "dataSource": {"dataLocation": location}}
    world.put(JOB, "data_deletion_job", body, IN_PROGRESS, parents=(GROUP,))


def run(should_stop: Callable[[], bool] = lambda: False) -> int:
    return int(deletion_job.delete_users(JOB, 1, lambda progress: None, should_stop)["numDeleted"])


def find_traces(world: World) -> Iterator[str]:
    """The names of files and keys that hold the user's id, or a trace of one of the user's events."""
    words = [word.encode() for word in (GONE, "session-1", "seen-first", "seen-second")]
    for path in world.artifacts_root.rglob("*"):
        if path.is_file() and any(word in path.read_bytes() or word in str(path).encode() for word in words):
            yield str(path)
    client: Any = world.store._redis
    yield from find_in_redis(client, words)


def find_in_redis(client: Any, words: list[bytes]) -> Iterator[str]:
    readers = {
        "string": client.get,
        "hash": client.hgetall,
        "list": lambda key: client.lrange(key, 0, -1),
        "set": client.smembers,
        "zset": lambda key: client.zrange(key, 0, -1),
        "stream": lambda key: client.xrange(key),
    }
    for key in client.scan_iter():
        text = f"{key} {readers[client.type(key)](key)}"
        if any(word.decode() in text for word in words):
            yield key


def test_every_trace_of_the_users_is_deleted_and_all_else_stays(world: World) -> None:
    filled(world)
    requested(world)
    assert len(list(find_traces(world))) > 10
    assert run() == DELETED
    world.artifacts.discard_workspace(JOB)  # as the worker does
    assert list(find_traces(world)) == []
    [first, second] = [world.file(f"{PREFIX}:dataset-import-job/{n}") for n in (2, 3)]
    assert duckdb.sql(f"SELECT * FROM '{first}'").fetchall() == [("anna", "x", 1), ("zoë", "x", 4)]
    assert duckdb.sql(f"SELECT * FROM '{second}'").fetchall() == [("anna", "x", 9), ("zoë", "x", 4)]
    interactions = f"{PREFIX}:dataset/g/INTERACTIONS"
    left = iter_live_events(world.store, world.artifacts, interactions)
    assert [(one.user_id, one.session_id) for one in left] == [
        ("anna", "s-anna"),
        ("session-2", "session-2"),
        ("anna", "session-3"),
    ]
    assert [one.id for one in world.store.iter_put_records(f"{PREFIX}:dataset/g/USERS")] == ["anna"]
    model = Artifact.open(world.artifacts.open_artifact(VERSION), ("aws-hrnn",))
    assert model.get_history(GONE) == []
    assert len(model.get_history("anna")) == 2
    assert count_purges(GROUP, world.store) == 1


def test_users_that_nobody_knows_are_no_records(world: World, bucket: Path) -> None:
    filled(world)
    (bucket / "one.csv").write_text("USER_ID\nstranger\n")
    requested(world, "s3://users/one.csv")
    digest = world.artifacts.compute_digest(VERSION)
    assert run() == 0
    assert world.artifacts.compute_digest(VERSION) == digest


def test_a_group_without_data_has_nothing_to_delete(world: World) -> None:
    requested(world)
    assert run() == 0


def test_imports_that_are_requested_later_stay(world: World) -> None:
    filled(world)
    requested(world)
    world._imports = 200
    later = world.imported(f"{PREFIX}:dataset/g/INTERACTIONS", "INCREMENTAL", EVENTS)
    assert run() == DELETED
    assert duckdb.sql(f"SELECT count(*) FROM '{world.file(later)}'").fetchall() == [(4,)]


@pytest.mark.parametrize("kind", ["dataset_import_job", "data_deletion_job"])
def test_it_waits_for_earlier_imports_and_deletions(world: World, kind: str) -> None:
    filled(world)
    other = f"{PREFIX}:other/1"
    body = {"datasetGroupArn": GROUP, "importMode": "FULL"}
    world.put(other, kind, body, CREATE_IN_PROGRESS, parents=(f"{PREFIX}:dataset/g/USERS",))
    requested(world)
    with pytest.raises(WorkPostponed):
        run()
    end(world, other)
    assert run() == DELETED


def end(world: World, arn: str) -> None:
    record = world.store.get(arn)
    assert record is not None
    world.store.replace(replace(record, status="CREATE FAILED"))


def test_a_training_that_may_have_read_the_data_ends_first_and_loses_the_users(world: World) -> None:
    filled(world)
    training = f"{SOLUTION}/ffffffff"
    body = {"datasetGroupArn": GROUP, "recipeArn": RECIPES["aws-hrnn"].arn}
    world.put(training, "solution_version", body, CREATE_IN_PROGRESS, parents=(SOLUTION,))
    waiting = f"{SOLUTION}/eeeeeeee"
    world.put(waiting, "solution_version", body, CREATE_PENDING, parents=(SOLUTION,))
    (world.artifacts.create_workspace(training) / "ids").write_text(GONE)
    requested(world)
    for _ in range(2):
        with pytest.raises(WorkPostponed):
            run()
    # The records are gone by now: a training that begins later can't read them, and need not be waited for.
    assert not list(find_in_redis(world.store._redis, [GONE.encode()]))  # type: ignore[attr-defined]
    world.put(f"{SOLUTION}/dddddddd", "solution_version", body, CREATE_IN_PROGRESS, parents=(SOLUTION,))
    with world.artifacts.fill_artifact(training, 1) as folder:
        written(folder, described())
    record = world.store.get(training)
    assert record is not None
    world.store.replace(replace(record, status=ACTIVE))
    assert run() == DELETED
    assert Artifact.open(world.artifacts.open_artifact(training), ("aws-hrnn",)).get_history(GONE) == []
    world.artifacts.discard_workspace(JOB)
    assert list(find_traces(world)) == []


def test_it_waits_until_every_runtime_has_read_its_models_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deletion_job, "PATIENCE", 0.0)
    filled(world)
    requested(world)
    world.store.send_heartbeat(RUNTIME, 600.0)
    world.store.report_purges(RUNTIME, {GROUP: 0}, 600.0)
    with pytest.raises(WorkPostponed):
        run()
    world.store.report_purges(RUNTIME, {GROUP: 1}, 600.0)
    assert run() == DELETED


def test_snapshots_of_the_old_data_are_removed(world: World) -> None:
    filled(world)
    reader = ResourceReader(world.store, Settings(import_memory_mb=256))
    snapshots = SnapshotCache(reader, world.store, world.artifacts)
    assert snapshots.open_rows(f"{PREFIX}:dataset/g/USERS") is not None
    assert snapshots.open_event_index(f"{PREFIX}:dataset/g/INTERACTIONS") is not None
    requested(world)
    assert run() == DELETED
    world.artifacts.discard_workspace(JOB)
    assert list(find_traces(world)) == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("ID\nanna\n", r"The header of one\.csv has no column USER_ID"),
        ("USER_ID,user_id\nanna,b\n", r"names USER_ID more than once"),
        ("USER_ID\n", r"There are no ids in the column USER_ID of one\.csv"),
        ("", r"one\.csv is empty"),
        ('USER_ID\n"anna\nzoë\n', r"one\.csv"),
        (b"USER_ID\n\xff\xfe\n", r"one\.csv can't be read as CSV"),
    ],
)
def test_files_that_name_no_users_are_a_reason(world: World, bucket: Path, content: str | bytes, reason: str) -> None:
    filled(world)
    (bucket / "one.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    requested(world, "s3://users/one.csv")
    with pytest.raises(WorkFailed, match=reason):
        run()


def test_files_that_are_too_large_together_are_a_reason(
    world: World, bucket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORETASTE_DATA_DELETION_MB", "1")
    filled(world)
    for name in ("x", "y"):
        (bucket / "folder" / f"{name}.csv").write_text("USER_ID\n" + f"{name * 99}\n" * 6000)
    requested(world)
    with pytest.raises(WorkFailed, match=r"have 1\.1 MiB together; at most 1 MiB are read"):
        run()


def test_a_missing_location_is_a_reason(world: World) -> None:
    requested(world, "s3://users/nowhere.csv")
    with pytest.raises(WorkFailed, match="There is nothing at"):
        run()


def kept_files(world: World) -> dict[str, bytes]:
    """The contents of all models and imports: Parquet files by their rows."""
    found = {}
    for path in sorted((world.artifacts_root / "kept").rglob("*")):
        if path.suffix == ".parquet":
            found[str(path)] = repr(duckdb.sql(f"SELECT * FROM '{path}'").fetchall()).encode()
        elif path.is_file() and path.name != "manifest.json":
            found[str(path)] = path.read_bytes()
    return found


class Counter:
    """Counts the steps of a job, and asks it to stop after ``most`` of them."""

    def __init__(self, most: int | None = None) -> None:
        self.steps, self._most = 0, most

    def __call__(self) -> bool:
        self.steps += 1
        return self._most is not None and self.steps > self._most


def test_an_attempt_that_was_cut_off_anywhere_is_completed_with_the_same_number(world: World) -> None:
    filled(world)
    requested(world)
    whole = Counter()
    assert run(whole) == DELETED
    expected = kept_files(world)
    for cut in range(1, whole.steps, max(whole.steps // 12, 1)):
        redis.Redis.from_url(world.store._url).flushall()  # type: ignore[attr-defined]
        shutil.rmtree(world.artifacts_root)
        world._imports = 0
        world.put(GROUP, "dataset_group", {"name": "g"})
        world.solution()
        filled(world)
        requested(world)
        with pytest.raises(WorkStopped):
            run(Counter(cut))
        assert run() == DELETED
        assert kept_files(world) == expected
        world.artifacts.discard_workspace(JOB)
        assert list(find_traces(world)) == []
