"""What another release has written: what is known of it counts, what is not is kept, and nothing else is lost by it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest
import redis

from shared.jobs.celery_app import build_outbox_entry
from shared.resources import ResourceReader
from shared.settings import Settings
from shared.state.lifecycle import ACTIVE, CREATE_PENDING
from shared.state.messages import Progressed, Provision
from shared.store import Interaction, PutRecord, Record, UnreadableRecord, Update
from shared.store.redis import PREFIX, RedisStore
from tests.stored_events import list_recent

ARN = "arn:aws:personalize:r:a:solution/a"
OTHER = "arn:aws:personalize:r:a:solution/b"


@pytest.fixture
def server(redis_server: str) -> Any:
    server = redis.Redis.from_url(redis_server, decode_responses=True)
    server.flushall()
    return server


@pytest.fixture
def store(server: Any, redis_server: str) -> RedisStore:
    store = RedisStore(redis_server)
    for arn in (ARN, OTHER):
        update = Update(status=CREATE_PENDING, body={"b": 2}, created=2.0, updated=2.0)
        record = Record(
            arn=arn, kind="solution", created=1.0, updated=1.0, status=ACTIVE, update=update, parents=("arn:g",)
        )
        store.create(record, invocation=arn)
    return store


def rewrite(server: Any, change: Callable[[dict[str, Any]], Any], arn: str = ARN) -> None:
    """The record's document as another release might write it."""
    document = orjson.loads(server.hget(f"{PREFIX}record:{arn}", "document"))
    change(document)
    server.hset(f"{PREFIX}record:{arn}", "document", orjson.dumps(document))


def written(server: Any) -> dict[str, Any]:
    document: dict[str, Any] = orjson.loads(server.hget(f"{PREFIX}record:{ARN}", "document"))
    return document


def test_members_that_are_not_known_are_kept_through_every_change(store: RedisStore, server: Any) -> None:
    def of_tomorrow(document: dict[str, Any]) -> None:
        document["owner"] = {"name": ["é", 1.5, None]}
        document["other"] = 3
        document["update"]["asked_by"] = "somebody"

    rewrite(server, of_tomorrow)
    record = store.get(ARN)
    assert record is not None
    assert (record.status, record.update and record.update.body) == (ACTIVE, {"b": 2})
    assert record.update is not None
    store.replace(replace(record, body={"n": 1}, update=replace(record.update, status=ACTIVE)))
    document = written(server)
    assert document["body"] == {"n": 1}
    assert (document["owner"], document["other"]) == ({"name": ["é", 1.5, None]}, 3)
    assert (document["update"]["asked_by"], document["update"]["status"]) == ("somebody", ACTIVE)


@pytest.mark.parametrize("missing", ["kind", "parents", "update"])
def test_a_record_that_can_not_be_read_is_left_out_of_lists_and_stays(
    store: RedisStore, server: Any, missing: str
) -> None:
    rewrite(server, lambda document: document.pop(missing))
    with pytest.raises(UnreadableRecord, match=ARN):
        store.get(ARN)
    for parent in (None, "arn:g"):
        assert [record.arn for record in store.list_page("solution", parent)[0]] == [OTHER]
        with pytest.raises(UnreadableRecord):
            store.list_page("solution", parent, whole=True)
    # A walk looks at each by itself; who decides by all must not decide by some.
    reading = ResourceReader(store, Settings())
    assert [record.arn for record in reading.iter_children("solution", whole=False)] == [OTHER]
    with pytest.raises(UnreadableRecord):
        list(reading.iter_children("solution", "arn:g"))
    assert missing not in written(server)
    rewrite(server, lambda document: document.update({"kind": "solution", "parents": [], "update": None}))
    assert [record.arn for record in store.list_page("solution")[0]] == [OTHER, ARN]  # at once


def test_a_message_that_is_not_known_waits_in_the_outbox_for_who_knows_it(store: RedisStore, server: Any) -> None:
    for number, text in enumerate(('{"wire":"status.bless","fields":{"arn":"x"},"written":1}', "[]", "{")):
        server.hset(f"{PREFIX}notes", str(number), text)
        server.zadd(f"{PREFIX}outbox", {str(number): 1.0})
    store.add_to_outbox(build_outbox_entry(Provision(arn=ARN)))
    assert [note.message for note in store.list_outbox()] == [Provision(arn=ARN)]
    assert server.hlen(f"{PREFIX}notes") == 4


def test_fields_of_a_message_that_are_not_known_are_passed_over(store: RedisStore, server: Any) -> None:
    text = '{"wire":"status.progressed","fields":{"arn":"x","attempt":1,"progress":{},"n":8},"written":1,"n":2}'
    server.hset(f"{PREFIX}notes", "1", text)
    server.zadd(f"{PREFIX}outbox", {"1": 1.0})
    assert [note.message for note in store.list_outbox()] == [Progressed(arn="x", attempt=1, progress={})]


def test_live_events_and_put_records_with_more_members_are_read(store: RedisStore, server: Any) -> None:
    event = Interaction(user_id="u", session_id="s", item_id="i", event_type="e", event_value=None, sent_at=1.0)
    text = orjson.dumps({**orjson.loads(orjson.dumps(event)), "device": "d"}).decode()
    server.xadd(f"{PREFIX}stream:d", {"event": text})
    server.rpush(f"{PREFIX}recent:d:u", text)
    server.hset(f"{PREFIX}put:d", "i", '{"id":"i","properties":{},"at":1.0,"by":"x"}')
    assert (list(store.iter_interactions("d")), list_recent(store, "d", "u")) == ([event], [event])
    assert list(store.iter_put_records("d")) == [PutRecord(id="i", properties={}, at=1.0)]
