"""Records, indexes, claims and the outbox: every change is atomic, compared and safe to repeat."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest

from shared.jobs.celery_app import build_outbox_entry
from shared.state.lifecycle import ACTIVE, CREATE_IN_PROGRESS, CREATE_PENDING
from shared.state.messages import Provision, Started
from shared.store import Conflict, Limit, LimitReached, NameTaken, Record, Store, Update
from shared.store.redis import RedisStore


def record(name: str, **more: object) -> Record:
    fields: dict[str, object] = {"kind": "solution", "created": 1.0, "updated": 1.0, "status": CREATE_PENDING}
    return Record(arn=f"arn:aws:personalize:r:a:solution/{name}", **{**fields, **more})  # type: ignore[arg-type]


def test_what_was_created_is_read_back_whole(store: Store) -> None:
    written = record("a", body={"name": "é\u2028", "n": 1.5}, state={"x": [1, None]}, parents=("p",), claims=("c",))
    assert store.create(written, invocation="1") == written.arn
    read = store.get(written.arn)
    assert read == replace(written, version=1, in_progress=CREATE_PENDING)


def test_an_update_in_motion_is_what_moves(store: Store) -> None:
    update = Update(status=CREATE_PENDING, body={"b": 2}, created=2.0, updated=2.0)
    store.create(record("a", status=ACTIVE, update=update), invocation="1")
    read = store.get(record("a").arn)
    assert read is not None
    assert (read.status, read.in_progress, read.update) == (ACTIVE, CREATE_PENDING, update)


def test_a_settled_record_does_not_move(store: Store) -> None:
    store.create(record("a", status=ACTIVE), invocation="1")
    assert store.list_in_progress() == []
    store.create(record("b"), invocation="2")
    assert store.list_in_progress() == [record("b").arn]


def test_nothing_is_found_under_an_unknown_arn(store: Store) -> None:
    assert store.get("arn:none") is None
    assert store.find_claim_holder("nobody") is None


def test_a_second_record_of_the_same_arn_is_refused_and_changes_nothing(store: Store) -> None:
    store.create(record("a", body={"n": 1}), invocation="1")
    with pytest.raises(NameTaken) as refused:
        store.create(record("a", body={"n": 2}), invocation="2", outbox=[build_outbox_entry(Provision(arn="x"))])
    assert refused.value.arn == record("a").arn
    standing = store.get(record("a").arn)
    assert standing is not None
    assert standing.body == {"n": 1}
    assert store.list_outbox() == []


def test_a_claimed_name_has_one_holder_until_it_is_removed(store: Store) -> None:
    store.create(record("a", claims=("tracker-of:g",)), invocation="1")
    with pytest.raises(NameTaken) as refused:
        store.create(record("b", claims=("tracker-of:g",)), invocation="2")
    assert refused.value.arn == record("a").arn
    assert store.get(record("b").arn) is None
    assert store.find_claim_holder("tracker-of:g") == record("a").arn
    standing = store.get(record("a").arn)
    assert standing is not None
    store.remove(standing)
    assert store.find_claim_holder("tracker-of:g") is None
    store.create(record("b", claims=("tracker-of:g",)), invocation="3")


def test_a_repeated_invocation_gets_the_first_answer(store: Store) -> None:
    first = store.create(record("a"), invocation="same")
    assert store.create(record("b"), invocation="same") == first
    assert store.get(record("b").arn) is None


def test_what_an_invocation_has_changed_it_changes_once(store: Store) -> None:
    store.create(record("a", body={"n": 1}), invocation="1")
    read = store.get(record("a").arn)
    assert read is not None
    assert store.find_by_invocation("2") is None
    store.replace(replace(read, body={"n": 2}), invocation="2", outbox=[build_outbox_entry(Provision(arn=read.arn))])
    assert store.find_by_invocation("2") == read.arn
    # A second try may have read before or after the first has written.
    changed = store.get(read.arn)
    assert changed is not None
    store.remove_from_outbox(build_outbox_entry(Provision(arn=read.arn)).id)
    store.replace(replace(changed, body={"n": 3}), invocation="2", outbox=[build_outbox_entry(Provision(arn=read.arn))])
    assert store.get(read.arn) == changed
    assert store.list_outbox() == []


def test_what_an_invocation_has_removed_stays_as_it_is_then(store: Store) -> None:
    store.create(record("a"), invocation="1")
    read = store.get(record("a").arn)
    assert read is not None
    store.remove(read, invocation="2")
    assert store.find_by_invocation("2") == read.arn
    store.create(record("a"), invocation="3")
    anew = store.get(read.arn)
    assert anew is not None
    store.remove(anew, invocation="2")
    assert store.get(read.arn) == anew


def test_of_many_creates_of_one_name_one_wins(store: Store) -> None:
    outcomes: list[str] = []

    def create(number: int) -> None:
        try:
            store.create(record("a", body={"n": number}), invocation=str(number))
            outcomes.append("written")
        except NameTaken:
            outcomes.append("taken")

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["taken"] * 7 + ["written"]


def test_a_limit_counts_all_or_those_under_a_parent(store: Store) -> None:
    store.create(record("a", parents=("p", "q")), invocation="1", limit=Limit(maximum=1))
    with pytest.raises(LimitReached):
        store.create(
            record("b"), invocation="2", limit=Limit(maximum=1), outbox=[build_outbox_entry(Provision(arn="x"))]
        )
    with pytest.raises(LimitReached):
        store.create(record("b", parents=("q",)), invocation="2", limit=Limit(maximum=1, parent="q"))
    assert (store.get(record("b").arn), store.list_outbox()) == (None, [])
    assert store.create(record("b"), invocation="2", limit=Limit(maximum=1, parent="r")) == record("b").arn
    store.create(record("c", kind="campaign"), invocation="3", limit=Limit(maximum=1))


def test_a_limit_of_what_moves_passes_over_what_has_settled(store: Store) -> None:
    limit = Limit(maximum=2, parent="p", in_progress_only=True)
    for number in range(3):
        store.create(record(f"settled{number}", status=ACTIVE, parents=("p",)), invocation=f"s{number}", limit=limit)
    store.create(record("elsewhere"), invocation="e", limit=limit)
    for number in range(2):
        store.create(record(f"moving{number}", parents=("p",)), invocation=str(number), limit=limit)
    with pytest.raises(LimitReached):
        store.create(record("third", parents=("p",)), invocation="3", limit=limit)
    read = store.get(record("moving0").arn)
    assert read is not None
    store.replace(replace(read, status=ACTIVE))
    store.create(record("third", parents=("p",)), invocation="3", limit=limit)


def test_a_name_that_is_taken_is_said_before_a_limit_and_a_retry_before_both(store: Store) -> None:
    full = Limit(maximum=1)
    made = store.create(record("a", claims=("c",)), invocation="1", limit=full)
    assert store.create(record("a", claims=("c",)), invocation="1", limit=full) == made
    for again in (record("a"), record("b", claims=("c",))):
        with pytest.raises(NameTaken):
            store.create(again, invocation="2", limit=full)


@pytest.mark.parametrize("moving", [False, True])
def test_creates_that_race_stop_at_the_limit(store: Store, moving: bool) -> None:
    refused: list[int] = []

    def create(number: int) -> None:
        limit = Limit(maximum=3, parent="p", in_progress_only=moving)
        try:
            store.create(record(str(number), parents=("p",)), invocation=str(number), limit=limit)
        except LimitReached:
            refused.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 5
    assert len(store.list_page("solution", "p")[0]) == 3


def test_a_replacement_compares_versions(store: Store) -> None:
    store.create(record("a"), invocation="1")
    read = store.get(record("a").arn)
    assert read is not None
    store.replace(replace(read, status=CREATE_IN_PROGRESS))
    with pytest.raises(Conflict):
        store.replace(replace(read, status=ACTIVE))
    standing = store.get(read.arn)
    assert standing is not None
    assert standing.status == CREATE_IN_PROGRESS


def test_a_removed_record_cannot_be_replaced_or_removed_again(store: Store) -> None:
    store.create(record("a"), invocation="1")
    read = store.get(record("a").arn)
    assert read is not None
    store.remove(read)
    assert store.get(read.arn) is None
    assert store.list_page("solution") == ([], None)
    assert store.list_in_progress() == []
    with pytest.raises(Conflict):
        store.replace(read)
    with pytest.raises(Conflict):
        store.remove(read)


def test_a_guard_that_changed_stops_the_birth_of_its_child(store: Store) -> None:
    store.create(record("parent", status=ACTIVE), invocation="1")
    read = store.get(record("parent").arn)
    assert read is not None
    store.replace(replace(read, body={"changed": True}))
    with pytest.raises(Conflict):
        store.create(record("child"), invocation="2", guards=[read])
    assert store.get(record("child").arn) is None


def test_a_birth_stops_a_deletion_that_was_decided_before_it(store: Store) -> None:
    store.create(record("parent", status=ACTIVE), invocation="1")
    read = store.get(record("parent").arn)
    assert read is not None
    store.create(record("child"), invocation="2", guards=[read])
    with pytest.raises(Conflict):
        store.remove(read)


def test_pages_go_from_the_newest_to_the_oldest_and_meet_everything_once(store: Store) -> None:
    for number in range(7):
        # Some are born in the same instant: the order among them is that of their ARNs.
        store.create(record(f"s{number}", created=float(number // 2), parents=("p",)), invocation=str(number))
    store.create(record("other"), invocation="o")
    seen: list[str] = []
    after = None
    while True:
        page, after = store.list_page("solution", "p", after=after, limit=2)
        assert len(page) <= 2
        seen += [one.arn.rpartition("/")[2] for one in page]
        if after is None:
            break
    assert seen == ["s6", "s5", "s4", "s3", "s2", "s1", "s0"]
    assert len(store.list_page("solution")[0]) == 8


def test_a_page_that_ends_with_the_last_record_says_so(store: Store) -> None:
    for number in range(4):
        store.create(record(f"s{number}"), invocation=str(number))
    page, after = store.list_page("solution", limit=4)
    assert (len(page), after) == (4, None)


def test_new_parents_replace_the_old_ones(store: Store) -> None:
    store.create(record("a", parents=("one",)), invocation="1")
    read = store.get(record("a").arn)
    assert read is not None
    store.replace(replace(read, parents=("two",)))
    assert store.list_page("solution", "one")[0] == []
    assert [one.arn for one in store.list_page("solution", "two")[0]] == [read.arn]


def test_a_note_written_with_a_record_waits_until_it_is_done(store: Store) -> None:
    written = build_outbox_entry(Provision(arn=record("a").arn))
    store.create(record("a"), invocation="1", outbox=[written])
    assert store.list_outbox() == [written]
    assert store.list_outbox(older_than=60) == []
    store.remove_from_outbox(written.id)
    assert store.list_outbox() == []


def test_a_fact_note_goes_with_the_replacement_that_applied_it(store: Store) -> None:
    store.create(record("a"), invocation="1")
    written = build_outbox_entry(Started(arn=record("a").arn, attempt=1))
    store.add_to_outbox(written)
    read = store.get(record("a").arn)
    assert read is not None
    store.replace(replace(read, status=CREATE_IN_PROGRESS), completed_entry=written.id)
    assert store.list_outbox() == []


def test_ages_are_counted_by_the_stores_own_clock(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the clock of a process says, be it ten minutes ahead or behind."""
    at = store.now()
    for number, skew in enumerate((600.0, -600.0)):
        real = time.time
        with monkeypatch.context() as wrong:
            if isinstance(store, RedisStore):
                wrong.setattr(time, "time", lambda real=real, skew=skew: real() + skew)
            store.add_to_outbox(build_outbox_entry(Provision(arn=f"alone{number}")))
            store.create(
                record(f"s{number}"),
                invocation=str(number),
                outbox=[build_outbox_entry(Provision(arn=f"with{number}"))],
            )
            assert len(store.list_outbox(older_than=300.0)) == 0
            assert abs(store.now() - at) < 60
    assert [one.message.arn for one in store.list_outbox()] == ["alone0", "with0", "alone1", "with1"]
