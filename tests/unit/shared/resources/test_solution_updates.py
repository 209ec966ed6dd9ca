"""UpdateSolution: what it changes, when, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from shared.aws.errors import InvalidInput, ResourceInUse, ResourceNotFound
from shared.state.lifecycle import (
    ACTIVE,
    CREATE_PENDING,
)
from shared.state.messages import Provision
from tests.unit.shared.resources.solution_requests import (
    SOLUTION,
    WATCH,
    create,
    described,
    events,
    update,
)
from tests.unit.shared.resources.standing import PREFIX, Standing, refused


def test_an_update_runs_beside_the_status_and_changes_the_schedule_at_its_end(standing: Standing) -> None:
    config = {"algorithmHyperParameters": {"bptt": "8"}}
    assert "latestSolutionUpdate" not in create(standing, solutionConfig=config)
    wanted = {"autoTrainingConfig": {"schedulingExpression": "rate(5 days)"}}
    shown = update(standing, performAutoTraining=False, solutionUpdateConfig=wanted)
    assert (shown["status"], shown["performAutoTraining"], shown["solutionConfig"]) == (ACTIVE, True, config)
    begun = shown["latestSolutionUpdate"]
    assert begun["status"] == CREATE_PENDING
    assert (begun["performAutoTraining"], begun["solutionUpdateConfig"]) == (False, wanted)
    assert {"creationDateTime", "lastUpdatedDateTime"} <= begun.keys()
    assert standing.heard() == [Provision(arn=SOLUTION)]
    shown = described(standing)
    assert shown["latestSolutionUpdate"]["status"] == ACTIVE
    assert (shown["performAutoTraining"], shown["solutionConfig"]) == (False, {**config, **wanted})


def test_new_events_take_the_place_of_the_old_ones(with_events: Standing) -> None:
    rate = {"autoTrainingConfig": {"schedulingExpression": "rate(5 days)"}}
    create(with_events, "aws-with-events", solutionConfig={**events(WATCH), **rate})
    update(with_events, solutionUpdateConfig=events({"eventType": "click"}))
    with_events.heard()
    assert described(with_events)["solutionConfig"] == {**events({"eventType": "click"}), **rate}


def test_while_it_is_updated_versions_are_made_but_it_is_neither_deleted_nor_updated(standing: Standing) -> None:
    create(standing)
    update(standing, performAutoTraining=False)
    with refused(ResourceInUse, "CREATE PENDING"):
        standing.ask("DeleteSolution", solutionArn=SOLUTION)
    with refused(ResourceInUse, "CREATE PENDING"):
        update(standing, performAutoTraining=True)
    version = standing.ask("CreateSolutionVersion", solutionArn=SOLUTION)["solutionVersionArn"]
    standing.heard()
    assert described(standing)["latestSolutionUpdate"]["status"] == ACTIVE
    assert standing.get(version).status == CREATE_PENDING


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({}, "nothing to update"),
        ({"performIncrementalUpdate": True}, "aws-semantic-similarity alone"),
        ({"solutionUpdateConfig": {"autoTrainingConfig": {"schedulingExpression": "rate(31 days)"}}}, "1 to 30"),
        ({"solutionUpdateConfig": events(WATCH)}, "aws-hrnn does not take solutionConfig.eventsConfig"),
    ],
)
def test_an_update_that_makes_no_sense_is_refused(standing: Standing, wanted: dict[str, Any], message: str) -> None:
    create(standing)
    with refused(InvalidInput, message):
        update(standing, **wanted)
    assert "latestSolutionUpdate" not in described(standing)


def test_events_are_not_updated_beside_an_event_type(with_events: Standing) -> None:
    create(with_events, "aws-with-events", eventType="watch")
    with refused(InvalidInput, "in place of eventType"):
        update(with_events, solutionUpdateConfig=events(WATCH))


def test_events_are_not_updated_by_a_column_that_is_left_out(with_events: Standing) -> None:
    left_out = {"trainingDataConfig": {"excludedDatasetColumns": {"INTERACTIONS": ["EVENT_VALUE"]}}}
    create(with_events, "aws-with-events", solutionConfig=left_out)
    with refused(InvalidInput, "eventsConfig needs the column EVENT_VALUE"):
        update(with_events, solutionUpdateConfig=events(WATCH))
    update(with_events, solutionUpdateConfig=events({"eventType": "watch"}))


def test_an_unknown_solution_is_not_updated(standing: Standing) -> None:
    with refused(ResourceNotFound, "solution/none"):
        standing.ask("UpdateSolution", solutionArn=f"{PREFIX}:solution/none", performAutoTraining=True)
