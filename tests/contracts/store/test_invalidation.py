"""What a store tells of its own changes, so that nobody who remembers what it said answers what is not so any more."""

from __future__ import annotations

import socketserver
import threading
import time
from dataclasses import replace

import pytest
import redis

from shared.store import Interaction, Record, Store
from shared.store.cached_store import FAMILIES, CachedStore
from shared.store.redis import PROMPT, RedisStore
from tests.stored_events import list_recent

ARN = "arn:aws:personalize:r:a:campaign/c"


def record(**more: object) -> Record:
    return replace(Record(arn=ARN, kind="campaign", created=1.0, updated=1.0, status="ACTIVE"), **more)


def event(user: str) -> Interaction:
    return Interaction(
        user_id=user, session_id="s", item_id="i", event_type="watch", event_value=None, sent_at=1.0, event_id=None
    )


def read(store: Store) -> Record:
    found = store.get(ARN)
    assert found is not None
    return found


def test_who_asks_first_may_have_missed_all_and_then_hears_what_is_new(store: Store) -> None:
    store.create(record(), invocation="1")
    changes = store.subscribe_invalidations(FAMILIES)
    assert changes.read_changed_keys() is None
    assert list(changes.read_changed_keys() or ()) == []
    store.append_interactions("d", [event("u:1"), event("v"), event("u:1")], invocation="2")
    assert set(changes.read_changed_keys() or ()) == {"recent:d:u:1", "recent:d:v"}
    assert list(changes.read_changed_keys() or ()) == []


def test_every_write_of_a_record_is_told(store: Store) -> None:
    changes = store.subscribe_invalidations(FAMILIES)
    changes.read_changed_keys()
    store.create(record(claims=("name",), status="CREATE PENDING"), invocation="1")
    assert {f"record:{ARN}", "claim:name"} <= set(changes.read_changed_keys() or ())
    store.replace(replace(read(store), body={"x": 1}))
    assert f"record:{ARN}" in (changes.read_changed_keys() or ())
    lease = store.claim_lease(ARN, "worker", frozenset({"CREATE PENDING"}), 10.0)
    assert lease is not None
    assert f"record:{ARN}" in (changes.read_changed_keys() or ())
    store.release_lease(lease, failed=True)
    assert f"record:{ARN}" in (changes.read_changed_keys() or ())
    store.remove(read(store))
    assert {f"record:{ARN}", "claim:name"} <= set(changes.read_changed_keys() or ())


def test_what_is_forgotten_is_told(store: Store) -> None:
    store.append_interactions("d", [event("u")], invocation="1")
    changes = store.subscribe_invalidations(FAMILIES)
    changes.read_changed_keys()
    store.clear_dataset("d")
    assert list(changes.read_changed_keys() or ()) == ["recent:d:u"]


def test_a_write_that_was_acknowledged_is_heard_of_at_once(store: Store) -> None:
    """Two thousand times: whoever answers after an acknowledgement answers with it."""
    changes = store.subscribe_invalidations(FAMILIES)
    changes.read_changed_keys()
    for number in range(2000):
        store.append_interactions("d", [event("u")], invocation=f"{number}")
        # An acknowledgement travels on to a client and comes back as a request.
        time.sleep(0.0001)
        assert list(changes.read_changed_keys() or ()) == ["recent:d:u"], number


def test_nothing_is_told_of_other_families(store: Store) -> None:
    changes = store.subscribe_invalidations(("record", "claim"))
    changes.read_changed_keys()
    store.append_interactions("d", [event("u")], invocation="1")
    store.create(record(), invocation="2")
    assert list(changes.read_changed_keys() or ()) == [f"record:{ARN}"]


def test_many_changes_are_told_whole(store: Store) -> None:
    changes = store.subscribe_invalidations(FAMILIES)
    changes.read_changed_keys()
    users = [f"user-{number}-{'x' * 100}" for number in range(5000)]
    for begin in range(0, len(users), 500):
        store.append_interactions("d", [event(user) for user in users[begin : begin + 500]], invocation=str(begin))
    assert {key.removeprefix("recent:d:") for key in changes.read_changed_keys() or ()} == set(users)


class TestRedis:
    """What only a server can do: empty itself, break off, fall silent, or not know how."""

    def test_all_has_changed_where_the_server_was_emptied(self, redis_server: str) -> None:
        changes = RedisStore(redis_server).subscribe_invalidations(FAMILIES)
        changes.read_changed_keys()
        redis.Redis.from_url(redis_server).flushall()
        # Of this command alone the server tells after it has answered: nobody but a test waits for the answer.
        until = time.monotonic() + 5.0
        while (heard := changes.read_changed_keys()) is not None and time.monotonic() < until:
            assert list(heard) == []
            time.sleep(0.001)
        assert heard is None

    def test_what_is_told_in_one_breath_with_the_answer_to_a_ping_is_heard(
        self, redis_server: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = RedisStore(redis_server)
        changes = store.subscribe_invalidations(FAMILIES)
        changes.read_changed_keys()
        with redis.Redis.from_url(redis_server) as admin:
            for number in range(10):
                # The server does in one go what came to it while it paused.
                admin.client_pause(50)
                told = {"invocation": f"paused {number}"}
                writer = threading.Thread(target=store.append_interactions, args=("d", [event("u")]), kwargs=told)
                writer.start()
                time.sleep(0.01)
                monkeypatch.setattr("shared.store.invalidation.SILENCE", -1.0)
                heard = list(changes.read_changed_keys() or ())
                monkeypatch.setattr("shared.store.invalidation.SILENCE", 60.0)
                writer.join()
                assert [*heard, *(changes.read_changed_keys() or ())] == ["recent:d:u"], number

    def test_all_may_have_changed_where_the_connection_broke(self, redis_server: str) -> None:
        store = RedisStore(redis_server)
        changes = store.subscribe_invalidations(FAMILIES)
        changes.read_changed_keys()
        assert list(changes.read_changed_keys() or ()) == []
        with redis.Redis.from_url(redis_server) as other:
            other.client_kill_filter(_type="normal", skipme=True)
        store.append_interactions("d", [event("u")], invocation="broken")
        assert changes.read_changed_keys() is None
        store.append_interactions("d", [event("u")], invocation="mended")
        assert list(changes.read_changed_keys() or ()) == ["recent:d:u"]

    def test_a_server_that_fell_silent_is_not_trusted(self, redis_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("shared.store.invalidation.SILENCE", 0.05)
        changes = RedisStore(redis_server, PROMPT).subscribe_invalidations(FAMILIES)
        changes.read_changed_keys()
        with redis.Redis.from_url(redis_server) as other:
            time.sleep(0.06)
            assert list(changes.read_changed_keys() or ()) == []  # it answers
            time.sleep(0.06)
            other.client_pause(1000, all=True)
            began = time.monotonic()
            with pytest.raises(redis.TimeoutError):
                changes.read_changed_keys()
            assert time.monotonic() - began < 0.9
        time.sleep(0.5)
        assert changes.read_changed_keys() is None

    def test_a_server_that_does_not_tell_is_asked_each_time(self, redis_server: str) -> None:
        with redis.Redis.from_url(redis_server) as admin:
            admin.acl_setuser("deaf", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-client|tracking"])
            store = RedisStore(redis_server.replace("redis://", "redis://deaf:any@"))
            remembering = CachedStore(store, patient=store)
            try:
                assert [len(list_recent(remembering, "deaf", "u")) for _ in range(2)] == [0, 0]
                store.append_interactions("deaf", [event("u")], invocation="deaf")
                assert len(list_recent(remembering, "deaf", "u")) == 1
            finally:
                admin.acl_deluser("deaf")

    def test_a_server_too_old_to_tell_is_asked_each_time(self) -> None:
        """It knows neither HELLO nor CLIENT TRACKING."""

        class Old(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                while line := self.rfile.readline():
                    if line[:1] == b"*":
                        self.wfile.write(b"-ERR unknown command\r\n")

        with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Old) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            changes = RedisStore(f"redis://127.0.0.1:{server.server_address[1]}/0", PROMPT).subscribe_invalidations(
                FAMILIES
            )
            assert [changes.read_changed_keys() for _ in range(3)] == [None, None, None]
            server.shutdown()
