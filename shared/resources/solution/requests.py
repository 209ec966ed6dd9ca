"""What CreateSolution checks beyond the service model: that the recipe exists and what it is told makes sense to it.

Whether there is enough data, and of what event types, is found out by the training.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared import recipes
from shared.aws.errors import InvalidInput
from shared.resources.dataset.requests import find_columns
from shared.resources.recipe import find_recipe
from shared.resources.resource_type import Draft, ResourceReader
from shared.resources.solution import schedule
from shared.resources.solution.columns import find_excluded_columns
from shared.resources.solution.events import check_events
from shared.resources.solution.objective import check_objective
from shared.resources.solution.tuning import check_automl, check_hpo, check_hpo_objective, format_config
from shared.store import Record

ECHOED = ("name", "performIncrementalUpdate", "recipeArn", "eventType")

#: The one recipe that AWS updates between trainings, and lets campaigns influence.
SEMANTIC_SIMILARITY = "aws-semantic-similarity"


def build_draft(request: Mapping[str, Any], reading: ResourceReader) -> Draft:
    group = reading.find_active(request["datasetGroupArn"], "dataset_group")
    config = request.get("solutionConfig")
    schedule.parse_days(config or {})
    automl = request.get("performAutoML", False)
    recipe = _find_recipe(request.get("recipeArn"), automl=automl)
    check_incremental(recipe, wanted=request.get("performIncrementalUpdate", False))
    if recipe is None:
        check_automl(config or {})
    else:
        _check_config(recipe, request, group, reading)
    return Draft(
        arn=reading.build_arn("solution", request["name"]),
        body={
            **{member: request.get(member) for member in ECHOED},
            "datasetGroupArn": group.arn,
            "solutionConfig": None if config is None else format_config(config),
            "performAutoML": automl,
            # AutoML always tunes, whatever is asked.
            "performHPO": automl or request.get("performHPO", False),
            "performAutoTraining": request.get("performAutoTraining", True),
        },
        parents=(group.arn,),
        guards=(group,),
    )


def _find_recipe(arn: str | None, *, automl: bool) -> recipes.Recipe | None:
    """None where AutoML is to choose it. Raises InvalidInput, ResourceNotFound."""
    if automl:
        if arn is not None:
            raise InvalidInput("performAutoML chooses the recipe: leave recipeArn out, or performAutoML.")
        return None
    if arn is None:
        raise InvalidInput("recipeArn is required without performAutoML. ListRecipes shows the recipes there are.")
    recipe = find_recipe(arn)
    if recipe.domain:
        raise InvalidInput(f"{recipe.name} is a recipe of a domain: use it with CreateRecommender.")
    return recipe


def check_incremental(recipe: recipes.Recipe | None, *, wanted: bool) -> None:
    if wanted and (recipe is None or recipe.name != SEMANTIC_SIMILARITY):
        raise InvalidInput(f"performIncrementalUpdate is for {SEMANTIC_SIMILARITY} alone: leave it out.")


def _check_config(recipe: recipes.Recipe, request: Mapping[str, Any], group: Record, reading: ResourceReader) -> None:
    config = request.get("solutionConfig") or {}
    try:
        recipe.resolve_parameters(config)
    except ValueError as error:
        raise InvalidInput(str(error)) from error
    if request.get("performHPO"):
        check_hpo(recipe, config)
        if reading.settings.hpo_objective:
            check_hpo_objective(config)
    excluded = find_excluded_columns(config, group, reading)
    check_events(
        recipe,
        config,
        request.get("eventType"),
        find_columns(group.arn, "INTERACTIONS", reading),
        excluded.get("INTERACTIONS", frozenset()),
    )
    check_objective(recipe, config, find_columns(group.arn, "ITEMS", reading), excluded.get("ITEMS", frozenset()))


def apply_update(solution: Record, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The body after UpdateSolution: what ``solutionUpdateConfig`` names replaces that part of the configuration."""
    members = {member: value for member, value in body.items() if member != "solutionUpdateConfig"}
    config = {**(solution.body.get("solutionConfig") or {}), **(body.get("solutionUpdateConfig") or {})}
    return {**solution.body, **members, **({"solutionConfig": config} if config else {})}
