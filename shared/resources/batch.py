"""The checks that batch inference jobs and batch segment jobs share: version, filter, locations, numResults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from shared import recipes
from shared.aws.errors import InvalidInput
from shared.resources.locations import INVALID_INPUT, INVALID_OUTPUT, check_apart, check_location
from shared.resources.resource_type import Draft, ResourceReader
from shared.store import Record

#: The results per line where the request has no numResults: AWS's samples have 25.
DEFAULT_RESULTS = 25
ECHOED = ("jobName", "filterArn", "jobInput", "jobOutput", "roleArn")


class BatchSource(NamedTuple):
    """The records of a job: a usable solution version, its solution and recipe, and the filter where one is named."""

    solution: Record
    version: Record
    recipe: recipes.Recipe
    filter: Record | None


def find_batch_source(request: Mapping[str, Any], reader: ResourceReader) -> BatchSource:
    """Find the records that a request names. Raises ResourceNotFound, ResourceInUse, InvalidInput."""
    version = reader.find_active(request["solutionVersionArn"], "solution_version")
    recipe = recipes.find_recipe(version.body["recipeArn"])
    if recipe is None:
        raise InvalidInput(f"The recipe {version.body['recipeArn']} is not offered.")
    solution = reader.find_active(version.body["solutionArn"], "solution")
    return BatchSource(solution, version, recipe, _find_filter(request.get("filterArn"), version, reader))


def _find_filter(arn: str | None, version: Record, reader: ResourceReader) -> Record | None:
    if arn is None:
        return None
    found = reader.find_active(arn, "filter")
    if found.body["datasetGroupArn"] != version.body["datasetGroupArn"]:
        raise InvalidInput(f"The filter {arn} and {version.arn} must be of the same dataset group.")
    return found


def draft_batch_job(
    kind: str, request: Mapping[str, Any], job: BatchSource, reader: ResourceReader, *, most: int, **more: Any
) -> Draft:
    """Return the draft of a job with ``more`` members than both types share. Raises InvalidInput."""
    _check_locations(request)
    wanted = request.get("numResults", DEFAULT_RESULTS)
    if not 1 <= wanted <= most:
        raise InvalidInput(f"numResults is {wanted}; it must lie between 1 and {most}.")
    stands_on = (job.version, job.solution, *([job.filter] if job.filter else []))
    return Draft(
        arn=reader.build_arn(kind, request["jobName"]),
        body={
            **{member: request.get(member) for member in ECHOED},
            "solutionVersionArn": job.version.arn,
            "numResults": wanted,
            **more,
        },
        parents=tuple(each.arn for each in stands_on),
        guards=stands_on,
    )


def _check_locations(request: Mapping[str, Any]) -> None:
    source = request["jobInput"]["s3DataSource"]["path"]
    destination = request["jobOutput"]["s3DataDestination"]["path"]
    check_location(source, INVALID_INPUT)
    check_location(destination, INVALID_OUTPUT)
    check_apart(destination, source)
