"""CreateCampaign, DescribeCampaign, ListCampaigns, UpdateCampaign, DeleteCampaign."""

from __future__ import annotations

import threading
from typing import Any
from urllib.parse import quote

from tests.conftest import System, until
from tests.operations.conftest import SMALL, Life, Maker, refused


def test_it_is_deployed_and_described(personalize: Any, life: Life) -> None:
    campaign = personalize.describe_campaign(campaignArn=life.campaign)["campaign"]
    assert (campaign["status"], campaign["solutionVersionArn"]) == ("ACTIVE", life.version)
    assert campaign["minProvisionedTPS"] == 1
    assert "latestCampaignUpdate" not in campaign


def test_it_is_listed_under_its_solution(personalize: Any, life: Life) -> None:
    listed = personalize.list_campaigns(solutionArn=life.solution)["campaigns"]
    assert life.campaign in [campaign["campaignArn"] for campaign in listed]


def test_a_bare_solution_is_not_found(personalize: Any, make: Maker, life: Life) -> None:
    with refused("ResourceNotFoundException", life.solution):
        personalize.create_campaign(name=make.name(), solutionVersionArn=life.solution)


def test_the_latest_version_may_be_asked_for(personalize: Any, make: Maker, life: Life) -> None:
    arn = personalize.create_campaign(name=make.name(), solutionVersionArn=f"{life.solution}/$LATEST")["campaignArn"]
    campaign = make.settled("campaign", "campaign", arn)
    assert (campaign["status"], campaign["solutionVersionArn"]) == ("ACTIVE", life.version)
    personalize.delete_campaign(campaignArn=arn)


def test_a_used_name_is_refused(personalize: Any, life: Life) -> None:
    with refused("ResourceAlreadyExistsException", life.campaign):
        personalize.create_campaign(name=life.campaign.rpartition("/")[2], solutionVersionArn=life.version)


def test_an_update_swaps_without_one_failed_request(personalize: Any, make: Maker, life: Life, system: System) -> None:
    solution = make.solution(life.group, solutionConfig=SMALL)
    second = personalize.create_solution_version(solutionArn=solution)["solutionVersionArn"]
    assert make.settled("solution_version", "solutionVersion", second, 120)["status"] == "ACTIVE"
    arn = personalize.create_campaign(name=make.name(), solutionVersionArn=life.version)["campaignArn"]
    make.settled("campaign", "campaign", arn)
    over, asked, failed = threading.Event(), [0], []

    def ask() -> None:
        runtime = system.runtime
        while not over.is_set():
            try:
                assert runtime.get_recommendations(campaignArn=arn, userId="u1", numResults=5)["itemList"]
                asked[0] += 1
            except Exception as error:
                failed.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    until(lambda: asked[0] > 5)
    personalize.update_campaign(campaignArn=arn, solutionVersionArn=second, minProvisionedTPS=2)

    def updated() -> dict[str, Any] | None:
        campaign: dict[str, Any] = personalize.describe_campaign(campaignArn=arn)["campaign"]
        assert campaign["status"] == "ACTIVE"
        return campaign if campaign["latestCampaignUpdate"]["status"] == "ACTIVE" else None

    campaign = until(updated)
    count = asked[0]
    until(lambda: asked[0] > count + 5)
    over.set()
    asking.join()
    assert failed == []
    assert (campaign["solutionVersionArn"], campaign["minProvisionedTPS"]) == (second, 2)
    assert campaign["latestCampaignUpdate"]["solutionVersionArn"] == second
    assert arn in [one["campaignArn"] for one in personalize.list_campaigns(solutionArn=solution)["campaigns"]]
    personalize.delete_campaign(campaignArn=arn)


def test_one_that_follows_its_solution_moves_to_its_new_version(personalize: Any, make: Maker, life: Life) -> None:
    solution = make.solution(life.group, solutionConfig=SMALL)
    first = make.trained(solution)["solutionVersionArn"]
    config = {"syncWithLatestSolutionVersion": True}
    arn = personalize.create_campaign(
        name=make.name(), solutionVersionArn=f"{solution}/$LATEST", campaignConfig=config
    )["campaignArn"]
    assert make.settled("campaign", "campaign", arn)["solutionVersionArn"] == first
    second = make.trained(solution)["solutionVersionArn"]

    def moved() -> dict[str, Any] | None:
        campaign: dict[str, Any] = personalize.describe_campaign(campaignArn=arn)["campaign"]
        assert campaign["status"] == "ACTIVE"
        return campaign if campaign["solutionVersionArn"] == second else None

    campaign = until(moved)
    assert (campaign["campaignConfig"], campaign["latestCampaignUpdate"]["status"]) == (config, "ACTIVE")
    personalize.delete_campaign(campaignArn=arn)


def test_a_damaged_model_is_not_deployed_and_does_not_answer(
    personalize: Any, make: Maker, life: Life, system: System
) -> None:
    version = personalize.create_solution_version(solutionArn=make.solution(life.group, solutionConfig=SMALL))[
        "solutionVersionArn"
    ]
    make.settled("solution_version", "solutionVersion", version, 120)
    [weights] = (make.folder / "artifacts" / "kept" / quote(version, safe="")).glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-100])
    arn = personalize.create_campaign(name=make.name(), solutionVersionArn=version)["campaignArn"]
    campaign = make.settled("campaign", "campaign", arn)
    assert campaign["status"] == "CREATE FAILED"
    assert f"{weights.name} of the artifact of {version} is missing or cut short" in campaign["failureReason"]
    with refused("InvalidInputException", "in status CREATE FAILED; it must be ACTIVE"):
        system.runtime.get_recommendations(campaignArn=arn, userId="u1")
    personalize.update_campaign(campaignArn=arn, solutionVersionArn=life.version)
    until(lambda: personalize.describe_campaign(campaignArn=arn)["campaign"]["status"] == "ACTIVE")
    assert "failureReason" not in personalize.describe_campaign(campaignArn=arn)["campaign"]
    assert system.runtime.get_recommendations(campaignArn=arn, userId="u1")["itemList"]
    personalize.delete_campaign(campaignArn=arn)


def test_a_deleted_campaign_answers_no_more(personalize: Any, make: Maker, life: Life, system: System) -> None:
    arn = personalize.create_campaign(name=make.name(), solutionVersionArn=life.version)["campaignArn"]
    with refused("ResourceInUseException", "CREATE"):
        personalize.delete_campaign(campaignArn=arn)
    make.settled("campaign", "campaign", arn)
    personalize.delete_campaign(campaignArn=arn)
    make.gone("campaign", "campaign", arn)
    with refused("ResourceNotFoundException", arn):
        system.runtime.get_recommendations(campaignArn=arn, userId="u1")
    assert personalize.describe_solution_version(solutionVersionArn=life.version)
