"""(status, fact) -> status: each fact once, older attempts not at all, updates beside the status."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.status import transitions
from shared.jobs.celery_app import build_outbox_entry
from shared.state.lifecycle import (
    ACTIVE,
    CREATE_FAILED,
    CREATE_IN_PROGRESS,
    CREATE_PENDING,
    CREATE_STOPPED,
    CREATE_STOPPING,
    DELETE_PENDING,
    TERMINAL,
)
from shared.state.messages import Failed, Finished, Progressed, Provision, Remove, Started, Stopped
from shared.storage.artifacts import Artifacts
from shared.store import Record, Update
from shared.store.memory import MemoryStore

ARN = "arn:aws:personalize:r:a:solution/s/1"
OUTCOME = {"metrics": {"coverage": 0.5}, "baseline": {}, "seconds": 7.2, "epochs": 3}


def stored(kind: str = "solution_version", status: str = CREATE_PENDING, arn: str = ARN, **more: Any) -> MemoryStore:
    store = MemoryStore()
    store.create(Record(arn=arn, kind=kind, status=status, created=1.0, updated=1.0, **more), invocation="1")
    return store


def standing(store: MemoryStore, arn: str = ARN) -> Record:
    record = store.get(arn)
    assert record is not None
    return record


def test_a_training_that_goes_well_ends_active_with_its_numbers() -> None:
    store = stored(attempt=1)
    transitions.write_transition(store, Started(arn=ARN, attempt=1))
    assert standing(store).status == CREATE_IN_PROGRESS
    transitions.write_transition(store, Progressed(arn=ARN, attempt=1, progress={"epoch": 1}))
    assert standing(store).state["progress"] == {"epoch": 1}
    transitions.write_transition(store, Finished(arn=ARN, attempt=1, outcome=OUTCOME))
    record = standing(store)
    assert record.status == ACTIVE
    assert record.body["trainingHours"] == 0.002
    assert record.state["metrics"] == {"coverage": 0.5}


def test_progress_does_not_move_the_time_of_the_last_update() -> None:
    store = stored(status=CREATE_IN_PROGRESS, attempt=1)
    transitions.write_transition(store, Progressed(arn=ARN, attempt=1, progress={"epoch": 1}))
    assert standing(store).updated == 1.0


def test_a_failure_keeps_its_reason() -> None:
    store = stored(status=CREATE_IN_PROGRESS, attempt=1)
    transitions.write_transition(store, Failed(arn=ARN, attempt=1, reason="x" * 5000))
    assert standing(store).status == CREATE_FAILED
    assert standing(store).reason == "x" * 1000


@pytest.mark.parametrize("attempt", [0, 2])
def test_another_attempts_report_changes_nothing(attempt: int) -> None:
    store = stored(attempt=1)
    before = standing(store)
    fact = Finished(arn=ARN, attempt=attempt, outcome=OUTCOME)
    store.add_to_outbox(build_outbox_entry(fact))
    transitions.write_transition(store, fact)
    assert standing(store) == before
    assert store.list_outbox() == []


def test_a_fact_about_nothing_is_taken_out_of_the_outbox() -> None:
    store = MemoryStore()
    store.add_to_outbox(build_outbox_entry(Started(arn=ARN, attempt=1)))
    transitions.write_transition(store, Started(arn=ARN, attempt=1))
    assert store.list_outbox() == []


def test_what_ends_while_it_is_being_stopped_was_stopped() -> None:
    store = stored(status=CREATE_STOPPING, attempt=1)
    transitions.write_transition(store, Finished(arn=ARN, attempt=1, outcome=OUTCOME))
    record = standing(store)
    assert record.status == CREATE_STOPPED
    assert "metrics" not in record.state


def test_what_fails_while_it_is_being_stopped_was_stopped_and_gives_no_reason() -> None:
    store = stored(status=CREATE_STOPPING, attempt=1)
    transitions.write_transition(store, Failed(arn=ARN, attempt=1, reason="no"))
    assert (standing(store).status, standing(store).reason) == (CREATE_STOPPED, None)


FACTS = [
    Started(arn=ARN, attempt=1),
    Progressed(arn=ARN, attempt=1, progress={"epoch": 1}),
    Finished(arn=ARN, attempt=1, outcome=OUTCOME),
    Failed(arn=ARN, attempt=1, reason="no"),
    Stopped(arn=ARN, attempt=1),
    Finished(arn=ARN, attempt=0, outcome=OUTCOME),
]


@given(st.lists(st.sampled_from(FACTS), max_size=12))
def test_whatever_comes_in_whatever_order_a_settled_version_stays_as_it_is(facts: list[Any]) -> None:
    store = stored(attempt=1)
    for fact in facts:
        before = standing(store)
        transitions.write_transition(store, fact)
        if before.status in TERMINAL:
            assert standing(store) == before


def campaign() -> MemoryStore:
    update = Update(
        status=CREATE_PENDING,
        body={"solutionVersionArn": "arn:x:solution/s/2", "minProvisionedTPS": 3},
        created=2.0,
        updated=2.0,
    )
    return stored(
        "campaign",
        ACTIVE,
        attempt=4,
        body={"name": "c", "solutionVersionArn": "arn:x:solution/s/1", "minProvisionedTPS": 1},
        parents=("arn:x:solution/s", "arn:x:solution/s/1"),
        update=update,
    )


def test_an_update_moves_beside_the_status_and_takes_effect_at_its_end() -> None:
    store = campaign()
    transitions.write_transition(store, Started(arn=ARN, attempt=4))
    record = standing(store)
    assert record.update is not None
    assert (record.status, record.update.status) == (ACTIVE, CREATE_IN_PROGRESS)
    assert record.body["solutionVersionArn"] == "arn:x:solution/s/1"
    transitions.write_transition(store, Finished(arn=ARN, attempt=4))
    record = standing(store)
    assert record.update is not None
    assert (record.status, record.update.status, record.in_progress) == (ACTIVE, ACTIVE, None)
    assert record.body["solutionVersionArn"] == "arn:x:solution/s/2"
    assert [one.arn for one in store.list_page("campaign", "arn:x:solution/s/2")[0]] == [ARN]
    assert store.list_page("campaign", "arn:x:solution/s/1")[0] == []


def test_a_failed_update_leaves_the_campaign_as_it_was() -> None:
    store = campaign()
    transitions.write_transition(store, Failed(arn=ARN, attempt=4, reason="damaged"))
    record = standing(store)
    assert record.update is not None
    assert (record.status, record.reason) == (ACTIVE, None)
    assert (record.update.status, record.update.reason) == (CREATE_FAILED, "damaged")
    assert record.body["solutionVersionArn"] == "arn:x:solution/s/1"


def test_provision_makes_a_resource_active_once() -> None:
    store = stored("dataset_group", arn="arn:g")
    transitions.provision_resource(store, Provision(arn="arn:g"))
    first = standing(store, "arn:g")
    assert first.status == ACTIVE
    transitions.provision_resource(store, Provision(arn="arn:g"))
    assert standing(store, "arn:g") == first


def test_remove_takes_what_the_resource_owns_with_it(tmp_path: Any) -> None:
    store = stored("solution", DELETE_PENDING, "arn:s", attempt=1)
    store.create(
        Record(arn=ARN, kind="solution_version", status=ACTIVE, created=1.0, updated=1.0, parents=("arn:s",)),
        invocation="2",
    )
    artifacts = Artifacts(tmp_path)
    with artifacts.fill_artifact(ARN, 1) as folder:
        (folder / "model").write_bytes(b"x")
    transitions.remove_resource(store, artifacts, Remove(arn="arn:s"))
    assert store.get("arn:s") is None
    assert store.get(ARN) is None
    assert not artifacts.get_folder(ARN).exists()


def test_remove_leaves_what_nobody_asked_to_delete(tmp_path: Any) -> None:
    store = stored("solution", ACTIVE, "arn:s")
    transitions.remove_resource(store, Artifacts(tmp_path), Remove(arn="arn:s"))
    assert standing(store, "arn:s").status == ACTIVE


def test_a_conflict_is_decided_again(monkeypatch: pytest.MonkeyPatch) -> None:
    store = stored(attempt=1)
    read = store.get
    calls = 0

    def stale(arn: str) -> Record | None:
        nonlocal calls
        calls += 1
        record = read(arn)
        return replace(record, version=record.version - 1) if record and calls == 1 else record

    monkeypatch.setattr(store, "get", stale)
    transitions.write_transition(store, Started(arn=ARN, attempt=1))
    assert calls == 2
    assert standing(store).status == CREATE_IN_PROGRESS
