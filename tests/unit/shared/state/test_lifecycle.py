"""The tables of moves: complete for what they promise, and silent for everything else."""

from __future__ import annotations

import pytest

from shared.state import lifecycle
from shared.state.lifecycle import (
    ACTIVE,
    CREATE_FAILED,
    CREATE_IN_PROGRESS,
    CREATE_PENDING,
    CREATE_STOPPED,
    CREATE_STOPPING,
    DELETE_IN_PROGRESS,
    DELETE_PENDING,
    GONE,
    Happened,
    Lifecycle,
    Request,
)

LIFECYCLES = [value for value in vars(lifecycle).values() if isinstance(value, Lifecycle)]
ENDS = {GONE, *lifecycle.SETTLED}


@pytest.mark.parametrize("table", LIFECYCLES)
def test_every_status_in_motion_can_still_end(table: Lifecycle) -> None:
    def reachable(status: str, seen: frozenset[str]) -> set[str]:
        after = {to for (at, _), to in table.moves.items() if at == status} - seen
        return after.union(*(reachable(to, seen | after) for to in after)) if after else set()

    for status in {table.first, *table.moves.values()} - ENDS:
        assert reachable(status, frozenset({status})) & ENDS, status


@pytest.mark.parametrize("table", LIFECYCLES)
def test_a_settled_status_moves_on_a_request_alone(table: Lifecycle) -> None:
    for status, what in table.moves:
        if status in lifecycle.SETTLED:
            assert isinstance(what, Request)


@pytest.mark.parametrize(
    ("status", "what", "after"),
    [
        (CREATE_PENDING, Request.STOP, CREATE_STOPPED),
        (CREATE_IN_PROGRESS, Request.STOP, CREATE_STOPPING),
        (CREATE_STOPPING, Happened.STOPPED, CREATE_STOPPED),
        (CREATE_STOPPING, Happened.FINISHED, CREATE_STOPPED),
        (CREATE_IN_PROGRESS, Happened.FINISHED, ACTIVE),
        (CREATE_IN_PROGRESS, Happened.FAILED, CREATE_FAILED),
        (CREATE_STOPPED, Happened.FINISHED, None),
        (ACTIVE, Request.STOP, None),
        (ACTIVE, Happened.STARTED, None),
    ],
)
def test_a_version_is_stopped_as_aws_stops_it(status: str, what: Request | Happened, after: str | None) -> None:
    assert lifecycle.TRAINED.after(status, what) == after


def test_what_is_deleted_goes_through_two_statuses_and_is_gone() -> None:
    assert lifecycle.DEPLOYABLE.after(ACTIVE, Request.DELETE) == DELETE_PENDING
    assert lifecycle.DEPLOYABLE.after(CREATE_FAILED, Request.DELETE) == DELETE_PENDING
    assert lifecycle.DEPLOYABLE.after(DELETE_PENDING, Happened.STARTED) == DELETE_IN_PROGRESS
    assert lifecycle.DEPLOYABLE.after(DELETE_IN_PROGRESS, Happened.FINISHED) == GONE
    assert lifecycle.DEPLOYABLE.after(CREATE_PENDING, Request.DELETE) is None


def test_a_recommender_is_stopped_and_started_as_aws_says() -> None:
    seen, status = [], ACTIVE
    for what in (Request.STOP, Happened.STARTED, Happened.FINISHED, Request.START, Happened.STARTED, Happened.FINISHED):
        status = lifecycle.SWITCHABLE.after(status, what) or ""
        seen.append(status)
    assert seen == ["STOP PENDING", "STOP IN_PROGRESS", "INACTIVE", "START PENDING", "START IN_PROGRESS", "ACTIVE"]
    assert lifecycle.SWITCHABLE.after(ACTIVE, Request.START) is None
    assert lifecycle.SWITCHABLE.after(lifecycle.INACTIVE, Request.STOP) is None


def test_what_cannot_be_started_stays_stopped() -> None:
    assert lifecycle.SWITCHABLE.after(lifecycle.START_IN_PROGRESS, Happened.FAILED) == lifecycle.INACTIVE
    assert lifecycle.SWITCHABLE.after(lifecycle.INACTIVE, Request.DELETE) == DELETE_PENDING


def test_a_deletion_job_has_words_of_its_own() -> None:
    assert lifecycle.ERASURE.first == "PENDING"
    assert lifecycle.ERASURE.after("PENDING", Happened.STARTED) == "IN_PROGRESS"
    assert lifecycle.ERASURE.after("IN_PROGRESS", Happened.FINISHED) == "COMPLETED"
    assert lifecycle.ERASURE.after("IN_PROGRESS", Happened.FAILED) == "FAILED"
