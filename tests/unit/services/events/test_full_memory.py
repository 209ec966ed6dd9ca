"""A Redis that has no memory left: writes are refused with 503, before the end and at it, and nothing kept is lost."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from services.cli.local.embedded_redis import find_binary
from services.status.memory_guard import MemoryGuard
from shared.aws.errors import PersonalizeError
from shared.http import app
from shared.store import Interaction, NoSpace, redis_errors
from shared.store.redis import RedisStore
from shared.store.redis_probe import RedisProbe
from tests.conftest import free_port, until

MIB = 1024 * 1024


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    port = free_port()
    command = [str(find_binary()), "--bind", "127.0.0.1", "--port", str(port), "--dir", str(tmp_path), "--save", ""]
    with subprocess.Popen([*command, "--maxmemory-policy", "noeviction"], stdout=subprocess.DEVNULL) as server:
        url = f"redis://127.0.0.1:{port}/0"
        until(RedisProbe(url).is_answering, 10, "Redis")
        yield url
        server.kill()


def bounded(url: str) -> None:
    """By 4 MiB more than it takes when it is empty."""
    with redis.Redis.from_url(url) as client:
        client.config_set("maxmemory", RedisProbe(url).get_memory().used + 4 * MIB)


def filled(store: RedisStore, watch: MemoryGuard | None) -> tuple[int, Exception]:
    """How many events were acknowledged before the first refusal, which is the second."""
    for number in range(10_000):
        event = Interaction(
            user_id="u" * 500, session_id="s", item_id="i" * 2000, event_type="e", event_value=None, sent_at=number
        )
        if watch is not None:
            watch.check_memory()
        try:
            store.append_interactions("d", [event], invocation=str(number))
        except (PersonalizeError, redis.RedisError) as error:
            return number, error
    raise AssertionError("it was never full")


def test_writes_are_refused_before_the_end_and_taken_again(url: str) -> None:
    bounded(url)
    store, ours = RedisStore(url, for_clients=True), RedisStore(url)
    watch = MemoryGuard(ours, RedisProbe(url))
    kept, refusal = filled(store, watch)
    assert isinstance(refusal, NoSpace)
    assert "of its memory (maxmemory) are used" in refusal.message
    assert len(list(store.iter_interactions("d"))) == kept
    assert not RedisProbe(url).write_checks["memory"]()
    ours.send_heartbeat("status@here:1", 5.0)  # what the services write goes on
    ours.clear_dataset("d")

    def accepts_again() -> bool:
        watch.check_memory()
        return RedisProbe(url).write_checks["memory"]()

    until(accepts_again, 10, "the memory, which Valkey frees in a thread of its own")


def test_at_the_end_redis_refuses_and_the_client_is_told(url: str) -> None:
    bounded(url)
    store = RedisStore(url, for_clients=True)
    kept, refusal = filled(store, None)
    assert redis_errors.get_refusal_code(refusal) == "OOM"
    answer, _ = app._convert_error(refusal, "r")
    assert (answer.status, answer.code) == (503, "ServiceUnavailable")
    assert "no memory left" in answer.message
    assert len(list(store.iter_interactions("d"))) == kept


def test_without_a_bound_nothing_is_refused(url: str) -> None:
    MemoryGuard(RedisStore(url), RedisProbe(url)).check_memory()
    memory = RedisProbe(url).get_memory()
    assert memory.limit > memory.used > 0
    assert RedisProbe(url).write_checks["memory"]()
