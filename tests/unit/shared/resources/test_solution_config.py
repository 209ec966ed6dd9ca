"""The events, the objective and the schedule of solutions: what is taken and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from shared.aws.errors import InvalidInput, Validation
from shared.resources.solution import schedule
from tests.unit.shared.resources.solution_requests import (
    EVENT_TYPE,
    EVENT_VALUE,
    FIELDS,
    ITEMS,
    WATCH,
    create,
    events,
)
from tests.unit.shared.resources.standing import Standing, refused


def test_events_and_their_weights_are_taken_by_recipes_that_have_them(with_events: Standing) -> None:
    config = events(WATCH, {"eventType": "click", "weight": 0.0})
    assert create(with_events, "aws-with-events", solutionConfig=config)["solutionConfig"] == config
    with refused(InvalidInput, "aws-hrnn does not take solutionConfig.eventsConfig"):
        create(with_events, "aws-hrnn", solutionConfig=config)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"eventType": "watch", "solutionConfig": events(WATCH)}, "in place of eventType"),
        ({"solutionConfig": {**events(WATCH), "eventValueThreshold": "3"}}, "in place of eventType"),
        ({"solutionConfig": events()}, "at least one event"),
        ({"solutionConfig": events({"weight": 0.5})}, "each event its eventType"),
        ({"solutionConfig": events(WATCH, {"eventType": "WATCH"})}, "names an event type twice"),
        ({"solutionConfig": events({"eventType": "watch", "weight": 0})}, "the weight 0"),
    ],
)
def test_events_that_contradict_one_another_are_refused(
    with_events: Standing, more: dict[str, Any], message: str
) -> None:
    with refused(InvalidInput, message):
        create(with_events, "aws-with-events", **more)


@pytest.mark.parametrize("weight", [-0.1, 1.1])
def test_a_weight_lies_between_0_and_1(with_events: Standing, weight: float) -> None:
    with refused(Validation, "weight"):
        create(with_events, "aws-with-events", solutionConfig=events({**WATCH, "weight": weight}))


def test_more_than_ten_events_are_refused(with_events: Standing) -> None:
    with refused(Validation, "less than or equal to 10"):
        create(with_events, "aws-with-events", solutionConfig=events(*({"eventType": str(n)} for n in range(11))))


@pytest.mark.parametrize(
    ("columns", "config", "message"),
    [
        ([EVENT_VALUE], {"eventValueThreshold": "3"}, "eventValueThreshold needs a column EVENT_TYPE"),
        ([EVENT_TYPE], {"eventValueThreshold": "3"}, "eventValueThreshold needs a column EVENT_VALUE"),
        ([], events({"eventType": "watch"}), "eventsConfig needs a column EVENT_TYPE"),
        ([EVENT_TYPE], events(WATCH), "eventsConfig needs a column EVENT_VALUE"),
    ],
)
def test_events_are_told_apart_by_columns_that_must_be_there(
    standing: Standing, columns: list[dict[str, Any]], config: dict[str, Any], message: str
) -> None:
    standing.dataset("Interactions", [*FIELDS, *columns])
    with refused(InvalidInput, message):
        create(standing, "aws-with-events", solutionConfig=config)


# What is weighed beside relevance


def objective(**members: str) -> dict[str, Any]:
    return {"optimizationObjective": members}


def test_an_objective_is_a_column_of_numbers_of_the_items(standing: Standing) -> None:
    standing.dataset("Items", ITEMS)
    config = objective(itemAttribute="PRICE", objectiveSensitivity="LOW")
    assert create(standing, "aws-with-objective", solutionConfig=config)["solutionConfig"] == config


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (objective(itemAttribute="WEIGHT"), "names WEIGHT, no column"),
        (objective(itemAttribute="RATING"), "can't be null"),
        (objective(itemAttribute="TITLE"), "not a column of numbers"),
        (objective(objectiveSensitivity="HIGH"), "needs itemAttribute"),
        (
            {
                **objective(itemAttribute="PRICE"),
                "trainingDataConfig": {"excludedDatasetColumns": {"ITEMS": ["PRICE"]}},
            },
            "do not exclude it",
        ),
    ],
)
def test_an_objective_that_no_column_gives_is_refused(standing: Standing, config: dict[str, Any], message: str) -> None:
    standing.dataset("Items", ITEMS)
    with refused(InvalidInput, message):
        create(standing, "aws-with-objective", solutionConfig=config)


def test_an_objective_needs_items_and_a_recipe_that_has_one(standing: Standing) -> None:
    with refused(InvalidInput, "no column of the group's Items dataset"):
        create(standing, "aws-with-objective", solutionConfig=objective(itemAttribute="PRICE"))
    with refused(InvalidInput, "aws-hrnn does not take solutionConfig.optimizationObjective"):
        create(standing, solutionConfig=objective(itemAttribute="PRICE"))


# Trained by itself


@pytest.mark.parametrize(
    ("expression", "days"), [("rate(1 day)", 1), ("rate(1 days)", 1), ("rate(7 days)", 7), ("rate(30 days)", 30)]
)
def test_a_rate_is_a_number_of_days(expression: str, days: int) -> None:
    assert schedule.parse_days({"autoTrainingConfig": {"schedulingExpression": expression}}) == days


def test_without_a_rate_it_is_trained_every_week() -> None:
    assert schedule.parse_days({}) == 7


@pytest.mark.parametrize("days", [0, 31, 99999])
def test_a_rate_beyond_30_days_or_of_none_is_refused(standing: Standing, days: int) -> None:
    with refused(InvalidInput, "N from 1 to 30"):
        create(standing, solutionConfig={"autoTrainingConfig": {"schedulingExpression": f"rate({days} days)"}})


def test_incremental_updates_are_for_semantic_similarity_alone(standing: Standing) -> None:
    with refused(InvalidInput, "aws-semantic-similarity alone"):
        create(standing, performIncrementalUpdate=True)
    assert create(standing, "aws-semantic-similarity", performIncrementalUpdate=True)["performIncrementalUpdate"]
