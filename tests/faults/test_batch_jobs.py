"""Batch jobs whose processes are killed: the result files are those of an undisturbed run, byte by byte."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import System, processes, start_system, stop_system
from tests.operations.conftest import ROLE, SMALL, Maker

#: Either the process of a job, or a worker, whose job process dies with it.
VICTIMS = ("workers.inference.batch_inference_job", "workers.inference.app")
SEGMENT_VICTIMS = ("workers.inference.batch_segment_job", "workers.inference.app")
SEGMENTS = "arn:aws:personalize:::recipe/aws-item-affinity"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    running = start_system(
        tmp_path_factory.mktemp("batch"),
        "--inference-workers",
        "2",
        FORETASTE_LEASE_SECONDS="2",
        FORETASTE_RING_AFTER_SECONDS="1",
        FORETASTE_MAX_ATTEMPTS="100",
        FORETASTE_BATCH_SHARD_LINES="250",
        FORETASTE_RETRAIN_ON_ALL_USERS="false",
    )
    yield running
    stop_system(running)


@pytest.fixture(scope="module")
def make(system: System) -> Maker:
    return Maker(system.personalize, system.folder)


@pytest.fixture(scope="module")
def version(make: Maker) -> str:
    group = make.group()
    job = make.imported(make.dataset(group), make.csv(rows=3000, users=150, items=40))
    assert job["status"] == "ACTIVE", job
    trained = make.trained(make.solution(group, solutionConfig=SMALL))
    assert trained["status"] == "ACTIVE", trained
    return str(trained["solutionVersionArn"])


def give_input(make: Maker, lines: int) -> str:
    """Return the bucket of two files with so many lines, some of which are no queries."""
    bucket = make.bucket()
    folder = make.folder / "s3" / bucket / "in"
    folder.mkdir()
    for name, first in (("one.json", 0), ("two.json", lines // 3)):
        last = lines // 3 if first == 0 else lines
        text = (f'{{"userId": "u{n % 200}"}}\n' if n % 100 else f"no query {n}\n" for n in range(first, last))
        (folder / name).write_text("".join(text))
    return bucket


def start_job(make: Maker, version: str, bucket: str, output: str) -> str:
    created = make.client.create_batch_inference_job(
        jobName=make.name(),
        solutionVersionArn=version,
        roleArn=ROLE,
        numResults=10,
        jobInput={"s3DataSource": {"path": f"s3://{bucket}/in/"}},
        jobOutput={"s3DataDestination": {"path": f"s3://{bucket}/{output}/"}},
    )
    return str(created["batchInferenceJobArn"])


def read_results(make: Maker, bucket: str, output: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (make.folder / "s3" / bucket / output).iterdir()}


def describe_job(make: Maker, arn: str) -> dict[str, Any]:
    found: dict[str, Any] = make.client.describe_batch_inference_job(batchInferenceJobArn=arn)["batchInferenceJob"]
    return found


def wait_for_end(make: Maker, arn: str) -> dict[str, Any]:
    return make.settled("batch_inference_job", "batchInferenceJob", arn, 300)


def kill_some(
    system: System,
    describe: Callable[[], dict[str, Any]],
    chance: random.Random,
    most: int,
    victims: Sequence[str] = VICTIMS,
) -> list[str]:
    """Kill processes at random moments of a job, at most so many; return their names."""
    killed: list[str] = []
    while len(killed) < most:
        if describe()["status"] not in ("CREATE PENDING", "CREATE IN_PROGRESS"):
            break
        time.sleep(chance.uniform(0.05, 0.8))  # the moment of the fault
        victim = chance.choice(victims)
        for pid in chance.sample(found := processes(system, victim), min(1, len(found))):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed.append(victim)
    return killed


def check_killed_job(system: System, make: Maker, version: str, lines: int, kills: int, seed: int) -> None:
    bucket = give_input(make, lines)
    undisturbed = wait_for_end(make, start_job(make, version, bucket, "undisturbed"))
    assert undisturbed["status"] == "ACTIVE", undisturbed
    expected = read_results(make, bucket, "undisturbed")
    assert sum(content.count(b"\n") for content in expected.values()) == lines
    arn = start_job(make, version, bucket, "killed")
    killed = kill_some(system, partial(describe_job, make, arn), random.Random(seed), kills)
    job = wait_for_end(make, arn)
    assert job["status"] == "ACTIVE", (job, seed)
    assert len(killed) == kills, (killed, seed)
    assert read_results(make, bucket, "killed") == expected, seed
    assert_nothing_is_left(make.folder, arn)


def assert_nothing_is_left(folder: Path, arn: str) -> None:
    """The workspace of a job is removed with its end."""
    name = arn.rpartition("/")[2]
    deadline = time.monotonic() + 20
    while left := [path for path in (folder / "artifacts" / "work").iterdir() if name in path.name]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def test_killed_processes_lose_and_double_no_line(system: System, make: Maker, version: str) -> None:
    check_killed_job(system, make, version, lines=12_000, kills=3, seed=1)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", [2, 3])
def test_twenty_kills_lose_and_double_no_line(system: System, make: Maker, version: str, seed: int) -> None:
    check_killed_job(system, make, version, lines=60_000, kills=20, seed=seed)


def test_both_workers_take_part(system: System, make: Maker, version: str) -> None:
    job = wait_for_end(make, start_job(make, version, give_input(make, 40_000), "out"))
    assert job["status"] == "ACTIVE", job
    logs = "".join(system.log(name) for name in ("inference", "inference-2"))
    answered = [line for line in logs.splitlines() if "shards answered for another worker" in line]
    assert any(job["batchInferenceJobArn"] in line and "shards=0" not in line for line in answered), answered


# Batch segment jobs


@pytest.fixture(scope="module")
def segment_version(make: Maker) -> str:
    """A version whose interactions were replaced after its training by those of 20,000 users."""
    group = make.group()
    dataset = make.dataset(group)
    assert make.imported(dataset, make.csv(rows=3000, users=150, items=40))["status"] == "ACTIVE"
    trained = make.trained(make.solution(group, SEGMENTS, solutionConfig=SMALL))
    assert trained["status"] == "ACTIVE", trained
    assert make.imported(dataset, make.csv(rows=60_000, users=20_000, items=40))["status"] == "ACTIVE"
    return str(trained["solutionVersionArn"])


def start_segment_job(make: Maker, version: str, bucket: str, output: str) -> str:
    created = make.client.create_batch_segment_job(
        jobName=make.name(),
        solutionVersionArn=version,
        roleArn=ROLE,
        numResults=15_000,
        jobInput={"s3DataSource": {"path": f"s3://{bucket}/in/"}},
        jobOutput={"s3DataDestination": {"path": f"s3://{bucket}/{output}/"}},
    )
    return str(created["batchSegmentJobArn"])


def wait_for_segments(make: Maker, arn: str) -> dict[str, Any]:
    return make.settled("batch_segment_job", "batchSegmentJob", arn, 300)


def describe_segments(make: Maker, arn: str) -> dict[str, Any]:
    found: dict[str, Any] = make.client.describe_batch_segment_job(batchSegmentJobArn=arn)["batchSegmentJob"]
    return found


def check_killed_segments(system: System, make: Maker, version: str, kills: int, seed: int) -> None:
    bucket = make.bucket()
    folder = make.folder / "s3" / bucket / "in"
    folder.mkdir()
    for name, items in (("one.json", range(20)), ("two.json", range(20, 60))):  # the model knows 40 items
        (folder / name).write_text("".join(f'{{"itemId": "i{item}"}}\n' for item in items))
    undisturbed = wait_for_segments(make, start_segment_job(make, version, bucket, "undisturbed"))
    assert undisturbed["status"] == "ACTIVE", undisturbed
    expected = read_results(make, bucket, "undisturbed")
    assert sum(content.count(b"\n") for content in expected.values()) == 60
    arn = start_segment_job(make, version, bucket, "killed")
    killed = kill_some(system, partial(describe_segments, make, arn), random.Random(seed), kills, SEGMENT_VICTIMS)
    job = wait_for_segments(make, arn)
    assert job["status"] == "ACTIVE", (job, seed)
    assert len(killed) == kills, (killed, seed)
    assert read_results(make, bucket, "killed") == expected, seed
    assert_nothing_is_left(make.folder, arn)


@pytest.mark.nightly
@pytest.mark.parametrize(("kills", "seed"), [(3, 1), (20, 2), (20, 3)])
def test_killed_processes_change_no_segment(
    system: System, make: Maker, segment_version: str, kills: int, seed: int
) -> None:
    check_killed_segments(system, make, segment_version, kills, seed)
