"""Live events: kept once each, in order, for training whole and for serving the newest of each user."""

from __future__ import annotations

import time
from dataclasses import replace

from shared.store import RECENT_LIMIT, SEEN_LIMIT, Interaction, Store
from tests.stored_events import collect_seen, list_recent


def event(item: str, user: str = "u", at: float = 1.0, event_id: str | None = None) -> Interaction:
    return Interaction(
        user_id=user,
        session_id="s",
        item_id=item,
        event_type="watch",
        event_value=None,
        sent_at=at,
        event_id=event_id,
        properties={"DEVICE": "tv"},
    )


def test_events_come_back_as_they_were_sent_in_the_order_of_arrival(store: Store) -> None:
    sent = [event("b", at=2.5), event("a", at=1.25)]
    assert store.append_interactions("d", sent, invocation="1") == 2
    assert list_recent(store, "d", "u") == sent
    assert list(store.iter_interactions("d")) == sent


def test_users_and_datasets_are_kept_apart(store: Store) -> None:
    store.append_interactions("d", [event("a"), event("b", user="v")], invocation="1")
    store.append_interactions("e", [event("c")], invocation="2")
    assert [one.item_id for one in list_recent(store, "d", "u")] == ["a"]
    assert [one.item_id for one in list_recent(store, "d", "v")] == ["b"]
    assert [one.item_id for one in store.iter_interactions("e")] == ["c"]


def test_a_repeated_call_is_kept_once(store: Store) -> None:
    assert store.append_interactions("d", [event("a")], invocation="same") == 1
    assert store.append_interactions("d", [event("a")], invocation="same") == 0
    assert len(list_recent(store, "d", "u")) == 1


def test_an_event_id_is_kept_once_and_only_a_clients_own(store: Store) -> None:
    store.append_interactions("d", [event("a", event_id="1"), event("b", event_id="1"), event("c")], invocation="1")
    store.append_interactions("d", [event("d", event_id="1"), event("c")], invocation="2")
    assert [one.item_id for one in store.iter_interactions("d")] == ["a", "c", "c"]


def test_serving_keeps_only_the_newest_of_a_user(store: Store) -> None:
    sent = [event(str(number)) for number in range(RECENT_LIMIT + 5)]
    for start in range(0, len(sent), 10):
        store.append_interactions("d", sent[start : start + 10], invocation=str(start))
    assert list_recent(store, "d", "u") == sent[-RECENT_LIMIT:]
    assert len(list(store.iter_interactions("d"))) == len(sent)


def test_what_was_shown_is_known_by_its_recommendation_and_its_dataset(store: Store) -> None:
    for dataset, recommendation, impression in (("d", "1", "a|b"), ("d", "2", "é"), ("e", "1", "c")):
        store.save_impression(dataset, recommendation, impression)
    assert store.get_impressions("d", ["1", "2", "3"]) == {"1": "a|b", "2": "é"}
    assert list_recent(store, "d", "u") == []  # the connection answers what it is asked
    store.clear_dataset("d")
    assert store.get_impressions("d", ["1"]) == {}
    assert store.get_impressions("e", ["1"]) == {"1": "c"}


def test_forgetting_a_dataset_leaves_the_others(store: Store) -> None:
    store.append_interactions("d", [event("a", event_id="1")], invocation="1")
    store.append_interactions("e", [event("b")], invocation="2")
    store.clear_dataset("d")
    assert list_recent(store, "d", "u") == []
    assert list(store.iter_interactions("d")) == []
    assert store.append_interactions("d", [event("a", event_id="1")], invocation="3") == 1
    assert len(list_recent(store, "e", "u")) == 1


def test_the_last_arrival_is_told_by_the_stores_clock_and_forgotten_with_the_events(store: Store) -> None:
    assert store.get_last_arrival("d") == 0.0
    before = time.time() - 1
    store.append_interactions("d", [event("a", at=5.0)], invocation="1")
    first = store.get_last_arrival("d")
    assert before < first < time.time() + 1
    store.append_interactions("d", [event("b", at=1.0)], invocation="2")
    assert store.get_last_arrival("d") >= first
    assert store.get_last_arrival("e") == 0.0
    store.clear_dataset("d")
    assert store.get_last_arrival("d") == 0.0


def did(item: str, type_: str = "Watch", user: str = "u", at: float = 1.0) -> Interaction:
    return replace(event(item, user=user, at=at), event_type=type_)


def test_what_a_user_did_is_known_by_type_and_item_with_its_newest_time(store: Store) -> None:
    events = [did("a", at=3.5), did("b"), did("a", "watch", at=2.0), did("c", "Buy"), did("d", user="v")]
    store.append_interactions("d", [*events, replace(event("?"), item_id=None)], invocation="1")
    assert collect_seen(store, "d", "u") == {"watch": {"a": 3.5, "b": 1.0}, "buy": {"c": 1.0}}
    assert collect_seen(store, "d", "v") == {"watch": {"d": 1.0}}
    assert collect_seen(store, "d", "w") == collect_seen(store, "e", "u") == {}
    store.clear_dataset("d")
    assert collect_seen(store, "d", "u") == {}


def test_of_each_type_the_newest_items_are_known_however_much_else_was_done(store: Store) -> None:
    store.append_interactions("d", [did("old", "Buy", at=0.0)], invocation="0")
    sent = [did(f"i{number}", at=float(number)) for number in range(SEEN_LIMIT + 20)]
    for start in range(0, len(sent), 10):
        store.append_interactions("d", sent[start : start + 10], invocation=f"i{start}")
    store.append_interactions("d", [did("older", at=0.5)], invocation="late")
    seen = collect_seen(store, "d", "u")
    assert seen["buy"] == {"old": 0.0}
    assert seen["watch"] == {f"i{number}": float(number) for number in range(20, SEEN_LIMIT + 20)}


def test_users_and_types_with_colons_are_kept_apart(store: Store) -> None:
    store.append_interactions("d", [did("x", "b:c", "a"), did("y", "c", "a:b"), did("z", "é", "é")], invocation="1")
    assert collect_seen(store, "d", "a") == {"b:c": {"x": 1.0}}
    assert collect_seen(store, "d", "a:b") == {"c": {"y": 1.0}}
    assert collect_seen(store, "d", "é") == {"é": {"z": 1.0}}
