"""The checks of CreateBatchSegmentJob beyond the service model. The job itself checks the lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.aws.errors import InvalidInput
from shared.resources import batch
from shared.resources.resource_type import Draft, ResourceReader

MOST_RESULTS = 5_000_000  # users of one segment
RECIPE_TYPE = "USER_SEGMENTATION"


def build_draft(request: Mapping[str, Any], reader: ResourceReader) -> Draft:
    job = batch.find_batch_source(request, reader)
    if job.recipe.recipe_type != RECIPE_TYPE:
        raise InvalidInput(f"A batch segment job needs a recipe of type {RECIPE_TYPE}, which {job.recipe.name} is not.")
    return batch.draft_batch_job("batch-segment-job", request, job, reader, most=MOST_RESULTS)
