"""The list of files with live events: one writer changes it, each event stands in one place, repeats change nothing."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from shared.store import Interaction, Store, record_codec
from shared.store.live_files import START, LiveFile, LivePage, StreamCut

MADE = LiveFile(name="a.parquet", first="1-0", last="2-0", events=2, bytes=10, sha256="ab", generation=0)


def event(item: str, user: str = "u") -> Interaction:
    return Interaction(
        user_id=user, session_id="s", item_id=item, event_type="watch", event_value=None, sent_at=1.0, event_id=None
    )


def send(store: Store, *items: str) -> None:
    store.append_interactions("d", [event(item) for item in items], invocation="".join(items))


def list_items(page: LivePage) -> list[str | None]:
    return [record_codec.read_interaction(text).item_id for _, text in page.events]


def cut(store: Store, writer: str) -> StreamCut:
    found = store.cut_stream("d", writer)
    assert found is not None
    return found


def compact(store: Store, writer: str, name: str) -> LiveFile:
    store.begin_live_writing("d", writer)
    found = cut(store, writer)
    file = replace(MADE, name=name, last=found.last, generation=found.generation)
    assert store.commit_live_file(found, file)
    return file


def test_a_stream_is_measured_by_its_events_and_the_age_of_the_oldest(store: Store) -> None:
    assert store.measure_stream("d") is None
    send(store, "a", "b")
    size = store.measure_stream("d")
    assert size is not None
    assert size.events == 2
    assert abs(size.oldest - time.time()) < 60


def test_events_move_to_a_file_in_one_step(store: Store) -> None:
    send(store, "a", "b")
    store.begin_live_writing("d", "w")
    found = cut(store, "w")
    send(store, "c")
    before = store.read_live_page("d", START, 10)
    assert list_items(before) == ["a", "b", "c"]
    assert before.events[1][0] == found.last
    file = replace(MADE, last=found.last, generation=found.generation)
    assert store.commit_live_file(found, file)
    after = store.read_live_page("d", START, 10)
    assert (after.files, list_items(after)) == ([file], ["c"])
    assert store.read_live_page("d", file.last, 10).files == []
    assert store.list_live_files("d") == [file]
    assert [one.item_id for one in store.iter_interactions("d")] == ["c"]


def test_a_commit_that_is_repeated_changes_nothing(store: Store) -> None:
    send(store, "a", "b")
    store.begin_live_writing("d", "w")
    found = cut(store, "w")
    file = replace(MADE, last=found.last)
    assert store.commit_live_file(found, file)
    send(store, "c")
    assert store.commit_live_file(found, file)
    assert not store.commit_live_file(found, replace(file, name="b.parquet"))
    page = store.read_live_page("d", START, 10)
    assert (page.files, list_items(page)) == ([file], ["c"])


def test_the_next_compaction_takes_up_the_cut_of_one_that_died(store: Store) -> None:
    send(store, "a")
    store.begin_live_writing("d", "dead")
    first = cut(store, "dead")
    send(store, "b")
    store.begin_live_writing("d", "w")
    assert not first.resumed
    assert cut(store, "w") == replace(first, writer="w", resumed=True)
    assert not store.commit_live_file(first, MADE)
    assert store.cut_stream("d", "dead") is None
    assert store.commit_live_file(cut(store, "w"), replace(MADE, last=first.last))
    second = cut(store, "w")
    assert not second.resumed
    assert (second.generation, second.last > first.last) == (first.generation + 1, True)


def test_nothing_is_cut_from_an_empty_stream(store: Store) -> None:
    store.begin_live_writing("d", "w")
    assert store.cut_stream("d", "w") is None
    send(store, "a")
    compact(store, "w", "a.parquet")
    assert store.cut_stream("d", "w") is None


def test_the_last_arrival_is_known_after_all_events_have_moved(store: Store) -> None:
    send(store, "a")
    arrived = store.get_last_arrival("d")
    assert arrived > 0
    compact(store, "w", "a.parquet")
    assert store.get_last_arrival("d") == pytest.approx(arrived, abs=0.01)


def test_a_deletion_ends_a_compaction_and_forgets_the_files(store: Store) -> None:
    send(store, "a")
    compact(store, "w", "a.parquet")
    send(store, "b")
    found = cut(store, "w")
    store.clear_dataset("d")
    send(store, "c")
    assert not store.commit_live_file(found, MADE)
    page = store.read_live_page("d", START, 10)
    assert (page.files, list_items(page)) == ([], ["c"])
    assert store.list_superseded_files("d") == []


def test_neighbours_are_replaced_in_one_step_that_can_be_repeated(store: Store) -> None:
    files = []
    for name in ("a", "b", "c", "d"):
        send(store, name)
        files.append(compact(store, "w", name))
    merged = replace(files[1], name="bc", last=files[2].last)
    for _ in range(2):
        assert store.replace_live_files("d", "w", files[1:3], merged)
        assert store.list_live_files("d") == [files[0], merged, files[3]]
    assert sorted(store.list_superseded_files("d")) == ["b", "c"]
    assert sorted(store.list_superseded_files("d", newer_than=60.0)) == ["b", "c"]
    store.forget_superseded_files("d", ["b"])
    assert store.list_superseded_files("d") == ["c"]
    for _ in range(2):
        assert store.replace_live_files("d", "w", [merged], None)
        assert store.list_live_files("d") == [files[0], files[3]]


def test_files_that_are_no_neighbours_any_more_are_not_replaced(store: Store) -> None:
    files = []
    for name in ("a", "b", "c"):
        send(store, name)
        files.append(compact(store, "w", name))
    new = replace(MADE, name="new")
    assert not store.replace_live_files("d", "w", [files[0], files[2]], new)
    assert not store.replace_live_files("d", "w", [replace(MADE, name="gone")], new)
    store.begin_live_writing("d", "later")
    assert not store.replace_live_files("d", "w", files[:2], new)
    assert store.list_live_files("d") == files
