"""What CreateCampaign and UpdateCampaign check beyond the service model: what there is to deploy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared import arns, recipes
from shared.aws.errors import InvalidInput, ResourceNotFound
from shared.lifecycle import ACTIVE
from shared.resources.contract import Draft, Reading
from shared.store import Record

LATEST = "/$LATEST"
#: What UpdateCampaign may change, with what Create takes when it is left out.
DEFAULTS: Mapping[str, Any] = {"minProvisionedTPS": 1, "campaignConfig": None}


def draft(request: Mapping[str, Any], reading: Reading) -> Draft:
    solution, version = to_deploy(request["solutionVersionArn"], request.get("campaignConfig"), reading)
    return Draft(
        arn=reading.arn("campaign", request["name"]),
        body={
            "name": request["name"],
            "solutionVersionArn": version.arn,
            **{member: request.get(member, default) for member, default in DEFAULTS.items()},
        },
        parents=(*_parents(version.arn), solution.body["datasetGroupArn"]),
        guards=(solution, version),
    )


def _parents(version_arn: str) -> tuple[str, ...]:
    """ListCampaigns asks by solution, although a campaign names only a version."""
    return (version_arn.rpartition("/")[0], version_arn)


def listed_under(campaign: Record, body: Mapping[str, Any]) -> tuple[str, ...]:
    groups = (parent for parent in campaign.parents if arns.noun(parent) == "dataset_group")
    return (*_parents(body["solutionVersionArn"]), *groups)


def to_deploy(arn: str, config: Mapping[str, Any] | None, reading: Reading) -> tuple[Record, Record]:
    """The solution, and its usable version that ``arn`` means. Raises ResourceNotFound, ResourceInUse, InvalidInput."""
    if (config or {}).get("syncWithLatestSolutionVersion"):
        raise InvalidInput(
            "foretaste does not offer syncWithLatestSolutionVersion yet: leave it out, and call UpdateCampaign "
            "when a new version is ready."
        )
    if arn.endswith(LATEST):
        version = _latest(reading.find(arn.removesuffix(LATEST), "solution"), reading)
    else:
        version = reading.active(arn, "solution_version")
    recipe = recipes.by_arn(version.body["recipeArn"])
    if recipe is None or recipe.recipe_type == "USER_SEGMENTATION":
        raise InvalidInput(f"A version of {version.body['recipeArn']} can't be deployed in a campaign.")
    return reading.active(version.body["solutionArn"], "solution"), version


def _latest(solution: Record, reading: Reading) -> Record:
    for version in reading.children("solution_version", solution.arn):
        if version.status == ACTIVE:
            return version
    raise ResourceNotFound(f"The solution {solution.arn} has no version in status {ACTIVE} yet.")
