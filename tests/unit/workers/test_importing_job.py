"""The child process of an import, called in this one: what it takes, what it leaves out, and what it says of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest
import redis
import structlog.testing

from shared.jobs.entrypoint import WorkFailed
from shared.store.redis import RedisStore
from tests.unit.workers.world import PREFIX, World
from workers.importing import import_job

JOB = f"{PREFIX}:dataset-import-job/films"
#: Two of 90 prices are none, as in the films of AWS's tutorials.
PRICES = {3: "", 5: "2006–2007"}
FILMS = "ITEM_ID,PRICE\n" + "".join(f"i{n},{PRICES.get(n, n)}\n" for n in range(90))


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    bucket = tmp_path / "s3" / "films"
    (bucket / "folder").mkdir(parents=True)
    return bucket


@pytest.fixture
def world(tmp_path: Path, bucket: Path, redis_server: str, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("FORETASTE_REDIS_URL", redis_server)
    monkeypatch.setenv("FORETASTE_ARTIFACTS_DIR", str(tmp_path / "artifacts"))
    monkeypatch.setenv("FORETASTE_S3_FOLDER", str(bucket.parent))
    redis.Redis.from_url(redis_server).flushall()
    return World(tmp_path, RedisStore(redis_server))


def imported(
    world: World, key: str, mode: str = "FULL", table: str = "Items", name: str = "films"
) -> tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]:
    """The outcome, and what the log says of a job that has imported the file at ``key`` of the bucket."""
    dataset = f"{PREFIX}:dataset/g/{table.upper()}"
    if world.store.get(dataset) is None:
        assert world.dataset(table) == dataset
    job = JOB.replace("films", name)
    body = {"datasetArn": dataset, "dataSource": {"dataLocation": f"s3://films/{key}"}}
    world.put(job, "dataset_import_job", {**body, "importMode": mode})
    with structlog.testing.capture_logs() as logged:
        outcome = import_job.import_dataset(job, 1, lambda progress: None, lambda: False)
    return outcome, logged


def test_a_few_cells_that_cannot_be_read_are_null_and_said_in_the_outcome_and_the_log(
    world: World, bucket: Path
) -> None:
    (bucket / "items.csv").write_text(FILMS)
    outcome, logged = imported(world, "items.csv")
    first = [
        "items.csv line 5, column PRICE: the cell is empty, but the schema does not allow null.",
        'items.csv line 7, column PRICE: "2006–2007" is not a number.',
    ]
    assert outcome == {"rows": 90, "remarks": {"nulls": {"PRICE": 2}, "first": first}}
    assert [(line["nulls"], line["first"]) for line in logged if line["log_level"] == "warning"] == [
        ({"PRICE": 2}, first)
    ]
    nulls = duckdb.sql(f"SELECT ITEM_ID FROM '{world.file(JOB)}' WHERE PRICE IS NULL ORDER BY ITEM_ID").fetchall()
    assert nulls == [("i3",), ("i5",)]


def test_with_the_setting_at_0_it_is_as_strict_as_aws_says_it_is(
    world: World, bucket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORETASTE_IMPORT_UNREADABLE_SHARE", "0")
    (bucket / "items.csv").write_text(FILMS)
    with pytest.raises(WorkFailed, match=r"^2 errors\. items\.csv line 5, column PRICE: the cell is empty"):
        imported(world, "items.csv")


def test_what_stands_beside_the_data_of_a_folder_is_skipped_and_named(world: World, bucket: Path) -> None:
    (bucket / "folder" / "items.csv").write_text("ITEM_ID,PRICE\ni1,1\n")
    (bucket / "folder" / "items.csv.metadata").write_bytes(b"\x08\x01not a table")
    (bucket / "folder" / "README.md").write_text("# what this folder holds\n")
    outcome, logged = imported(world, "folder/")
    assert outcome == {"rows": 1, "remarks": {"skipped": ["README.md", "items.csv.metadata"]}}
    assert [line["skipped"] for line in logged if line["log_level"] == "warning"] == [
        ["README.md", "items.csv.metadata"]
    ]


def test_of_ordinary_data_nothing_is_remarked(world: World, bucket: Path) -> None:
    (bucket / "items.csv").write_text("ITEM_ID,PRICE\ni1,1\n")
    outcome, logged = imported(world, "items.csv")
    assert outcome == {"rows": 1, "remarks": {}}
    assert [line for line in logged if line["log_level"] == "warning"] == []


@pytest.mark.parametrize(
    ("mode", "advice"),
    [
        ("FULL", r"some of them, and the rest in mode INCREMENTAL, or raise FORETASTE_QUOTA_FULL_IMPORT_GB"),
        ("INCREMENTAL", r"them in several jobs, or raise FORETASTE_QUOTA_INCREMENTAL_IMPORT_GB"),
    ],
)
def test_files_beyond_the_quota_of_the_mode_are_refused(
    world: World, bucket: Path, monkeypatch: pytest.MonkeyPatch, mode: str, advice: str
) -> None:
    monkeypatch.setenv(f"FORETASTE_QUOTA_{mode}_IMPORT_GB", "1")
    for number in range(2):
        # Files with holes take no room on the disk.
        with (bucket / "folder" / f"{number}.csv").open("wb") as file:
            file.truncate(600 << 20)
    with pytest.raises(WorkFailed, match=rf"The files have 1\.2 GiB; an import in mode {mode} may have 1\. .*{advice}"):
        imported(world, "folder/", mode)


def test_the_least_number_of_interactions_is_a_setting(
    world: World, bucket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bucket / "events.csv").write_text("USER_ID,ITEM_ID,TIMESTAMP,DEVICE\nu,i,1,tv\nu,i,2,tv\nu,i,2,tv\n")
    with pytest.raises(WorkFailed, match="at least 1000 are needed"):
        imported(world, "events.csv", table="Interactions")
    monkeypatch.setenv("FORETASTE_IMPORT_MIN_INTERACTIONS", "2")
    assert imported(world, "events.csv", table="Interactions", name="second")[0]["rows"] == 2
