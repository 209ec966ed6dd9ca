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
    TransitionRequest,
)

LIFECYCLES = [value for value in vars(lifecycle).values() if isinstance(value, Lifecycle)]
ENDS = {GONE, *lifecycle.TERMINAL}


@pytest.mark.parametrize("table", LIFECYCLES)
def test_every_status_in_motion_can_still_end(table: Lifecycle) -> None:
    def reachable(status: str, seen: frozenset[str]) -> set[str]:
        after = {to for (at, _), to in table.transitions.items() if at == status} - seen
        return after.union(*(reachable(to, seen | after) for to in after)) if after else set()

    for status in {table.first, *table.transitions.values()} - ENDS:
        assert reachable(status, frozenset({status})) & ENDS, status


@pytest.mark.parametrize("table", LIFECYCLES)
def test_a_settled_status_moves_on_a_request_alone(table: Lifecycle) -> None:
    for status, what in table.transitions:
        if status in lifecycle.TERMINAL:
            assert isinstance(what, TransitionRequest)


@pytest.mark.parametrize(
    ("status", "what", "after"),
    [
        (CREATE_PENDING, TransitionRequest.STOP, CREATE_STOPPED),
        (CREATE_IN_PROGRESS, TransitionRequest.STOP, CREATE_STOPPING),
        (CREATE_STOPPING, Happened.STOPPED, CREATE_STOPPED),
        (CREATE_STOPPING, Happened.FINISHED, CREATE_STOPPED),
        (CREATE_IN_PROGRESS, Happened.FINISHED, ACTIVE),
        (CREATE_IN_PROGRESS, Happened.FAILED, CREATE_FAILED),
        (CREATE_STOPPED, Happened.FINISHED, None),
        (ACTIVE, TransitionRequest.STOP, None),
        (ACTIVE, Happened.STARTED, None),
    ],
)
def test_a_version_is_stopped_as_aws_stops_it(
    status: str, what: TransitionRequest | Happened, after: str | None
) -> None:
    assert lifecycle.TRAINED.get_next_status(status, what) == after


def test_what_is_deleted_goes_through_two_statuses_and_is_gone() -> None:
    assert lifecycle.DEPLOYABLE.get_next_status(ACTIVE, TransitionRequest.DELETE) == DELETE_PENDING
    assert lifecycle.DEPLOYABLE.get_next_status(CREATE_FAILED, TransitionRequest.DELETE) == DELETE_PENDING
    assert lifecycle.DEPLOYABLE.get_next_status(DELETE_PENDING, Happened.STARTED) == DELETE_IN_PROGRESS
    assert lifecycle.DEPLOYABLE.get_next_status(DELETE_IN_PROGRESS, Happened.FINISHED) == GONE
    assert lifecycle.DEPLOYABLE.get_next_status(CREATE_PENDING, TransitionRequest.DELETE) is None


def test_a_recommender_is_stopped_and_started_as_aws_says() -> None:
    seen, status = [], ACTIVE
    for what in (
        TransitionRequest.STOP,
        Happened.STARTED,
        Happened.FINISHED,
        TransitionRequest.START,
        Happened.STARTED,
        Happened.FINISHED,
    ):
        status = lifecycle.SWITCHABLE.get_next_status(status, what) or ""
        seen.append(status)
    assert seen == ["STOP PENDING", "STOP IN_PROGRESS", "INACTIVE", "START PENDING", "START IN_PROGRESS", "ACTIVE"]
    assert lifecycle.SWITCHABLE.get_next_status(ACTIVE, TransitionRequest.START) is None
    assert lifecycle.SWITCHABLE.get_next_status(lifecycle.INACTIVE, TransitionRequest.STOP) is None


def test_what_cannot_be_started_stays_stopped() -> None:
    assert lifecycle.SWITCHABLE.get_next_status(lifecycle.START_IN_PROGRESS, Happened.FAILED) == lifecycle.INACTIVE
    assert lifecycle.SWITCHABLE.get_next_status(lifecycle.INACTIVE, TransitionRequest.DELETE) == DELETE_PENDING


def test_a_deletion_job_has_words_of_its_own() -> None:
    assert lifecycle.DATA_DELETION.first == "PENDING"
    assert lifecycle.DATA_DELETION.get_next_status("PENDING", Happened.STARTED) == "IN_PROGRESS"
    assert lifecycle.DATA_DELETION.get_next_status("IN_PROGRESS", Happened.FINISHED) == "COMPLETED"
    assert lifecycle.DATA_DELETION.get_next_status("IN_PROGRESS", Happened.FAILED) == "FAILED"
