"""A walk through the pages of a list meets what stands exactly once, whatever is made and deleted meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from shared.store import Record, Store

STANDING = 1000


def solution(name: str, created: float) -> Record:
    return Record(arn=f"arn:x:solution/{name}", kind="solution", created=created, updated=created, parents=("g",))


def make(store: Store, name: str, created: float) -> Record:
    store.create(solution(name, created), invocation=f"{name}@{created}")
    record = store.get(f"arn:x:solution/{name}")
    assert record is not None
    return record


@contextmanager
def others_coming_and_going(store: Store) -> Iterator[list[int]]:
    """Older than all that stands, newer, and in between; ``made`` counts them."""
    over, made = threading.Event(), [0]

    def live() -> None:
        while not over.is_set():
            lives = [make(store, f"guest-{made[0]}-{at}", at) for at in (0.5, STANDING / 2 + 0.5, STANDING * 2.0)]
            for record in lives:
                store.remove(record)
            made[0] += 1

    guests = threading.Thread(target=live)
    guests.start()
    try:
        yield made
    finally:
        over.set()
        guests.join()


def test_what_stands_is_listed_once_while_others_come_and_go(store: Store) -> None:
    # Many were made in the same moment: only their names tell their places apart.
    standing = [make(store, f"s{number:04}", float(number // 7)).arn for number in range(STANDING)]
    with others_coming_and_going(store) as made:
        for limit in (100, 33, 7):
            met: list[str] = []
            after: str | None = None
            while True:
                page, after = store.list_page("solution", "g", after=after, limit=limit)
                met += [record.arn for record in page if "guest" not in record.arn]
                if after is None:
                    break
            assert sorted(met) == standing
    assert made[0] > 0


def test_a_page_goes_on_after_a_record_that_is_gone(store: Store) -> None:
    records = [make(store, f"s{number}", 1.0) for number in range(6)]
    first, after = store.list_page("solution", limit=3)
    store.remove(first[-1])
    rest, end = store.list_page("solution", after=after, limit=3)
    assert ({one.arn for one in [*first, *rest]}, end) == ({one.arn for one in records}, None)
