"""A runtime whose store goes away: known users are answered, strangers are refused, nobody waits, and it comes back."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any, cast

import pytest
import redis.exceptions

from services.runtime import app
from shared.aws.errors import ResourceNotFound
from shared.http.app import Answer, Call
from shared.http.staleness import STALENESS_HEADER, with_staleness_header
from shared.observability.threads import BackgroundThreads
from shared.recipes import RECIPES
from shared.settings import Settings
from shared.store import Interaction, Invalidations, Record, Store, cached_store
from shared.store.cached_store import UNREACHABLE, CachedStore
from shared.store.memory import MemoryStore
from shared.store.redis import PROMPT, RedisStore
from tests.stored_events import list_recent
from tests.unit.services.runtime_world import PREFIX, Runtime, dataset, event

HRNN, POPULAR, TOP_PICKS = (RECIPES[f"aws-{name}"] for name in ("hrnn", "popularity-count", "vod-top-picks"))


class Leaving(MemoryStore):
    """Does not answer while it is away; ``asked`` counts who tried."""

    away = False
    asked = 0

    def _knock(self) -> None:
        self.asked += 1
        if self.away:
            raise redis.exceptions.TimeoutError("Timeout reading from socket")

    def subscribe_invalidations(self, families: Collection[str]) -> Invalidations:
        changes = super().subscribe_invalidations(families)
        heard = changes.read_changed_keys

        def asked() -> Any:
            self._knock()
            return heard()

        changes.read_changed_keys = asked  # type: ignore[method-assign]
        return changes

    def get(self, arn: str) -> Record | None:
        self._knock()
        return super().get(arn)

    def save_impression(self, dataset: str, recommendation_id: str, impression: str) -> None:
        self._knock()
        super().save_impression(dataset, recommendation_id, impression)

    def list_page(self, *args: Any, **more: Any) -> tuple[list[Record], str | None]:
        self._knock()
        return super().list_page(*args, **more)

    def get_recent_interactions(self, dataset: str, user_id: str) -> list[Interaction]:
        self._knock()
        return super().get_recent_interactions(dataset, user_id)

    def get_seen_items(self, dataset: str, user_id: str) -> Any:
        self._knock()
        return super().get_seen_items(dataset, user_id)


class World(Runtime):
    """A runtime that remembers what its store said."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.store = self.leaving = Leaving()
        self.now = 0.0
        self.remembering = CachedStore(self.leaving, self.leaving, clock=lambda: self.now)
        settings = Settings(import_memory_mb=256)
        self.serving_ = app.create_context(settings, cast(Store, self.remembering), self.artifacts)
        self.deployed, self.filters = self.serving_.models, self.serving_.filters

    def told(self, arn: str, **request: Any) -> Any:
        """What the handler of GetRecommendations returns."""
        handler = with_staleness_header(self.remembering, app.create_handlers(self.serving_)["GetRecommendations"])
        call = Call(operation="", request={"campaignArn": arn, **request}, request_id="1", invocation="1")
        return handler(call)

    def leave(self) -> None:
        self.leaving.away, self.leaving.asked = True, 0


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_who_was_asked_about_before_is_answered_from_what_was_read_then(world: World) -> None:
    arn = world.serving(HRNN)
    world.sent(event("b", 5.0))
    before = world.answered(arn, userId="u")
    [of_before] = world.scorer.asked
    world.leave()
    assert world.answered(arn, userId="u") == before
    assert world.scorer.asked[-1].history == of_before.history != []


def test_who_was_trained_on_is_answered_and_a_stranger_is_refused(world: World) -> None:
    arn = world.serving(HRNN)
    world.answered(arn, userId="u")
    world.leave()
    assert world.recommended(arn, userId="known") == "bca"
    assert world.scorer.asked[-1].history == world.scorer.history("known")
    with pytest.raises(UNREACHABLE):
        world.answered(arn, userId="stranger")


def test_what_needs_no_user_is_answered_to_all_and_an_unknown_campaign_to_nobody(world: World) -> None:
    arn = world.serving(POPULAR)
    world.answered(arn)
    world.leave()
    assert world.recommended(arn, userId="stranger") == "bca"
    with pytest.raises(UNREACHABLE):
        world.answered(f"{PREFIX}:campaign/another")


def test_what_a_page_has_shown_is_known_too(world: World) -> None:
    """The refresher reads all campaigns every two seconds: a request may be the first and still be answered."""
    arn = world.serving(POPULAR)
    list(world.serving_.reader.iter_children("campaign"))
    world.leave()
    assert world.recommended(arn) == "bca"


def test_what_was_gone_stays_gone(world: World) -> None:
    arn = world.serving(POPULAR)
    world.answered(arn)
    record = world.leaving.get(arn)
    assert record is not None
    world.leaving.remove(record)
    with pytest.raises(ResourceNotFound):
        world.answered(arn)
    world.leave()
    with pytest.raises(ResourceNotFound):
        world.answered(arn)


def test_filters_go_on_with_what_users_are_known_to_have_done(world: World) -> None:
    fields = ("USER_ID string", "ITEM_ID string", "TIMESTAMP long", "EVENT_TYPE string")
    world.filled("Interactions", fields, [("known", "b", int(time.time()), "watch")])
    arn = world.serving(HRNN)
    unseen = world.filter('EXCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("watch")')
    world.sent(event("c", time.time(), "watch", user="u"))
    assert world.recommended(arn, userId="u", filterArn=unseen) == "ba"
    world.leave()
    assert world.recommended(arn, userId="u", filterArn=unseen) == "ba"
    assert world.recommended(arn, userId="known", filterArn=unseen) == "ca"
    with pytest.raises(UNREACHABLE):
        world.answered(arn, userId="stranger", filterArn=unseen)


def test_a_store_that_is_away_is_asked_once_in_a_while(world: World) -> None:
    arn = world.serving(HRNN)
    world.answered(arn, userId="u")
    world.leave()
    for _ in range(10):
        world.answered(arn, userId="u")
    assert world.leaving.asked == 1
    world.now += cached_store.RETRY_EVERY
    for _ in range(10):
        world.answered(arn, userId="u")
    assert world.leaving.asked == 2


def test_it_comes_back_by_itself(world: World) -> None:
    arn = world.serving(HRNN)
    world.answered(arn, userId="u")
    world.leave()
    world.answered(arn, userId="u")
    world.leaving.away = False
    world.sent(event("b", 5.0))
    world.answered(arn, userId="u")
    assert world.scorer.asked[-1].history == []
    world.now += cached_store.RETRY_EVERY
    world.answered(arn, userId="u")
    assert [past.item_id for past in world.scorer.asked[-1].history] == ["b"]
    assert world.answered(arn, userId="stranger")


def test_an_answer_from_memory_says_for_how_long_the_store_was_away(world: World) -> None:
    arn = world.serving(HRNN)
    assert not isinstance(world.told(arn, userId="u"), Answer)
    world.leave()
    world.told(arn, userId="u")
    world.now += 60.25
    stale = world.told(arn, userId="u")
    assert stale.headers == {STALENESS_HEADER: "60.2"}
    assert [row["itemId"] for row in stale.members["itemList"]] == ["b", "c", "a"]
    world.leaving.away, world.now = False, 61.0
    assert not isinstance(world.told(arn, userId="u"), Answer)


def test_memory_is_bounded_by_events_and_those_asked_for_last_stay(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cached_store, "MAX_EVENTS", 6)
    held = CachedStore(world.leaving, world.leaving)
    for user in "abc":
        world.sent(*(event("a", at, user=user) for at in (1.0, 2.0)))
    interactions = dataset("INTERACTIONS")
    for user in "abac":
        assert len(list_recent(held, interactions, user)) == 2
    world.leave()
    assert [len(list_recent(held, interactions, user)) for user in "ac"] == [2, 2]
    with pytest.raises(UNREACHABLE):
        list_recent(held, interactions, "b")


def test_what_was_shown_is_lost_where_the_store_is_away_and_no_request_waits_for_it_again(world: World) -> None:
    keeping = cast(Store, world.remembering)
    keeping.save_impression("d", "1", "a")
    world.leave()
    asked = world.leaving.asked
    for recommendation in "234":
        keeping.save_impression("d", recommendation, "a")
    assert world.leaving.asked <= asked + 1
    assert world.leaving.get_impressions("d", ["1", "2", "3", "4"]) == {"1": "a"}


def test_writing_goes_to_the_store_itself(world: World) -> None:
    world.leave()
    assert cast(Store, world.remembering).acquire_lock("l", "me", 1.0)


def test_a_server_that_accepts_and_stays_silent_is_waited_for_less_than_a_second() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = RedisStore(f"redis://127.0.0.1:{silent.getsockname()[1]}/0", PROMPT)
        started = time.monotonic()
        with pytest.raises(UNREACHABLE):
            store.get("arn")
        assert time.monotonic() - started < 1.0


def test_a_server_that_was_started_again_is_found_at_once(redis_server: str) -> None:
    store = RedisStore(redis_server, PROMPT)
    store.ping()
    with redis.Redis.from_url(redis_server) as other:
        other.client_kill_filter(_type="normal", skipme=True)
    store.ping()


def test_what_has_not_changed_is_not_asked_again(world: World) -> None:
    arn = world.serving(HRNN)
    world.told(arn, userId="u")
    world.leaving.asked = 0
    for _ in range(3):
        world.told(arn, userId="u")
    assert world.leaving.asked == 3  # of changes, once a request
    world.sent(event("b", 5.0))
    world.leaving.asked = 0
    world.told(arn, userId="u")
    assert world.leaving.asked == 2  # of changes, and of the events
    assert [past.item_id for past in world.scorer.asked[-1].history] == ["b"]


def test_what_changes_while_it_is_read_is_read_again(world: World) -> None:
    interactions = dataset("INTERACTIONS")
    read = world.leaving.get_recent_interactions
    late: list[Interaction] = [event("b", 2.0)]

    def overtaken(of: str, user_id: str) -> list[Interaction]:
        found = read(of, user_id)
        if late:
            world.sent(late.pop())
            world.remembering.get("another")  # another thread hears of it before this answer is kept
        return found

    world.leaving.get_recent_interactions = overtaken  # type: ignore[method-assign]
    assert list_recent(world.remembering, interactions, "u") == []
    assert [one.item_id for one in list_recent(world.remembering, interactions, "u")] == ["b"]


def test_an_older_answer_does_not_replace_a_newer_one(world: World) -> None:
    interactions = dataset("INTERACTIONS")
    read = world.leaving.get_recent_interactions
    seen: list[Any] = []

    def overtaken(of: str, user_id: str) -> list[Interaction]:
        found = read(of, user_id)
        if not seen:
            seen.append(None)
            world.sent(event("b", 2.0))
            seen[0] = list_recent(world.remembering, interactions, "u")  # another thread asks, and is answered first
        return found

    world.leaving.get_recent_interactions = overtaken  # type: ignore[method-assign]
    assert list_recent(world.remembering, interactions, "u") == []
    assert [one.item_id for one in seen[0]] == ["b"]
    assert list_recent(world.remembering, interactions, "u") == seen[0]


def test_a_patient_store_is_waited_for_by_who_asks_it_something_new(world: World) -> None:
    """As PutEvents does of a tracker that it hears of for the first time while the store is away."""
    waiting = CachedStore(world.leaving, patient=world.leaving)
    world.leave()
    get = world.leaving.get

    def ridden_out(arn: str) -> Record | None:
        world.leaving.away = False
        return get(arn)

    world.leaving.get = ridden_out  # type: ignore[method-assign]
    assert waiting.get("arn") is None


def test_of_what_it_is_not_told_it_asks_each_time(world: World) -> None:
    held = CachedStore(world.leaving, world.leaving, families=("record", "claim"))
    assert list_recent(held, dataset("INTERACTIONS"), "u") == []
    world.sent(event("b", 2.0))
    assert [one.item_id for one in list_recent(held, dataset("INTERACTIONS"), "u")] == ["b"]


def test_what_is_told_is_heard_though_nobody_asks(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else Redis would keep it, more and more of it, for a runtime that has no requests; and away is away for good."""
    monkeypatch.setattr(cached_store, "LISTEN_EVERY", 0.01)
    held = CachedStore(world.leaving, world.leaving)
    changes = held._invalidations
    held.start_listening(BackgroundThreads(), threading.Event())
    until = time.monotonic() + 5
    for away in (False, True, False):
        world.leaving.away, world.leaving.asked = away, 0
        while world.leaving.asked < 1 + (not away):
            assert time.monotonic() < until
            time.sleep(0.01)
    world.sent(event("b", 2.0))
    while changes._keys:  # type: ignore[attr-defined]
        assert time.monotonic() < until
        time.sleep(0.01)
