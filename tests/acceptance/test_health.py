"""A Celery process says that it lives, and whether it can work, whatever becomes of its Redis."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import urllib3

from services.cli.embedded_redis import binary
from services.cli.processes import BY_NAME
from tests.conftest import ROOT, free_port, until


@contextmanager
def redis_at(port: int, folder: Path) -> Iterator[None]:
    command = [str(binary()), "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", ""]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            yield
        finally:
            server.kill()


@contextmanager
def status_service(redis_port: int, metrics_port: int, folder: Path) -> Iterator[None]:
    environment = {
        **os.environ,
        "FORETASTE_REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
        "FORETASTE_DATA_DIR": str(folder),
        "FORETASTE_METRICS_BIND": f"127.0.0.1:{metrics_port}",
    }
    command = [sys.executable, "-m", *BY_NAME["status"].command]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=log) as process,
    ):
        try:
            yield
        finally:
            process.kill()


def test_it_lives_without_redis_and_is_ready_with_it(tmp_path: Path) -> None:
    redis_port, metrics_port = free_port(), free_port()

    def get(path: str) -> urllib3.BaseHTTPResponse | None:
        try:
            return urllib3.request("GET", f"http://127.0.0.1:{metrics_port}{path}", retries=False, timeout=5)
        except urllib3.exceptions.HTTPError:
            return None

    def says(path: str, status: int) -> bool:
        answer = get(path)
        return answer is not None and answer.status == status

    with status_service(redis_port, metrics_port, tmp_path):
        until(lambda: says("/healthz", 200), what="the process")
        assert says("/readyz", 503)
        with redis_at(redis_port, tmp_path):
            until(lambda: says("/readyz", 200), what="the process to find its Redis")
        until(lambda: says("/readyz", 503), what="the loss to be said")
        answer = get("/readyz")
        assert answer is not None
        assert answer.json()["checks"]["redis"] is False
        assert says("/healthz", 200)
        metrics = get("/metrics")
        assert metrics is not None
        assert b"process_resident_memory_bytes" in metrics.data
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert {line["process"] for line in lines} == {"status"}
