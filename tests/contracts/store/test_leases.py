"""Who works on what: one live lease per work item, each claim a new attempt, the dead are noticed."""

from __future__ import annotations

from dataclasses import replace

from shared.state.lifecycle import ACTIVE, CLAIMABLE, CREATE_PENDING
from shared.store import Record, Store
from tests.conftest import until

ARN = "arn:aws:personalize:r:a:solution/a/1"


def create(store: Store, status: str = CREATE_PENDING) -> None:
    record = Record(arn=ARN, kind="solution_version", created=1.0, updated=1.0, status=status)
    store.create(record, invocation="1")


def test_one_worker_takes_the_work_up_and_nobody_else_meanwhile(store: Store) -> None:
    create(store)
    lease = store.claim_lease(ARN, "one", CLAIMABLE, 60)
    assert lease is not None
    assert lease.attempt == 1
    assert store.claim_lease(ARN, "two", CLAIMABLE, 60) is None
    record = store.get(ARN)
    assert record is not None
    assert (record.attempt, record.failures) == (1, 0)


def test_a_claim_changes_the_version_so_that_decisions_before_it_fail(store: Store) -> None:
    create(store)
    before = store.get(ARN)
    store.claim_lease(ARN, "one", CLAIMABLE, 60)
    after = store.get(ARN)
    assert before is not None
    assert after is not None
    assert after.version > before.version


def test_settled_or_missing_work_cannot_be_claimed(store: Store) -> None:
    assert store.claim_lease(ARN, "one", CLAIMABLE, 60) is None
    create(store, ACTIVE)
    assert store.claim_lease(ARN, "one", CLAIMABLE, 60) is None


def test_an_expired_lease_stays_visible_and_its_claim_counts_a_failure(store: Store) -> None:
    create(store)
    store.claim_lease(ARN, "one", CLAIMABLE, 0.05)
    expired = until(lambda: (lease := store.get_lease(ARN)) and lease.seconds_left <= 0 and lease)
    assert expired.worker == "one"
    second = store.claim_lease(ARN, "two", CLAIMABLE, 60)
    assert second is not None
    assert second.attempt == 2
    record = store.get(ARN)
    assert record is not None
    assert record.failures == 1


def test_renewal_tells_the_status_and_fails_for_a_lost_lease(store: Store) -> None:
    create(store)
    first = store.claim_lease(ARN, "one", CLAIMABLE, 0.01)
    assert first is not None
    assert store.renew_lease(first, 0.01) == CREATE_PENDING
    until(lambda: (lease := store.get_lease(ARN)) and lease.seconds_left <= 0)
    second = store.claim_lease(ARN, "two", CLAIMABLE, 60)
    assert second is not None
    assert store.renew_lease(first, 60) is None
    assert store.renew_lease(second, 60) == CREATE_PENDING


def test_work_that_settles_has_no_lease_any_more(store: Store) -> None:
    create(store)
    lease = store.claim_lease(ARN, "one", CLAIMABLE, 60)
    record = store.get(ARN)
    assert lease is not None
    assert record is not None
    store.replace(replace(record, status=ACTIVE))
    assert store.get_lease(ARN) is None
    assert store.renew_lease(lease, 60) is None


def test_work_given_back_can_be_claimed_at_once(store: Store) -> None:
    create(store)
    first = store.claim_lease(ARN, "one", CLAIMABLE, 60)
    assert first is not None
    store.release_lease(first, failed=False)
    assert store.get_lease(ARN) is None
    second = store.claim_lease(ARN, "two", CLAIMABLE, 60)
    assert second is not None
    store.release_lease(first, failed=True)  # late and lost: nothing happens
    assert store.get_lease(ARN) is not None
    store.release_lease(second, failed=True)
    record = store.get(ARN)
    assert record is not None
    assert (record.attempt, record.failures) == (2, 1)


def test_a_lock_passes_on_when_its_owner_is_silent(store: Store) -> None:
    assert store.acquire_lock("reconciler", "one", 0.2)
    assert store.acquire_lock("reconciler", "one", 0.2)
    assert not store.acquire_lock("reconciler", "two", 0.2)
    until(lambda: store.acquire_lock("reconciler", "two", 60), 5)
    assert not store.acquire_lock("reconciler", "one", 60)


def test_a_process_is_alive_for_as_long_as_it_says_so(store: Store) -> None:
    store.send_heartbeat("training@here:1", 60)
    store.send_heartbeat("status@here:2", 0.05)
    until(lambda: store.list_live_processes() == ["training@here:1"])
