"""Where the disk of Redis has little room, what clients ask to be written is refused, and all else goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from services.cli.local import disk_guard
from shared.state.lifecycle import ACTIVE, CREATE_PENDING, DELETE_PENDING
from shared.store import Interaction, NoSpace, PutRecord, Record
from shared.store.redis import RedisStore
from shared.store.redis_probe import RedisProbe
from tests.conftest import until
from tests.stored_events import list_recent

RECORD = Record(arn="arn:a", kind="solution", status=CREATE_PENDING, created=1.0, updated=1.0)
EVENT = Interaction(user_id="u", session_id="s", item_id="i", event_type="e", event_value=None, sent_at=1.0)

WRITES: dict[str, Callable[[RedisStore], object]] = {
    "create": lambda store: store.create(replace(RECORD, arn="arn:b"), invocation="2"),
    "replace": lambda store: store.replace(replace(RECORD, status=ACTIVE, version=1)),
    "append": lambda store: store.append_interactions("d", [EVENT], invocation="3"),
    "put": lambda store: store.save_put_records("d", [PutRecord(id="i", properties={}, at=1.0)], invocation="4"),
}


@pytest.fixture
def url(redis_server: str) -> str:
    redis.Redis.from_url(redis_server).flushall()
    RedisStore(redis_server).create(RECORD, invocation="1")
    return redis_server


@pytest.mark.parametrize("name", WRITES)
def test_what_a_client_asks_is_refused_while_there_is_no_room(url: str, name: str) -> None:
    ours, clients = RedisStore(url), RedisStore(url, for_clients=True)
    ours.refuse_writes("disk", "2 MiB are free")
    with pytest.raises(NoSpace, match=r"no space left .*2 MiB are free"):
        WRITES[name](clients)
    assert (clients.get("arn:a"), clients.get("arn:b"), list_recent(clients, "d", "u")) == (
        ours.get("arn:a"),
        None,
        [],
    )
    assert ours.get_last_put("d") == 0.0
    assert not RedisProbe(url).has_disk_space()
    ours.accept_writes("disk")
    WRITES[name](clients)
    assert RedisProbe(url).has_disk_space()


def test_what_makes_room_is_taken_from_clients_too(url: str) -> None:
    ours, clients = RedisStore(url), RedisStore(url, for_clients=True)
    ours.refuse_writes("disk", "2 MiB are free")
    clients.replace(replace(RECORD, status=DELETE_PENDING, version=1))
    clients.remove(replace(RECORD, version=2))
    assert clients.get("arn:a") is None


@pytest.mark.parametrize("name", WRITES)
def test_what_the_services_write_goes_on(url: str, name: str) -> None:
    store = RedisStore(url)
    store.refuse_writes("disk", "2 MiB are free")
    WRITES[name](store)


def test_a_write_that_was_acknowledged_before_is_so_again(url: str) -> None:
    store = RedisStore(url, for_clients=True)
    store.append_interactions("d", [EVENT], invocation="3")
    store.refuse_writes("disk", "2 MiB are free")
    assert store.append_interactions("d", [EVENT], invocation="3") == 0


def test_a_watch_refuses_and_takes_writes_as_room_comes_and_goes(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = [10]
    monkeypatch.setattr(disk_guard, "LOOK_EVERY", 0.01)
    monkeypatch.setattr(disk_guard, "measure_free_bytes", lambda _: free[0] * disk_guard.MIB)
    said: list[str] = []
    with disk_guard.watch_disk(tmp_path, RedisStore(url), 16, say=said.append):
        until(lambda: not RedisProbe(url).has_disk_space(), 5, "a refusal")
        free[0] = 20
        until(RedisProbe(url).has_disk_space, 5, "writes to be taken")
    assert ["refused" in sentence for sentence in said] == [True, False]
    free[0] = 10
    with disk_guard.watch_disk(tmp_path, RedisStore(url), 0, say=said.append):  # off
        assert RedisProbe(url).has_disk_space()
