"""Users that are deleted: their event ids, put records, and which processes have followed the deletion."""

from __future__ import annotations

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
