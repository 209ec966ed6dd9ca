"""The job process of an export, called in this one: which records it writes, under which names, and its failures."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from shared.jobs.entrypoint import WorkFailed, WorkStopped
from shared.state.lifecycle import CREATE_IN_PROGRESS, DELETE_PENDING
from shared.store import Interaction, PutRecord
from shared.store.redis import RedisStore
from tests.unit.workers.world import PREFIX, World
from workers.importing import export_job

JOB = f"{PREFIX}:dataset-export-job/out"
EVENTS = "SELECT 'u1' AS USER_ID, 'i1' AS ITEM_ID, 10 AS TIMESTAMP, 'tv' AS DEVICE"
PRICES = "SELECT 'i1' AS ITEM_ID, 1.5::FLOAT AS PRICE UNION ALL SELECT 'i2', 2 ORDER BY ITEM_ID"


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    bucket = tmp_path / "s3" / "films"
    bucket.mkdir(parents=True)
    return bucket


@pytest.fixture
def world(tmp_path: Path, bucket: Path, redis_server: str, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("FORETASTE_REDIS_URL", redis_server)
    monkeypatch.setenv("FORETASTE_ARTIFACTS_DIR", str(tmp_path / "artifacts"))
    monkeypatch.setenv("FORETASTE_S3_FOLDER", str(bucket.parent))
    redis.Redis.from_url(redis_server).flushall()
    return World(tmp_path, RedisStore(redis_server))


def requested(world: World, dataset: str, mode: str, path: str = "s3://films/out/") -> None:
    body = {"jobName": "out", "datasetArn": dataset, "ingestionMode": mode}
    output = {"jobOutput": {"s3DataDestination": {"path": path}}}
    world.put(JOB, "dataset_export_job", {**body, **output}, CREATE_IN_PROGRESS, parents=(dataset,))


def run(should_stop: Callable[[], bool] = lambda: False) -> Any:
    return export_job.export_dataset(JOB, 1, lambda progress: None, should_stop)


def exported(world: World, dataset: str, mode: str, bucket: Path) -> list[list[str]]:
    """The rows of the files that an export has written."""
    requested(world, dataset, mode)
    outcome = run()
    files = sorted((bucket / "out").iterdir())
    assert outcome["files"] == len(files)
    rows = []
    for file in files:
        with file.open(newline="") as opened:
            rows += list(csv.reader(opened))[1:]
    assert outcome["rows"] == len(rows)
    return rows


def event(user: str, item: str | None, at: float, **properties: Any) -> Interaction:
    return Interaction(
        user_id=user,
        session_id=f"s-{user}",
        item_id=item,
        event_type="view",
        event_value=None,
        sent_at=at,
        properties=properties,
    )


@pytest.fixture
def interactions(world: World) -> str:
    dataset = world.dataset("Interactions")
    world.imported(dataset, rows=EVENTS)
    sent = [event("u2", "i9", 5), event("u1", "i1", 10, DEVICE="tv"), event("u1", "i1", 10.5), event("u3", None, 11)]
    world.store.append_interactions(dataset, sent, invocation="i")
    return dataset


@pytest.mark.parametrize(
    ("mode", "rows"),
    [
        ("BULK", [["u1", "i1", "10", "tv"]]),
        ("PUT", [["u1", "i1", "10", "tv"], ["u1", "i1", "10", ""], ["u2", "i9", "5", ""]]),
        ("ALL", [["u1", "i1", "10", "tv"], ["u1", "i1", "10", ""], ["u2", "i9", "5", ""]]),
    ],
)
def test_a_mode_chooses_imported_events_sent_ones_or_both_without_repeats(
    world: World, interactions: str, mode: str, rows: list[list[str]], bucket: Path
) -> None:
    assert exported(world, interactions, mode, bucket) == rows


@pytest.mark.parametrize(
    ("mode", "rows"),
    [
        ("BULK", [["i1", "7.0"], ["i2", "2.0"]]),
        ("PUT", [["i0", "4.0"], ["i1", "9.0"], ["i2", "3.0"]]),
        ("ALL", [["i0", "4.0"], ["i1", "9.0"], ["i2", "2.0"]]),
    ],
)
def test_of_items_the_newest_version_is_exported(world: World, mode: str, rows: list[list[str]], bucket: Path) -> None:
    items = world.dataset("Items")
    for arn, at, sql in (("1", 10.0, PRICES), ("2", 20.0, "SELECT 'i1' AS ITEM_ID, 7::FLOAT AS PRICE")):
        world._imports = int(at) - 1  # the time of the request
        assert world.imported(items, "INCREMENTAL" if arn == "2" else "FULL", sql)
    sent = [
        PutRecord(id="i0", properties={"PRICE": 4.0}, at=30.0),
        PutRecord(id="i1", properties={"PRICE": 9.0}, at=30.0),
        PutRecord(id="i2", properties={"PRICE": 3.0}, at=5.0),  # before the import
    ]
    world.store.save_put_records(items, sent, invocation="p")
    assert exported(world, items, mode, bucket) == rows


def test_nothing_to_export_is_a_file_with_the_header_alone(world: World, bucket: Path) -> None:
    assert exported(world, world.dataset("Users"), "PUT", bucket) == []
    [file] = (bucket / "out").iterdir()
    assert file.read_text() == "USER_ID,AGE\n"
    assert file.name == "out-19700101T000000000Z-00000.csv"


def test_files_are_of_bounded_size(world: World, bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORETASTE_EXPORT_FILE_MB", "1")
    dataset = world.dataset("Interactions")
    world.imported(
        dataset, rows="SELECT printf('u%06d', i) AS USER_ID, 'i' AS ITEM_ID, i AS TIMESTAMP FROM range(200000) t(i)"
    )
    assert len(exported(world, dataset, "BULK", bucket)) == 200_000
    sizes = [file.stat().st_size for file in (bucket / "out").iterdir()]
    assert len(sizes) > 2
    assert max(sizes) < 2 << 20


def test_an_attempt_that_was_cut_off_is_repeated_with_the_same_records_and_names(
    world: World, interactions: str, bucket: Path
) -> None:
    requested(world, interactions, "ALL")
    calls = 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        return calls > 8

    with pytest.raises(WorkStopped):
        run(stop)
    # What comes between the attempts belongs to a later export.
    world.store.append_interactions(interactions, [event("u7", "i7", 7)], invocation="later")
    world.imported(interactions, rows=EVENTS.replace("u1", "u8"))
    run()
    [file] = (bucket / "out").iterdir()
    whole = file.read_bytes()
    assert b"u7" not in whole
    assert b"u8" not in whole
    run()
    assert [each.read_bytes() for each in (bucket / "out").iterdir()] == [whole]


@pytest.mark.parametrize("path", ["s3://missing/out", "s3://films/../out"])
def test_a_bucket_that_can_not_be_written_is_a_reason(world: World, interactions: str, path: str) -> None:
    requested(world, interactions, "BULK", path)
    with pytest.raises(WorkFailed, match="Invalid Data location"):
        run()


def test_a_dataset_that_is_deleted_in_the_meantime_is_a_reason(world: World, bucket: Path) -> None:
    dataset = world.dataset("Items")
    requested(world, dataset, "PUT")
    found = world.store.get(dataset)
    assert found is not None
    world.store.remove(found)
    with pytest.raises(WorkFailed, match=f"The dataset {dataset} was deleted while it was exported"):
        run()
    world.put(dataset, "dataset", found.body, DELETE_PENDING, parents=found.parents)
    with pytest.raises(WorkFailed, match="was deleted while it was exported"):
        run()
    assert not (bucket / "out").exists()


def test_a_damaged_import_is_a_reason(world: World) -> None:
    dataset = world.dataset("Items")
    world.file(world.imported(dataset, rows=PRICES)).write_bytes(b"PAR1")
    requested(world, dataset, "BULK")
    with pytest.raises(WorkFailed, match=r"rows\.parquet of the artifact of .* is missing or cut short"):
        run()
