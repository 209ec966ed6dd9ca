"""What requests read of a user's live events stays the same at every moment of a compaction, for every reader."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import redis

import shared.store.redis
from shared.aws.errors import ServiceUnavailable
from shared.data import live_index
from shared.data.live_events import iter_live_events
from shared.data.live_files import LiveFileWriter
from shared.serving import live_events
from shared.serving.live_events import LiveEventReader
from shared.storage.artifacts import Artifacts
from shared.store import SEEN_SECONDS, Interaction, Store, memory, memory_live_files
from shared.store.cached_store import CachedStore
from shared.store.memory import MemoryStore
from shared.store.redis import RedisStore
from tests.strict import STRICT

D = "arn:aws:personalize:us-east-1:000000000000:dataset/g/INTERACTIONS"
#: Small limits, so that few events reach them.
RECENT, SEEN = 6, 3
USERS = ("u", "v", "u:1", "é")

Seen = Mapping[str, Mapping[str, float]]
#: The steps of the store after which a compaction may be observed, or die.
STEPS = ("begin_live_writing", "cut_stream", "commit_live_file", "replace_live_files", "sweep_generation")


@pytest.fixture(autouse=True)
def _small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (memory, memory_live_files, shared.store.redis, live_index, live_events):
        monkeypatch.setattr(module, "RECENT_LIMIT", RECENT, raising=False)
        monkeypatch.setattr(module, "SEEN_LIMIT", SEEN, raising=False)


class Stepping:
    """A store that calls ``on_step`` after each of its steps that moves events."""

    def __init__(self, store: Store, on_step: Callable[[], None]) -> None:
        self._store, self._on_step = store, on_step

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name not in STEPS:
            return method

        def call(*args: Any, **more: Any) -> Any:
            answer = method(*args, **more)
            self._on_step()
            return answer

        return call


class Observed:
    """A dataset whose live events are sent, moved and merged at random, and readers of it that know more or less."""

    def __init__(self, store: Store, root: Path, seed: int) -> None:
        self.store, self.artifacts = store, Artifacts(root)
        self.random = random.Random(seed)
        self._numbers = itertools.count()
        self.sent: list[Interaction] = []
        self.cached = cast(Store, CachedStore(store, store))
        #: One that follows the list of files, one that is never told of it, and one that remembers what it has read.
        self.fresh, self.late, self.remembering = (
            LiveEventReader(each, self.artifacts) for each in (store, store, self.cached)
        )

    def send(self, number: int) -> None:
        events = [self._create_event() for _ in range(number)]
        self.store.append_interactions(D, events, invocation=str(next(self._numbers)))
        self.sent += events

    def _create_event(self) -> Interaction:
        item = self.random.choice([*"abcdefg", None])
        type_ = self.random.choice(["Watch", "watch", "BUY", "İ"])
        at = float(self.random.randrange(40))  # many at one time, and late ones
        user = self.random.choice(USERS)
        return Interaction(user_id=user, session_id="s", item_id=item, event_type=type_, event_value=None, sent_at=at)

    def check(self) -> None:
        readers = {"fresh": LiveEventReader(self.store, self.artifacts), "late": self.late}
        readers |= {"followed": self.fresh, "remembering": self.remembering}
        for user in USERS:
            for name, reader in readers.items():
                found = [(one.item_id, one.event_type.lower(), one.sent_at) for one in reader.read_recent(D, user)]
                assert found == self.list_recent(user), (name, user)
                seen = {type_: dict(items) for type_, items in reader.find_seen(D, user).items()}
                assert seen == self.list_seen(user), (name, user)

    def list_recent(self, user: str) -> list[tuple[str | None, str, float]]:
        own = [one for one in self.sent if one.user_id == user]
        return [(one.item_id, one.event_type.lower(), one.sent_at) for one in own[-RECENT:]]

    def list_seen(self, user: str) -> Seen:
        found: dict[str, dict[str, float]] = {}
        for one in self.sent:
            if one.user_id == user and one.item_id is not None:
                items = found.setdefault(one.event_type.lower(), {})
                items[one.item_id] = max(one.sent_at, items.get(one.item_id, 0.0))
        return {
            type_: dict(sorted(items.items(), key=lambda item: (item[1], item[0]))[-SEEN:])
            for type_, items in found.items()
        }

    def compact(self, on_step: Callable[[], None]) -> None:
        store = cast(Store, Stepping(self.store, on_step))
        with LiveFileWriter(store, self.artifacts, D, memory_mb=256, on_step=lambda: None) as writer:
            writer.remove_garbage()
            writer.compact_stream()
            writer.sweep_moved_generations()
            writer.merge_small_files()

    def remove_replaced_files(self) -> None:
        for name in self.store.list_superseded_files(D):
            for path in self.artifacts.get_live_folder(D).glob(name.replace(".parquet", ".*")):
                path.unlink()


class Died(Exception):
    pass


@pytest.fixture(params=["memory", "redis"])
def observed(request: pytest.FixtureRequest, tmp_path: Path) -> Observed:
    if request.param == "memory":
        return Observed(MemoryStore(), tmp_path, 1)
    url = request.getfixturevalue("redis_server")
    redis.Redis.from_url(url).flushall()
    return Observed(RedisStore(url), tmp_path, 2)


def test_histories_and_filters_read_the_same_at_every_moment(observed: Observed) -> None:
    moments = []

    def observe() -> None:
        observed.check()
        moments.append(len(observed.store.list_live_files(D)))
        observed.send(observed.random.randrange(4))
        observed.check()
        if observed.random.random() < 0.3:
            observed.fresh.refresh_all(STRICT)
        if observed.random.random() < 0.2:
            raise Died

    for _ in range(10):
        observed.send(observed.random.randrange(20))
        observed.check()
        try:
            observed.compact(observe)
        except Died:
            observed.check()
    assert list(iter_live_events(observed.store, observed.artifacts, D)) == observed.sent
    assert len(moments) > 20
    assert max(moments) > 1


def test_events_of_a_release_without_generations_move_like_others(tmp_path: Path, redis_server: str) -> None:
    server = redis.Redis.from_url(redis_server)
    server.flushall()
    observed = Observed(RedisStore(redis_server), tmp_path, 3)
    server.xadd(f"foretaste:stream:{D}", {"event": "{}"})  # a stream that stands already has generation 0
    server.xtrim(f"foretaste:stream:{D}", 0)
    observed.send(30)
    assert server.exists(f"foretaste:recent:{D}:u") == 1
    observed.check()
    observed.compact(observed.check)
    observed.check()
    assert list(server.scan_iter(match="foretaste:recent:*")) == list(server.scan_iter(match="foretaste:seen:*")) == []
    observed.send(10)
    observed.check()


def test_a_dataset_that_was_created_again_knows_nothing_of_its_events_before(observed: Observed) -> None:
    observed.send(20)
    observed.compact(observed.check)
    observed.send(5)
    observed.check()
    observed.artifacts.discard_artifact(D)
    observed.store.clear_dataset(D)
    observed.sent.clear()
    observed.send(10)
    observed.check()
    observed.compact(observed.check)


def test_no_key_of_moved_events_is_left_in_redis(tmp_path: Path, redis_server: str) -> None:
    server = redis.Redis.from_url(redis_server)
    server.flushall()
    observed = Observed(RedisStore(redis_server), tmp_path, 4)
    observed.send(50)
    observed.compact(lambda: None)
    families = ("recent", "seen")
    assert [key for family in families for key in server.scan_iter(match=f"foretaste:{family}:*")] == []
    observed.send(1)
    assert len([key for family in families for key in server.scan_iter(match=f"foretaste:{family}:*")]) in (1, 3)
    observed.store.clear_dataset(D)
    assert [key for family in families for key in server.scan_iter(match=f"foretaste:{family}:*")] == []


def test_users_without_an_event_for_three_months_are_forgotten(tmp_path: Path) -> None:
    now = [1e9]
    store = MemoryStore(lambda: now[0])
    observed = Observed(store, tmp_path, 5)
    observed.send(40)
    observed.compact(lambda: None)
    now[0] += SEEN_SECONDS - 1
    observed.check()
    now[0] += 2
    reader = LiveEventReader(store, observed.artifacts)
    assert [dict(reader.find_seen(D, user)) for user in USERS] == [{}] * len(USERS)
    again = next(one for one in observed.sent if one.item_id is not None)
    observed.store.append_interactions(D, [again], invocation="again")
    seen = {type_: dict(items) for type_, items in reader.find_seen(D, again.user_id).items()}
    assert seen == observed.list_seen(again.user_id)


def test_a_missing_index_is_reported_and_restored_by_the_next_compaction(observed: Observed) -> None:
    observed.send(20)
    observed.compact(lambda: None)
    for path in observed.artifacts.get_live_folder(D).glob("*.index"):
        path.write_bytes(b"")
    reader = LiveEventReader(observed.store, observed.artifacts)
    with pytest.raises(ServiceUnavailable, match="can't be read"):
        reader.read_recent(D, "u")
    with LiveFileWriter(observed.store, observed.artifacts, D, memory_mb=256, on_step=lambda: None) as writer:
        writer.restore_indexes()
    observed.check()


def test_files_that_were_replaced_and_removed_are_not_asked_for_again(
    observed: Observed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader gets the list, and before it opens the files they are merged, and removed."""
    observed.send(20)
    observed.compact(lambda: None)
    observed.send(3)
    reader = LiveEventReader(observed.store, observed.artifacts)
    list_files, moved = observed.store.list_live_files, []

    def list_and_merge(dataset: str) -> Any:
        found = list_files(dataset)
        if not moved:
            moved.append(True)
            observed.send(20)
            observed.compact(lambda: None)
            observed.remove_replaced_files()
            assert not (observed.artifacts.get_live_folder(D) / found[0].name).exists()
        return found

    monkeypatch.setattr(observed.store, "list_live_files", list_and_merge)
    reader.read_recent(D, "u")
    observed.check()
    assert moved
