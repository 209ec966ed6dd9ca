"""The checks of CreateBatchInferenceJob beyond the service model. The job itself checks the lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.aws.errors import InvalidInput
from shared.recipes import Recipe
from shared.resources import batch
from shared.resources.dataset.requests import find_columns
from shared.resources.exploration import check_exploration
from shared.resources.resource_type import Draft, ResourceReader
from shared.resources.solution.requests import SEMANTIC_SIMILARITY

MOST_RESULTS = 500
#: The recipe types for which AWS has a format of input lines, next best action, for which it has none, and the one of
#: their recipes that it excludes.
RECIPE_TYPES = (
    "USER_PERSONALIZATION",
    "PERSONALIZED_RANKING",
    "RELATED_ITEMS",
    "POPULAR_ITEMS",
    "PERSONALIZED_ACTIONS",
)
WITHOUT_BATCHES = "aws-trending-now"
RECOMMENDATIONS = "BATCH_INFERENCE"
THEMES = "THEME_GENERATION"
WITH_THEMES = "aws-similar-items"


def build_draft(request: Mapping[str, Any], reader: ResourceReader) -> Draft:
    job = batch.find_batch_source(request, reader)
    recipe = job.recipe
    if recipe.recipe_type not in RECIPE_TYPES or recipe.name == WITHOUT_BATCHES:
        raise InvalidInput(f"A version of {recipe.name} can't be used in a batch inference job.")
    config = request.get("batchInferenceJobConfig") or {}
    if "itemExplorationConfig" in config:
        check_exploration(config["itemExplorationConfig"], recipe)
    if config.get("rankingInfluence") and recipe.name != SEMANTIC_SIMILARITY:
        raise InvalidInput(f"{recipe.name} does not take batchInferenceJobConfig.rankingInfluence: leave it out.")
    mode = request.get("batchInferenceJobMode", RECOMMENDATIONS)
    _check_themes(mode, request.get("themeGenerationConfig"), recipe, job.version.body["datasetGroupArn"], reader)
    return batch.draft_batch_job(
        "batch-inference-job",
        request,
        job,
        reader,
        most=MOST_RESULTS,
        batchInferenceJobConfig=request.get("batchInferenceJobConfig"),
        batchInferenceJobMode=mode,
        themeGenerationConfig=request.get("themeGenerationConfig"),
    )


def _check_themes(
    mode: str, config: Mapping[str, Any] | None, recipe: Recipe, group_arn: str, reader: ResourceReader
) -> None:
    if mode != THEMES:
        if config:
            raise InvalidInput(f"themeGenerationConfig belongs to batchInferenceJobMode {THEMES}: leave it out.")
        return
    if recipe.name != WITH_THEMES:
        raise InvalidInput(f"batchInferenceJobMode {THEMES} needs a version of {WITH_THEMES}, not of {recipe.name}.")
    if not config:
        raise InvalidInput(f"batchInferenceJobMode {THEMES} needs themeGenerationConfig: the column of item names.")
    name = config["fieldsForThemeGeneration"]["itemName"]
    column = (find_columns(group_arn, "ITEMS", reader) or {}).get(name)
    if column is None or column.type != "string":
        raise InvalidInput(f"fieldsForThemeGeneration.itemName is {name}, no string column of the Items dataset.")
