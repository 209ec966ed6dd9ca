"""What CreateSolution checks beyond the service model: that the recipe exists and what it is told makes sense to it.

Whether there is enough data, and of what event types, is found out by the training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from shared import recipes
from shared.aws.errors import InvalidInput, ResourceNotFound
from shared.resources.contract import Draft, Reading
from shared.resources.dataset.requests import columns_of
from shared.resources.solution.columns import left_out
from shared.store import Record

ECHOED = (
    "name",
    "performAutoTraining",
    "performIncrementalUpdate",
    "recipeArn",
    "eventType",
    "solutionConfig",
)

#: Members that ask for what foretaste does not do yet. They are refused: to accept them would promise it.
NOT_OFFERED = ("performHPO", "performAutoML")

#: What AWS gives to other recipes: User-Personalization, Personalized-Ranking and those of version 2.
OF_OTHER_RECIPES = ("eventsConfig", "optimizationObjective")


def draft(request: Mapping[str, Any], reading: Reading) -> Draft:
    for member in NOT_OFFERED:
        if request.get(member):
            raise InvalidInput(f"foretaste does not offer {member} yet: leave it out, or send false.")
    group = reading.active(request["datasetGroupArn"], "dataset_group")
    recipe = _recipe(request.get("recipeArn"))
    config = request.get("solutionConfig") or {}
    try:
        recipe.settings(config)
    except ValueError as error:
        raise InvalidInput(str(error)) from error
    for member in OF_OTHER_RECIPES:
        if config.get(member):
            raise InvalidInput(f"{recipe.name} does not take solutionConfig.{member}: leave it out.")
    excluded = left_out(config, group, reading)
    _check_threshold(config.get("eventValueThreshold"), excluded.get("INTERACTIONS", frozenset()), group, reading)
    return Draft(
        arn=reading.arn("solution", request["name"]),
        body={
            **{member: request.get(member) for member in ECHOED},
            "datasetGroupArn": group.arn,
            "performHPO": False,
            "performAutoML": False,
        },
        parents=(group.arn,),
        guards=(group,),
    )


def _recipe(arn: str | None) -> recipes.Recipe:
    if arn is None:
        raise InvalidInput("recipeArn is required. ListRecipes shows the recipes that are offered.")
    recipe = recipes.by_arn(arn)
    if recipe is None:
        raise ResourceNotFound(f"The given recipe does not exist: {arn}. ListRecipes shows those that do.")
    if recipe.domain:
        raise InvalidInput(f"{recipe.name} is a recipe of a domain: use it with CreateRecommender.")
    return recipe


def _check_threshold(text: str | None, excluded: frozenset[str], group: Record, reading: Reading) -> None:
    if text is None:
        return
    try:
        finite = math.isfinite(float(text))
    except ValueError:
        finite = False
    if not finite:
        raise InvalidInput(f"eventValueThreshold must be a number, written as a string; it is {text!r}.")
    columns = columns_of(group.arn, "INTERACTIONS", reading)
    if columns is not None and "EVENT_VALUE" not in columns:
        raise InvalidInput("eventValueThreshold needs a column EVENT_VALUE; the Interactions schema has none.")
    if "EVENT_VALUE" in excluded:
        raise InvalidInput("eventValueThreshold needs the column EVENT_VALUE: do not exclude it.")
