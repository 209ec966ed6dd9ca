"""The disk fills up under a running system: reads go on, writes say why not, and nothing acknowledged is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import pytest
import redis
import urllib3
from botocore.config import Config
from botocore.exceptions import ClientError

from services.cli.local.embedded_redis import find_binary, is_answering
from shared.jobs.celery_app import MessageQueue, build_outbox_entry, create_celery_app
from shared.settings import Settings
from shared.state.messages import Provision
from shared.store import Record, invalidation
from shared.store.cached_store import CachedStore
from shared.store.redis import PROMPT, RedisStore
from shared.store.redis_probe import RedisProbe
from tests.conftest import ROOT, System, free_port, processes, start_system, stop_system, until

MIB = 1024 * 1024


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 48 MiB. Who may mount, and continuous integration, must not pass without one."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(tmp_path)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0 and os.geteuid() != 0 and not os.environ.get("CI"):
        pytest.skip(f"a small disk can't be mounted here: {mounted.stderr}")
    assert mounted.returncode == 0, f"needs a small disk of its own, and root to mount it: {mounted.stderr}"
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


class Ballast:
    """Fills a disk but for what is left free (bytes), and empties it again."""

    def __init__(self, disk: Path) -> None:
        self._disk = disk
        self._path = disk / "ballast"

    def fill(self, left: int = 0) -> None:
        status = os.statvfs(self._disk)
        with self._path.open("ab", buffering=0) as file, suppress(OSError):
            file.write(b"\0" * max(0, status.f_bavail * status.f_frsize - left))
            while not left:
                file.write(b"\0")

    def empty(self) -> None:
        self._path.unlink(missing_ok=True)


def once(system: System, service: str) -> Any:
    """A client that tries once."""
    return boto3.client(
        service,
        endpoint_url=system.environment["AWS_ENDPOINT_URL_PERSONALIZE"],
        region_name=system.environment["AWS_REGION"],
        aws_access_key_id=system.environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=system.environment["AWS_SECRET_ACCESS_KEY"],
        config=Config(retries={"total_max_attempts": 1}),
    )


class Groups:
    """Creates dataset groups with numbers, and remembers which were acknowledged."""

    def __init__(self, system: System) -> None:
        self._client = once(system, "personalize")
        self._tried = 0
        self.acknowledged: set[str] = set()

    def create(self) -> ClientError | None:
        self._tried += 1
        try:
            self.acknowledged.add(self._client.create_dataset_group(name=f"g{self._tried}")["datasetGroupArn"])
        except ClientError as error:
            return error
        return None

    def refused(self) -> None:
        """A write is refused with 503, which says that there is no space."""
        error = self.create()
        assert error is not None
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 503
        assert error.response["Error"]["Code"] == "ServiceUnavailable"
        assert "no space left" in error.response["Error"]["Message"]

    def read(self) -> None:
        """Describe and List answer, and all that was acknowledged is there."""
        pages = self._client.get_paginator("list_dataset_groups").paginate()
        assert self.acknowledged <= {group["datasetGroupArn"] for page in pages for group in page["datasetGroups"]}
        arn = next(iter(self.acknowledged))
        assert self._client.describe_dataset_group(datasetGroupArn=arn)["datasetGroup"]["status"]


def test_reads_go_on_and_nothing_acknowledged_is_lost(disk: Path) -> None:
    port, ballast = free_port(), Ballast(disk)
    system = start_system(disk / "data", FORETASTE_MIN_FREE_MB="8", FORETASTE_METRICS_BIND=f"127.0.0.1:{port}")
    try:
        groups = Groups(system)
        workers = processes(system, "celery")

        def room() -> tuple[int, bool]:
            """What /readyz of the API says of the disk: the first process of the table is at the first port."""
            answer = urllib3.request("GET", f"http://127.0.0.1:{port}/readyz", retries=False, timeout=5)
            return answer.status, json.loads(answer.data)["checks"]["disk"]

        assert groups.create() is None
        assert room() == (200, True)

        # Little is left: refused before Redis notices anything.
        ballast.fill(left=4 * MIB)
        until(lambda: room() == (200, False), 10, "the disk to be named")
        groups.refused()
        groups.read()
        ballast.empty()
        until(lambda: groups.create() is None, 20, "writes to be taken again")

        # Full from one moment to the next, and Redis is killed over it: its first failed write is not acknowledged.
        ballast.fill()
        until(lambda: groups.create() is not None, 20, "a refusal")
        groups.refused()
        groups.read()
        for pid in processes(system, "valkey-server"):
            os.kill(pid, signal.SIGKILL)
        ballast.empty()
        until(lambda: groups.create() is None, 30, "writes to be taken again")
        groups.read()

        # Full for a while: nothing ends, though neither a line of a log nor a message can be written.
        ballast.fill()
        until(lambda: groups.create() is not None, 20, "a refusal")
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            groups.read()
        groups.refused()
        assert room() == (200, False)
        metrics = urllib3.request("GET", f"http://127.0.0.1:{port}/metrics", retries=False, timeout=5).data
        assert b"foretaste_writes_taken 0.0" in metrics
        assert set(workers) <= set(processes(system, "celery"))
        ballast.empty()
        until(lambda: groups.create() is None, 20, "writes to be taken again")
        newest = once(system, "personalize")
        until(
            lambda: all(
                newest.describe_dataset_group(datasetGroupArn=arn)["datasetGroup"]["status"] == "ACTIVE"
                for arn in groups.acknowledged
            ),
            30,
            "the work to go on",
        )
    finally:
        ballast.empty()
        stop_system(system)


def test_up_on_a_full_disk_says_so(disk: Path) -> None:
    ballast = Ballast(disk)
    (disk / "data").mkdir()
    ballast.fill()
    command = [Path(sys.executable).with_name("foretaste"), "up", "--data-dir", str(disk / "data"), "--port", "0"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "No space left on device" in ended.stderr
    assert "Make room" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_whoever_reads_goes_on_beside_a_redis_that_can_not_write(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even PING is answered by such a one."""
    monkeypatch.setattr(invalidation, "SILENCE", 0.0)
    port, ballast = free_port(), Ballast(disk)
    url = f"redis://127.0.0.1:{port}/0"
    options = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(disk), "--appendonly", "yes", "--save", ""]
    with subprocess.Popen([str(find_binary()), *options], stdout=subprocess.DEVNULL) as server:
        try:
            probe = RedisProbe(url)
            until(probe.is_answering, 10, "Redis")
            store, waiting = RedisStore(url), MessageQueue(create_celery_app(Settings(redis_url=url)))
            store.create(Record(arn="arn:a", kind="solution", created=1.0, updated=1.0), invocation="1")
            held = CachedStore(RedisStore(url, PROMPT), store)
            assert held.get("arn:a") is not None
            ballast.fill()
            with suppress(redis.exceptions.ResponseError):
                for number in range(3):
                    store.add_to_outbox(build_outbox_entry(Provision(arn="x" * 10_000 + str(number))))
            with pytest.raises(redis.exceptions.ResponseError, match="MISCONF"):
                redis.Redis.from_url(url).ping()
            for reader in (held, CachedStore(RedisStore(url, PROMPT), store), RedisStore(url)):
                assert reader.get("arn:a") is not None
            assert (waiting.count_waiting("status"), probe.is_answering(), probe.has_disk_space()) == (0, True, False)
            assert is_answering(url)
        finally:
            server.kill()
