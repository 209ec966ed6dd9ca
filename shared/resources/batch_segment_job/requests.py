"""The checks of CreateBatchSegmentJob beyond the service model. The job itself checks the lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.aws.errors import InvalidInput
from shared.filters import FilterError, check_filter, parse_filter
from shared.recipes import Recipe
from shared.resources import batch
from shared.resources.filter.requests import find_schemas
from shared.resources.resource_type import Draft, ResourceReader
from shared.store import Record

MOST_RESULTS = 5_000_000  # users of one segment
RECIPE_TYPE = "USER_SEGMENTATION"
WITHOUT_EVENT_FILTERS = "aws-item-attribute-affinity"


def build_draft(request: Mapping[str, Any], reader: ResourceReader) -> Draft:
    job = batch.find_batch_source(request, reader)
    if job.recipe.recipe_type != RECIPE_TYPE:
        raise InvalidInput(f"A batch segment job needs a recipe of type {RECIPE_TYPE}, which {job.recipe.name} is not.")
    if job.filter is not None:
        _check_filter(job.filter, job.recipe, reader)
    return batch.draft_batch_job("batch-segment-job", request, job, reader, most=MOST_RESULTS)


def _check_filter(record: Record, recipe: Recipe, reader: ResourceReader) -> None:
    schemas = find_schemas(record.body["datasetGroupArn"], reader)
    try:
        filter_ = check_filter(parse_filter(record.body["filterExpression"]), schemas)
    except FilterError as error:
        raise InvalidInput(
            f"The filter {record.arn} does not fit the datasets as they are now. {error} Create another filter."
        ) from error
    if filter_.target != "USERS":
        raise InvalidInput(f"The filter {record.arn} does not filter users; a segment needs one of UserID.")
    if filter_.tests_events and recipe.name == WITHOUT_EVENT_FILTERS:
        raise InvalidInput(
            f"The filter {record.arn} tests interactions, which segments of {recipe.name} can't be filtered by."
        )
