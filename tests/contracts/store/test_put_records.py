"""Items, users and actions that were sent by themselves: the newest record of each id, whole."""

from __future__ import annotations

import time
from typing import Any

from shared.store import PutRecord, Store
from tests.contracts.store.test_interactions import event


def item(id_: str, at: float = 1.5, **properties: Any) -> PutRecord:
    return PutRecord(id=id_, properties=properties, at=at)


def test_records_come_back_as_they_were_sent_by_id(store: Store) -> None:
    sent = [item("b", GENRES="Drama|War", PRICE=2.5, NEW=True, STORY="a\n日\"'|"), item("a", PRICE=None)]
    store.save_put_records("d", sent, invocation="1")
    assert list(store.iter_put_records("d")) == [sent[1], sent[0]]


def test_the_last_of_an_id_replaces_the_whole_record(store: Store) -> None:
    store.save_put_records("d", [item("a", PRICE=1, GENRES="War"), item("b"), item("a", PRICE=2)], invocation="1")
    assert list(store.iter_put_records("d")) == [item("a", PRICE=2), item("b")]
    store.save_put_records("d", [item("a", at=2.0, GENRES="Drama")], invocation="2")
    assert list(store.iter_put_records("d")) == [item("a", at=2.0, GENRES="Drama"), item("b")]


def test_a_repeated_call_does_not_undo_what_came_after_it(store: Store) -> None:
    store.save_put_records("d", [item("a", PRICE=1)], invocation="first")
    store.save_put_records("d", [item("a", PRICE=2)], invocation="second")
    store.save_put_records("d", [item("a", PRICE=1)], invocation="first")
    assert list(store.iter_put_records("d")) == [item("a", PRICE=2)]


def test_many_are_read_in_order(store: Store) -> None:
    records = [item(f"{number:05}") for number in range(2500)]
    for start in range(0, len(records), 500):
        store.save_put_records("d", list(reversed(records[start : start + 500])), invocation=str(start))
    assert list(store.iter_put_records("d")) == records


def test_forgetting_a_dataset_forgets_them_and_leaves_the_others(store: Store) -> None:
    store.save_put_records("d", [item("a")], invocation="1")
    store.save_put_records("e", [item("b")], invocation="2")
    store.append_interactions("d", [event("c")], invocation="3")
    store.clear_dataset("d")
    assert list(store.iter_put_records("d")) == list(store.iter_interactions("d")) == []
    assert list(store.iter_put_records("e")) == [item("b")]


def test_the_last_put_is_told_by_the_stores_clock_and_forgotten_with_the_records(store: Store) -> None:
    assert store.get_last_put("d") == 0.0
    before = time.time() - 1
    store.save_put_records("d", [item("a", at=5.0)], invocation="1")
    first = store.get_last_put("d")
    assert before < first < time.time() + 1
    store.save_put_records("d", [item("a", at=5.0)], invocation="1")
    assert store.get_last_put("d") == first
    store.save_put_records("d", [item("a", at=1.0)], invocation="2")
    assert store.get_last_put("d") > first
    assert store.get_last_put("e") == 0.0
    store.clear_dataset("d")
    assert store.get_last_put("d") == 0.0
