"""Requests that create, describe and update one solution."""

from __future__ import annotations

from typing import Any

from tests.unit.shared.resources.standing import GROUP, PREFIX, Standing, arn_of

SOLUTION = f"{PREFIX}:solution/films"
FIELDS = [
    {"name": "USER_ID", "type": "string"},
    {"name": "ITEM_ID", "type": "string"},
    {"name": "TIMESTAMP", "type": "long"},
]
EVENT_TYPE = {"name": "EVENT_TYPE", "type": "string"}
EVENT_VALUE = {"name": "EVENT_VALUE", "type": ["null", "float"]}
ITEMS = [
    {"name": "ITEM_ID", "type": "string"},
    {"name": "PRICE", "type": "float"},
    {"name": "RATING", "type": ["null", "float"]},
    {"name": "TITLE", "type": "string"},
]


def create(standing: Standing, recipe: str | None = "aws-hrnn", **more: Any) -> dict[str, Any]:
    """What DescribeSolution shows after CreateSolution."""
    chosen = {"recipeArn": arn_of(recipe)} if recipe else {}
    arn = standing.ask("CreateSolution", name="films", datasetGroupArn=GROUP, **chosen, **more)["solutionArn"]
    assert arn == SOLUTION
    return described(standing)


def described(standing: Standing) -> dict[str, Any]:
    shown: dict[str, Any] = standing.ask("DescribeSolution", solutionArn=SOLUTION)["solution"]
    return shown


def update(standing: Standing, **wanted: Any) -> dict[str, Any]:
    assert standing.ask("UpdateSolution", solutionArn=SOLUTION, **wanted) == {"solutionArn": SOLUTION}
    return described(standing)


def events(*listed: dict[str, Any]) -> dict[str, Any]:
    return {"eventsConfig": {"eventParametersList": list(listed)}}


WATCH = {"eventType": "watch", "eventValueThreshold": 0.5, "weight": 0.7}
