"""UpdateSolution: change the schedule of automatic training, or the events to train on. Versions are not affected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.api.context import ApiContext, run_once
from services.api.operations import request_update
from shared import recipes
from shared.aws.errors import InvalidInput
from shared.http.app import Call
from shared.resources import RESOURCES
from shared.resources.dataset.requests import find_columns
from shared.resources.solution import schedule
from shared.resources.solution.columns import find_excluded_columns
from shared.resources.solution.events import check_events
from shared.resources.solution.requests import check_incremental
from shared.store import Record

MEMBERS = ("performAutoTraining", "performIncrementalUpdate", "solutionUpdateConfig")


def update_solution(context: ApiContext, call: Call) -> Mapping[str, Any]:
    run_once(context, call, lambda bound: _request_update(bound, call.request))
    return {"solutionArn": call.request["solutionArn"]}


def _request_update(context: ApiContext, request: Mapping[str, Any]) -> None:
    solution = context.reading.find_record(request["solutionArn"], "solution")
    body = {member: request[member] for member in MEMBERS if member in request}
    if not body:
        raise InvalidInput(f"There is nothing to update: give one of {', '.join(MEMBERS)}.")
    _check_update(context, solution, body)
    request_update(context, RESOURCES["solution"], solution, body)


def _check_update(context: ApiContext, solution: Record, body: Mapping[str, Any]) -> None:
    arn = solution.body.get("recipeArn")
    recipe = recipes.find_recipe(arn) if arn else None
    check_incremental(recipe, wanted=body.get("performIncrementalUpdate", False))
    config = body.get("solutionUpdateConfig") or {}
    schedule.parse_days(config)
    if not config.get("eventsConfig"):
        return
    if recipe is None:
        raise InvalidInput("eventsConfig belongs to a recipe, and this solution leaves the choice of it to AutoML.")
    standing = solution.body.get("solutionConfig") or {}
    group = context.reading.find_record(solution.body["datasetGroupArn"], "dataset_group")
    check_events(
        recipe,
        {**standing, **config},
        solution.body.get("eventType"),
        find_columns(group.arn, "INTERACTIONS", context.reading),
        find_excluded_columns(standing, group, context.reading).get("INTERACTIONS", frozenset()),
    )
