"""The checks of CreateCampaign and UpdateCampaign beyond the service model: the version to deploy and its settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared import recipes
from shared.aws import arns
from shared.aws.errors import InvalidInput, ResourceInUse, ResourceNotFound
from shared.resources.exploration import check_exploration
from shared.resources.resource_type import Draft, ResourceReader
from shared.resources.solution.requests import SEMANTIC_SIMILARITY
from shared.resources.solution_version.requests import find_newest_full
from shared.state.lifecycle import ACTIVE
from shared.store import Record

LATEST = "/$LATEST"
#: The members that UpdateCampaign may change, with the defaults of CreateCampaign.
DEFAULTS: Mapping[str, Any] = {"minProvisionedTPS": 1, "campaignConfig": None}


def build_draft(request: Mapping[str, Any], reader: ResourceReader) -> Draft:
    arn, config = request["solutionVersionArn"], request.get("campaignConfig") or {}
    check_sync(arn, config)
    solution, version = find_deployable(arn, config, reader)
    return Draft(
        arn=reader.build_arn("campaign", request["name"]),
        body={
            "name": request["name"],
            "solutionVersionArn": version.arn,
            **{member: request.get(member, default) for member, default in DEFAULTS.items()},
        },
        parents=(*_get_version_parents(version.arn), solution.body["datasetGroupArn"]),
        guards=(solution, version),
    )


def build_update(
    campaign: Record, request: Mapping[str, Any], reader: ResourceReader
) -> tuple[Mapping[str, Any], tuple[Record, ...]]:
    """Return the members of the update, and the records that it depends on; omitted members stay as they are.

    Raises ResourceNotFound, ResourceInUse, InvalidInput.
    """
    wanted = {member: request.get(member, campaign.body.get(member)) for member in DEFAULTS}
    config = wanted["campaignConfig"] or {}
    if "solutionVersionArn" in request or "campaignConfig" in request:
        check_sync(request.get("solutionVersionArn", ""), config)
    solution, version = find_deployable(
        request.get("solutionVersionArn", campaign.body["solutionVersionArn"]), config, reader
    )
    return {**wanted, "solutionVersionArn": version.arn}, (solution, version)


def check_sync(arn: str, config: Mapping[str, Any]) -> None:
    """Raise InvalidInput where a campaign that follows its solution names one version instead of the solution."""
    if config.get("syncWithLatestSolutionVersion") and not arn.endswith(LATEST):
        raise InvalidInput(
            f"syncWithLatestSolutionVersion needs a solutionVersionArn of the form <solutionArn>{LATEST}; "
            "to stay with one version, send it as false."
        )


def _get_version_parents(version_arn: str) -> tuple[str, ...]:
    """Return the solution and the version: ListCampaigns lists by solution, but a campaign names only a version."""
    return (version_arn.rpartition("/")[0], version_arn)


def get_parents(campaign: Record, body: Mapping[str, Any]) -> tuple[str, ...]:
    groups = (parent for parent in campaign.parents if arns.parse_noun(parent) == "dataset_group")
    return (*_get_version_parents(body["solutionVersionArn"]), *groups)


def find_deployable(arn: str, config: Mapping[str, Any], reader: ResourceReader) -> tuple[Record, Record]:
    """Return the solution and its usable version that ``arn`` names, or means by $LATEST.

    Raises ResourceNotFound, ResourceInUse, InvalidInput.
    """
    if arn.endswith(LATEST):
        version = _find_latest(reader.find_record(arn.removesuffix(LATEST), "solution"), reader)
    else:
        version = reader.find_active(arn, "solution_version")
    recipe = recipes.find_recipe(version.body["recipeArn"])
    if recipe is None or recipe.recipe_type == "USER_SEGMENTATION":
        raise InvalidInput(f"A version of {version.body['recipeArn']} can't be deployed in a campaign.")
    if "itemExplorationConfig" in config:
        check_exploration(config["itemExplorationConfig"], recipe)
    if config.get("rankingInfluence") and recipe.name != SEMANTIC_SIMILARITY:
        raise InvalidInput(f"rankingInfluence is for {SEMANTIC_SIMILARITY} alone: leave it out.")
    return reader.find_active(version.body["solutionArn"], "solution"), version


def _find_latest(solution: Record, reader: ResourceReader) -> Record:
    versions = list(reader.iter_children("solution_version", solution.arn))
    if not versions:
        raise ResourceNotFound(f"The solution {solution.arn} has no version yet: create one.")
    for version in versions:
        if version.status == ACTIVE:
            return version
    raise ResourceInUse(
        f"The solution {solution.arn} has no version in status {ACTIVE}; its latest is in status {versions[0].status}."
    )


def find_successor(campaign: Record, reader: ResourceReader) -> Record | None:
    """Return the version that a campaign which follows its solution must move to; None: it is up to date.

    None also after one attempt: a version that can't be deployed is not tried for ever.
    """
    if not (campaign.body.get("campaignConfig") or {}).get("syncWithLatestSolutionVersion"):
        return None
    current = reader.records.get(campaign.body["solutionVersionArn"])
    newest = find_newest_full(_get_version_parents(campaign.body["solutionVersionArn"])[0], reader)
    if current is None or newest is None or newest.created <= current.created:
        return None
    tried = campaign.update is not None and campaign.update.body["solutionVersionArn"] == newest.arn
    return None if tried else newest
