"""Create and Update of campaigns: what can be deployed, and how."""

from __future__ import annotations

from typing import Any

import pytest

from services.status import transitions
from shared.aws.errors import InvalidInput, ResourceInUse, ResourceNotFound, Validation
from shared.recipes.scoring_api import Exploration
from shared.resources.exploration import parse_exploration
from shared.state.lifecycle import (
    ACTIVE,
    CREATE_FAILED,
    CREATE_IN_PROGRESS,
    CREATE_PENDING,
    CREATE_STOPPED,
    DELETE_IN_PROGRESS,
    DELETE_PENDING,
)
from shared.state.messages import Failed, Finished
from tests.unit.shared.resources.standing import PREFIX, Standing, refused

CAMPAIGN = f"{PREFIX}:campaign/c"


def create(standing: Standing, version: str, **more: Any) -> dict[str, Any]:
    arn = standing.ask("CreateCampaign", name="c", solutionVersionArn=version, **more)["campaignArn"]
    assert arn == CAMPAIGN
    return described(standing)


def update(standing: Standing, **wanted: Any) -> dict[str, Any]:
    assert standing.ask("UpdateCampaign", campaignArn=CAMPAIGN, **wanted) == {"campaignArn": CAMPAIGN}
    return described(standing)


def described(standing: Standing) -> dict[str, Any]:
    shown: dict[str, Any] = standing.ask("DescribeCampaign", campaignArn=CAMPAIGN)["campaign"]
    return shown


def report(standing: Standing, fact: type[Finished] | type[Failed], **more: Any) -> None:
    """What a runtime reports of the campaign."""
    transitions.write_transition(standing.store, fact(arn=CAMPAIGN, attempt=standing.get(CAMPAIGN).attempt, **more))


def sync(wanted: bool = True) -> dict[str, Any]:
    return {"campaignConfig": {"syncWithLatestSolutionVersion": wanted}}


def test_it_waits_for_a_runtime_and_shows_no_update(standing: Standing) -> None:
    version = standing.version(standing.solution())
    shown = create(standing, version)
    assert (shown["status"], shown["solutionVersionArn"]) == (CREATE_PENDING, version)
    assert shown["minProvisionedTPS"] == 1
    assert not {"latestCampaignUpdate", "campaignConfig", "failureReason"} & shown.keys()
    assert standing.heard() == []


# What is deployed


@pytest.mark.parametrize("status", [CREATE_PENDING, CREATE_IN_PROGRESS, CREATE_FAILED, CREATE_STOPPED])
def test_a_version_that_is_not_active_is_not_deployed(standing: Standing, status: str) -> None:
    version = standing.version(standing.solution(), status=status)
    for asked in (version, f"{PREFIX}:solution/s/$LATEST"):
        with refused(ResourceInUse, status):
            create(standing, asked)


def test_a_bare_solution_is_not_found_and_nor_is_the_latest_of_none(standing: Standing) -> None:
    solution = standing.solution()
    with refused(ResourceNotFound, solution):
        create(standing, solution)
    with refused(ResourceNotFound, "no version yet"):
        create(standing, f"{solution}/$LATEST")
    with refused(ResourceNotFound, "solution/none"):
        create(standing, f"{PREFIX}:solution/none/$LATEST")


def test_the_latest_is_the_newest_that_is_active_and_is_shown_resolved(standing: Standing) -> None:
    solution = standing.solution()
    standing.version(solution, 1)
    newest = standing.version(solution, 2)
    standing.version(solution, 3, status=CREATE_FAILED)
    assert create(standing, f"{solution}/$LATEST")["solutionVersionArn"] == newest


def test_user_segments_are_not_deployed(standing: Standing) -> None:
    with refused(InvalidInput, "can't be deployed in a campaign"):
        create(standing, standing.version(standing.solution("aws-segments")))


# How


def test_its_configuration_is_echoed(standing: Standing) -> None:
    config = {
        "itemExplorationConfig": {"explorationWeight": "0.3", "explorationItemAgeCutOff": "30"},
        "enableMetadataWithRecommendations": True,
        "syncWithLatestSolutionVersion": False,
    }
    version = standing.version(standing.solution("aws-explorer"))
    shown = create(standing, version, campaignConfig=config, minProvisionedTPS=4)
    assert (shown["campaignConfig"], shown["minProvisionedTPS"]) == (config, 4)


@pytest.mark.parametrize("weight", ["0", "1", "0.5", "1e-1"])
@pytest.mark.parametrize("cut_off", ["1", "30.0", "365"])
def test_exploration_is_read_from_strings(weight: str, cut_off: str) -> None:
    config = {"explorationWeight": weight, "explorationItemAgeCutOff": cut_off}
    assert parse_exploration(config) == Exploration(weight=float(weight), age_cut_off_days=float(cut_off))


def test_exploration_has_aws_defaults() -> None:
    assert parse_exploration(None) == parse_exploration({}) == Exploration(weight=0.3, age_cut_off_days=30.0)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"explorationWeight": "-0.1"}, r"explorationWeight must lie in \[0, 1\]"),
        ({"explorationWeight": "1.1"}, r"explorationWeight must lie in \[0, 1\]"),
        ({"explorationWeight": "much"}, "of type float; it is 'much'"),
        ({"explorationWeight": "nan"}, "explorationWeight"),
        *[
            (
                {"explorationItemAgeCutOff": cut_off},
                f"^explorationItemAgeCutOff must be a number of at least 1; it is {cut_off}",
            )
            for cut_off in ("0.9", "0", "-30", "inf", "nan")
        ],
        ({"weight": "0.3"}, "has weight; it takes explorationWeight and explorationItemAgeCutOff"),
    ],
)
def test_exploration_that_makes_no_sense_is_refused(standing: Standing, config: dict[str, str], message: str) -> None:
    version = standing.version(standing.solution("aws-explorer"))
    with refused(InvalidInput, message):
        create(standing, version, campaignConfig={"itemExplorationConfig": config})


@pytest.mark.parametrize(
    "config", [{"itemExplorationConfig": {"explorationWeight": "0.3"}}, {"rankingInfluence": {"FRESHNESS": 0.5}}]
)
def test_what_belongs_to_other_recipes_is_refused(standing: Standing, config: dict[str, Any]) -> None:
    version = standing.version(standing.solution())
    with refused(InvalidInput, next(iter(config))):
        create(standing, version, campaignConfig=config)


def test_semantic_similarity_takes_a_ranking_influence(standing: Standing) -> None:
    config = {"rankingInfluence": {"FRESHNESS": 0.5, "POPULARITY": 0.1}}
    version = standing.version(standing.solution("aws-semantic-similarity"))
    assert create(standing, version, campaignConfig=config)["campaignConfig"] == config
    with refused(Validation, "rankingInfluence"):
        update(standing, campaignConfig={"rankingInfluence": {"FRESHNESS": 1.5}})


def test_less_than_one_request_a_second_is_refused(standing: Standing) -> None:
    with refused(Validation, "minProvisionedTPS"):
        create(standing, standing.version(standing.solution()), minProvisionedTPS=0)


# UpdateCampaign


def test_an_update_keeps_the_old_version_and_configuration_until_it_has_ended(standing: Standing) -> None:
    solution = standing.solution()
    old, new = standing.version(solution, 1), standing.version(solution, 2)
    create(standing, old)
    report(standing, Finished)
    assert "latestCampaignUpdate" not in described(standing)
    shown = update(standing, solutionVersionArn=new, minProvisionedTPS=3)
    assert (shown["status"], shown["solutionVersionArn"], shown["minProvisionedTPS"]) == (ACTIVE, old, 1)
    begun = shown["latestCampaignUpdate"]
    assert (begun["status"], begun["solutionVersionArn"], begun["minProvisionedTPS"]) == (CREATE_PENDING, new, 3)
    report(standing, Finished)
    shown = described(standing)
    assert (shown["status"], shown["solutionVersionArn"], shown["minProvisionedTPS"]) == (ACTIVE, new, 3)
    assert shown["latestCampaignUpdate"]["status"] == ACTIVE


def test_an_update_that_fails_leaves_it_as_it_was_and_where_it_was(standing: Standing) -> None:
    old = standing.version(standing.solution(), 1)
    other = standing.solution(name="other")
    standing.campaign(old)
    update(standing, solutionVersionArn=standing.version(other, 2))
    assert standing.ask("ListCampaigns", solutionArn=other)["campaigns"] != []
    report(standing, Failed, reason="damaged")
    shown = described(standing)
    assert (shown["status"], shown["solutionVersionArn"]) == (ACTIVE, old)
    assert (shown["latestCampaignUpdate"]["status"], shown["latestCampaignUpdate"]["failureReason"]) == (
        CREATE_FAILED,
        "damaged",
    )
    assert standing.ask("ListCampaigns", solutionArn=other)["campaigns"] == []


def test_an_update_with_nothing_new_is_accepted(standing: Standing) -> None:
    version = standing.version(standing.solution())
    standing.campaign(version)
    shown = update(standing)
    assert shown["latestCampaignUpdate"]["solutionVersionArn"] == version
    report(standing, Finished)
    assert update(standing, solutionVersionArn=version, minProvisionedTPS=1)["status"] == ACTIVE


@pytest.mark.parametrize("status", [ACTIVE, CREATE_FAILED])
def test_one_that_is_active_or_failed_is_updated(standing: Standing, status: str) -> None:
    standing.campaign(standing.version(standing.solution()), status=status)
    update(standing, minProvisionedTPS=2)
    report(standing, Finished)
    assert (described(standing)["status"], described(standing)["minProvisionedTPS"]) == (ACTIVE, 2)


@pytest.mark.parametrize("status", [CREATE_PENDING, CREATE_IN_PROGRESS, DELETE_PENDING, DELETE_IN_PROGRESS])
def test_one_that_moves_is_not_updated(standing: Standing, status: str) -> None:
    standing.campaign(standing.version(standing.solution()), status=status)
    with refused(ResourceInUse, status):
        update(standing, minProvisionedTPS=2)


def test_one_that_is_being_updated_is_neither_updated_nor_deleted(standing: Standing) -> None:
    standing.campaign(standing.version(standing.solution()))
    update(standing, minProvisionedTPS=2)
    with refused(ResourceInUse, CREATE_PENDING):
        update(standing, minProvisionedTPS=3)
    with refused(ResourceInUse, CREATE_PENDING):
        standing.ask("DeleteCampaign", campaignArn=CAMPAIGN)


def test_a_configuration_must_fit_the_new_versions_recipe(standing: Standing) -> None:
    explorer = standing.version(standing.solution("aws-explorer"))
    plain = standing.version(standing.solution(name="plain"))
    standing.campaign(explorer, campaignConfig={"itemExplorationConfig": {"explorationWeight": "0.3"}})
    with refused(InvalidInput, "aws-hrnn does not explore"):
        update(standing, solutionVersionArn=plain)
    assert update(standing, solutionVersionArn=plain, campaignConfig={})["latestCampaignUpdate"]["campaignConfig"] == {}


def test_deleting_it_leaves_the_version(standing: Standing) -> None:
    version = standing.version(standing.solution())
    standing.campaign(version)
    standing.ask("DeleteCampaign", campaignArn=CAMPAIGN)
    assert described(standing)["status"] == DELETE_PENDING
    assert standing.get(version).status == ACTIVE


# Following a solution: what is asked (services/status/sync.py follows)


def test_one_that_follows_its_solution_is_given_the_solution(standing: Standing) -> None:
    solution = standing.solution()
    version = standing.version(solution)
    with refused(InvalidInput, r"needs a solutionVersionArn of the form <solutionArn>/\$LATEST"):
        create(standing, version, **sync())
    shown = create(standing, f"{solution}/$LATEST", **sync())
    assert (shown["solutionVersionArn"], shown["campaignConfig"]) == (version, {"syncWithLatestSolutionVersion": True})


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        ({"solutionVersionArn": "$LATEST", **sync()}, True),
        ({"solutionVersionArn": "$LATEST"}, True),
        ({"minProvisionedTPS": 2}, True),
        ({"solutionVersionArn": "version", **sync(False)}, True),
        ({"solutionVersionArn": "version"}, False),
        ({"solutionVersionArn": "version", **sync()}, False),
        (sync(), False),
    ],
)
def test_an_update_of_one_that_follows_names_no_version_unless_it_ends_that(
    standing: Standing, wanted: dict[str, Any], taken: bool
) -> None:
    solution = standing.solution()
    version = standing.version(solution)
    standing.campaign(version, **sync())
    spelt = {"$LATEST": f"{solution}/$LATEST", "version": version}
    if "solutionVersionArn" in wanted:
        wanted = {**wanted, "solutionVersionArn": spelt[wanted["solutionVersionArn"]]}
    if taken:
        assert update(standing, **wanted)["latestCampaignUpdate"]["solutionVersionArn"] == version
    else:
        with refused(InvalidInput, "syncWithLatestSolutionVersion needs"):
            update(standing, **wanted)
