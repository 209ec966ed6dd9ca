"""A Celery process says that it lives, and whether it can work, whatever becomes of its Redis."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import redis
import urllib3

from services.cli.local.embedded_redis import find_binary
from services.cli.local.processes import BY_NAME
from tests.conftest import ROOT, free_port, until


@contextmanager
def redis_at(port: int, folder: Path) -> Iterator[None]:
    command = [str(find_binary()), "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", ""]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            yield
        finally:
            server.kill()


@contextmanager
def service(name: str, redis_port: int, metrics_port: int, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        **os.environ,
        "FORETASTE_REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
        "FORETASTE_DATA_DIR": str(folder),
        "FORETASTE_METRICS_BIND": f"127.0.0.1:{metrics_port}",
    }
    command = [sys.executable, "-m", *BY_NAME[name].command]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=log) as process,
    ):
        try:
            yield process
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

    with service("status", redis_port, metrics_port, tmp_path):
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


def malformed() -> list[bytes]:
    """What may lie on a queue and is no message: no envelope, no body, no arguments, no task."""

    def envelope(text: bytes, **more: Any) -> bytes:
        headers = {"lang": "py", "task": "status.provision", "id": "x", **more.pop("headers", {})}
        properties = {
            "delivery_info": {"exchange": "", "routing_key": "status"},
            "body_encoding": "base64",
            "delivery_tag": str(uuid.uuid4()),
        }
        whole = {
            "body": base64.b64encode(text).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": headers,
            "properties": properties,
        }
        return json.dumps({**whole, **more}).encode()

    good = b"[[],{},{}]"
    return [
        *(envelope(body) for body in (b"[]", b"null", b"7", b"[[]]", b"[[], [], {}]", b"{{{", b"\xff", b"[" * 100_000)),
        *(envelope(good, headers=odd) for odd in ({"id": None}, {"task": ["a"]}, {"timelimit": 7}, {"eta": "never"})),
        *(envelope(good, **{"content-type": kind}) for kind in ("application/x-python-serialize", "?")),
        *(envelope(good, properties=odd) for odd in ({}, [], {"delivery_tag": "t", "delivery_info": {}})),
        *(envelope(good, body=odd) for odd in ("a", 5)),
        b"garbage",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 100_000,
    ]


@pytest.mark.parametrize("worker", ["status", "importing"])
def test_nothing_that_lies_on_a_queue_or_in_the_store_ends_a_worker(tmp_path: Path, worker: str) -> None:
    redis_port, metrics_port = free_port(), free_port()
    odd = malformed()

    def said(path: str) -> urllib3.BaseHTTPResponse:
        return urllib3.request("GET", f"http://127.0.0.1:{metrics_port}{path}", retries=False, timeout=5)

    def is_ready() -> bool:
        with suppress(urllib3.exceptions.HTTPError):
            return said("/readyz").status == 200
        return False

    with redis_at(redis_port, tmp_path):
        client = redis.Redis(port=redis_port)
        until(lambda: _answers(client), what="Redis")
        # An outbox entry and a record that this release does not know.
        client.hset("foretaste:notes", "odd", '{"wire":"status.bless","fields":{"arn":"x"},"written":1}')
        client.zadd("foretaste:outbox", {"odd": 1})
        client.hset("foretaste:record:arn:odd", mapping={"document": "{}", "version": 1, "moving": "BLESSING"})
        client.zadd("foretaste:moving", {"arn:odd": 1})
        client.lpush(f"foretaste:queue:{worker}", *odd)
        with service(worker, redis_port, metrics_port, tmp_path) as process:
            until(is_ready, what="the process")
            until(lambda: client.llen(f"foretaste:queue:{worker}") == 0, what="the messages to be taken")
            client.lpush(f"foretaste:queue:{worker}", odd[0])
            kept = f"foretaste:queue:set-aside:{worker}"
            until(lambda: client.llen(kept) == len(odd) + 1, what="what can't be read to be kept for a look")
            assert client.hlen("foretaste:queue:unacked") == 0
            if worker == "status":
                metric = b'foretaste_set_aside_total{walk="reconciler"}'
                until(lambda: metric in said("/metrics").data, what="the reconciler to walk past what is odd")
            assert (process.poll(), said("/healthz").status, said("/readyz").status) == (None, 200, 200)
        assert client.hexists("foretaste:notes", "odd")


def _answers(client: redis.Redis) -> bool:
    with suppress(redis.exceptions.ConnectionError):
        return bool(client.ping())
    return False
