"""The checks of CreateSolution beyond the service model: the recipe exists and accepts the configuration.

The training itself checks whether there is enough data, and of the right event types.
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

ECHOED = ("name", "recipeArn", "eventType")

#: The one recipe that AWS updates between trainings, and whose campaigns accept rankingInfluence.
SEMANTIC_SIMILARITY = "aws-semantic-similarity"


def build_draft(request: Mapping[str, Any], reader: ResourceReader) -> Draft:
    group = reader.find_active(request["datasetGroupArn"], "dataset_group")
    config = request.get("solutionConfig")
    schedule.parse_days(config or {})
    automl = request.get("performAutoML", False)
    recipe = _find_recipe(request.get("recipeArn"), automl=automl)
    check_incremental(recipe, wanted=request.get("performIncrementalUpdate", False))
    # AWS: "The default is true", for the one recipe that has it.
    incremental = True if recipe is not None and recipe.serving.takes_new_items else None
    if recipe is None:
        check_automl(config or {})
    else:
        _check_config(recipe, request, group, reader)
    return Draft(
        arn=reader.build_arn("solution", request["name"]),
        body={
            **{member: request.get(member) for member in ECHOED},
            "performIncrementalUpdate": request.get("performIncrementalUpdate", incremental),
            "datasetGroupArn": group.arn,
            "solutionConfig": None if config is None else format_config(config),
            "performAutoML": automl,
            # AutoML always tunes.
            "performHPO": automl or request.get("performHPO", False),
            "performAutoTraining": request.get("performAutoTraining", True),
        },
        parents=(group.arn,),
        guards=(group,),
    )


def _find_recipe(arn: str | None, *, automl: bool) -> recipes.Recipe | None:
    """Return the recipe; None where AutoML chooses it. Raises InvalidInput, ResourceNotFound."""
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


def _check_config(recipe: recipes.Recipe, request: Mapping[str, Any], group: Record, reader: ResourceReader) -> None:
    config = request.get("solutionConfig") or {}
    try:
        recipe.resolve_parameters(config)
    except ValueError as error:
        raise InvalidInput(str(error)) from error
    if request.get("performHPO"):
        check_hpo(recipe, config)
        if reader.settings.hpo_objective:
            check_hpo_objective(config)
    excluded = find_excluded_columns(config, group, reader)
    check_events(
        recipe,
        config,
        request.get("eventType"),
        find_columns(group.arn, "INTERACTIONS", reader),
        excluded.get("INTERACTIONS", frozenset()),
    )
    check_objective(recipe, config, find_columns(group.arn, "ITEMS", reader), excluded.get("ITEMS", frozenset()))


def apply_update(solution: Record, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the body after UpdateSolution: ``solutionUpdateConfig`` replaces the parts of the configuration in it."""
    members = {member: value for member, value in body.items() if member != "solutionUpdateConfig"}
    config = {**(solution.body.get("solutionConfig") or {}), **(body.get("solutionUpdateConfig") or {})}
    return {**solution.body, **members, **({"solutionConfig": config} if config else {})}
