"""The checks of CreateRecommender and UpdateRecommender beyond the service model: use case, data, settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.aws import arns
from shared.aws.errors import InvalidInput
from shared.recipes import Recipe
from shared.resources.dataset_import_job import refuse_while_importing
from shared.resources.exploration import check_exploration
from shared.resources.recipe import find_recipe
from shared.resources.resource_type import Draft, ResourceReader
from shared.resources.solution.columns import find_excluded_columns
from shared.store import Record


def build_draft(request: Mapping[str, Any], reader: ResourceReader) -> Draft:
    group = reader.find_active(request["datasetGroupArn"], "dataset_group")
    recipe = _find_use_case(request["recipeArn"], group)
    config = check_config(request.get("recommenderConfig") or {}, recipe, group, reader)
    arn = reader.build_arn("recommender", request["name"])
    return Draft(
        arn=arn,
        body={
            "name": request["name"],
            "datasetGroupArn": group.arn,
            "recipeArn": recipe.arn,
            "recommenderConfig": {"minRecommendationRequestsPerSecond": 1, **config},
            "solutionVersionArn": create_version_arn(arn),
        },
        parents=(group.arn,),
        guards=(group, *_find_datasets(recipe, group, reader)),
    )


def create_version_arn(recommender_arn: str) -> str:
    """Return the ARN for a new recommender version."""
    return f"{recommender_arn}/{arns.create_id()}"


def _find_use_case(arn: str, group: Record) -> Recipe:
    recipe = find_recipe(arn)
    domain = group.body.get("domain")
    if domain is None:
        raise InvalidInput(
            f"The dataset group {group.arn} has no domain: create a solution in it, or a group with a domain."
        )
    if recipe.domain != domain:
        raise InvalidInput(
            f"{recipe.name} is {'of the domain ' + recipe.domain if recipe.domain else 'no use case of a domain'}; "
            f"a recommender in {group.arn} needs a recipe of the domain {domain}."
        )
    return recipe


def check_config(config: Mapping[str, Any], recipe: Recipe, group: Record, reader: ResourceReader) -> Mapping[str, Any]:
    """Check a RecommenderConfig and return it. Raises InvalidInput."""
    if "itemExplorationConfig" in config:
        check_exploration(config["itemExplorationConfig"], recipe)
    find_excluded_columns(config, group, reader)
    return config


def _find_datasets(recipe: Recipe, group: Record, reader: ResourceReader) -> tuple[Record, ...]:
    """Return the group's datasets, all usable and with no import in progress. The training checks their contents.

    Raises InvalidInput where a dataset that the use case needs is missing, and ResourceInUse.
    """
    datasets = tuple(reader.iter_children("dataset", group.arn))
    there = {dataset.body["datasetType"] for dataset in datasets}
    if missing := [dataset_type for dataset_type in recipe.training.datasets if dataset_type not in there]:
        raise InvalidInput(
            f"{recipe.name} trains on the datasets {', '.join(recipe.training.datasets)}; "
            f"{group.arn} has no {' and no '.join(missing)}."
        )
    for dataset in datasets:
        reader.find_active(dataset.arn, "dataset")
        refuse_while_importing(dataset.arn, reader)
    return datasets
