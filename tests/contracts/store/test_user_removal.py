"""Users that are deleted leave no key and no value; all other users keep theirs."""

from __future__ import annotations

import pytest
import redis

from shared.store import Interaction, PutRecord, Store
from shared.store.redis import RedisStore


def event(user: str, item: str | None = "i", kind: str = "View", event_id: str | None = None) -> Interaction:
    return Interaction(
        user_id=user,
        session_id=f"s-{user}",
        item_id=item,
        event_type=kind,
        event_value=None,
        sent_at=10.0,
        event_id=event_id,
    )


def test_the_newest_events_and_seen_items_of_users_are_forgotten(store: Store) -> None:
    users = ["a", "a:b", "é", "never seen"]
    sent = [event(user, kind=kind) for user in [*users[:3], "kept", "a:bc"] for kind in ("View", "b:View")]
    store.append_interactions("d", sent, invocation="1")
    store.append_interactions("other", sent, invocation="2")
    store.forget_users("d", users)
    for user in users:
        assert store.get_recent_interactions("d", user) == []
        assert store.get_seen_items("d", user) == {}
    for dataset, user in (("d", "kept"), ("d", "a:bc"), ("other", "a"), ("other", "é")):
        assert len(store.get_recent_interactions(dataset, user)) == 2
        assert set(store.get_seen_items(dataset, user)) == {"view", "b:view"}
    store.forget_users("d", users)
    store.forget_users("d", [])


def test_caches_hear_of_it(store: Store) -> None:
    store.append_interactions("d", [event("a")], invocation="1")
    invalidations = store.subscribe_invalidations({"recent"})
    invalidations.read_changed_keys()
    store.forget_users("d", ["a", "b"])
    changed: list[str] = []
    while not changed:
        changed = list(invalidations.read_changed_keys() or ())
    assert changed == ["recent:d:a"]


def test_a_forgotten_event_id_may_come_again(store: Store) -> None:
    store.append_interactions("d", [event("a", event_id="1"), event("a", event_id="2")], invocation="1")
    store.forget_event_ids("d", ["1", "unknown"])
    again = [event("a", event_id="1"), event("a", event_id="2")]
    assert store.append_interactions("d", again, invocation="2") == 1


def test_put_records_are_removed_and_tell_readers(store: Store) -> None:
    records = [PutRecord(id=f"u{n}", properties={}, at=1.0) for n in range(1200)]
    store.save_put_records("d", records, invocation="1")
    before = store.get_last_put("d")
    store.remove_put_records("d", ["stranger"])
    assert store.get_last_put("d") == before
    store.remove_put_records("d", [f"u{n}" for n in range(1, 1200)])
    assert [one.id for one in store.iter_put_records("d")] == ["u0"]
    assert store.get_last_put("d") > before


def test_a_process_reports_what_it_has_followed(store: Store) -> None:
    assert store.get_reported_purges("runtime@a:1") == {}
    store.report_purges("runtime@a:1", {"g": 1}, 60.0)
    store.report_purges("runtime@a:1", {"g": 2, "h": 1}, 60.0)
    store.report_purges("runtime@a:2", {"g": 1}, 60.0)
    assert store.get_reported_purges("runtime@a:1") == {"g": 2, "h": 1}


def test_a_report_expires() -> None:
    from shared.store.memory import MemoryStore

    now = [0.0]
    store = MemoryStore(lambda: now[0])
    store.report_purges("a", {"g": 1}, 60.0)
    now[0] = 61.0
    assert store.get_reported_purges("a") == {}


def test_the_log_is_rewritten_where_there_is_one(redis_server: str) -> None:
    client = redis.Redis.from_url(redis_server, decode_responses=True)
    client.flushall()
    store = RedisStore(redis_server)
    enabled = client.info("persistence")["aof_enabled"]
    steps: list[int] = []
    assert store.rewrite_log(lambda: steps.append(1)) is bool(enabled)


@pytest.mark.parametrize("count", [0, 1, 1201])
def test_any_number_of_users_may_go(store: Store, count: int) -> None:
    users = [f"u{n}" for n in range(count)]
    store.append_interactions("d", [event(user) for user in users], invocation="1")
    store.forget_users("d", users)
    assert not any(store.get_recent_interactions("d", user) for user in users)
