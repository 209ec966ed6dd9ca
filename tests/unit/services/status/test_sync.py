"""A campaign that follows its solution moves to each new version that was trained FULL, once, and to nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from services.status import sync, transitions
from shared.state.lifecycle import ACTIVE, CREATE_FAILED, CREATE_IN_PROGRESS, CREATE_PENDING, DELETE_PENDING
from shared.state.messages import Failed, Finished
from shared.store import Conflict
from tests.strict import STRICT
from tests.unit.shared.resources.standing import PREFIX, Standing

CAMPAIGN = f"{PREFIX}:campaign/c"
CONFIG = {"syncWithLatestSolutionVersion": True, "enableMetadataWithRecommendations": True}


@pytest.fixture
def following(standing: Standing) -> Standing:
    """A campaign with the first version of a solution, which it follows."""
    version = standing.version(standing.solution("aws-explorer"), 1)
    standing.campaign(version, minProvisionedTPS=3, campaignConfig=CONFIG)
    return standing


def version(standing: Standing, number: int, **more: Any) -> str:
    return standing.version(f"{PREFIX}:solution/s", number, **more)


def update(standing: Standing) -> dict[str, Any] | None:
    sync.sync_campaigns(standing.process, STRICT)
    campaign = standing.ask("DescribeCampaign", campaignArn=CAMPAIGN)["campaign"]
    begun: dict[str, Any] | None = campaign.get("latestCampaignUpdate")
    return begun


def report(standing: Standing, fact: type[Finished] | type[Failed], **more: Any) -> None:
    transitions.write_transition(standing.store, fact(arn=CAMPAIGN, attempt=standing.get(CAMPAIGN).attempt, **more))


def test_it_moves_to_a_new_version_and_shows_the_update(following: Standing) -> None:
    assert update(following) is None
    new = version(following, 2)
    begun = update(following)
    assert begun is not None
    assert (begun["status"], begun["solutionVersionArn"]) == (CREATE_PENDING, new)
    assert (begun["minProvisionedTPS"], begun["campaignConfig"]) == (3, CONFIG)
    assert following.get(CAMPAIGN).body["solutionVersionArn"].endswith("00000001")
    report(following, Finished)
    assert following.get(CAMPAIGN).body["solutionVersionArn"] == new
    assert following.get(CAMPAIGN).body["campaignConfig"] == CONFIG


def test_it_moves_once_and_then_to_the_next(following: Standing) -> None:
    version(following, 2)
    update(following)
    attempt = following.get(CAMPAIGN).attempt
    update(following)
    report(following, Finished)
    update(following)
    assert following.get(CAMPAIGN).attempt == attempt
    newest = version(following, 3)
    begun = update(following)
    assert begun is not None
    assert begun["solutionVersionArn"] == newest


@pytest.mark.parametrize("made", [{"mode": "UPDATE"}, {"status": CREATE_IN_PROGRESS}, {"status": CREATE_FAILED}])
def test_it_follows_only_what_was_trained_full_and_is_active(following: Standing, made: dict[str, str]) -> None:
    version(following, 2, **made)
    assert update(following) is None


def test_it_does_not_go_back_to_an_older_version(following: Standing) -> None:
    version(following, 2, at=0.5)
    assert update(following) is None


def test_it_does_not_leave_an_updated_version_for_the_one_it_came_from(standing: Standing) -> None:
    solution = standing.solution("aws-explorer")
    standing.version(solution, 1)
    standing.campaign(standing.version(solution, 2, mode="UPDATE"), campaignConfig=CONFIG)
    assert update(standing) is None


def test_a_version_that_could_not_be_deployed_is_not_tried_again_but_the_next_is(following: Standing) -> None:
    version(following, 2)
    update(following)
    report(following, Failed, reason="damaged")
    tried = update(following)
    assert tried is not None
    assert (tried["status"], tried["failureReason"]) == (CREATE_FAILED, "damaged")
    assert following.get(CAMPAIGN).status == ACTIVE
    newest = version(following, 3)
    begun = update(following)
    assert begun is not None
    assert (begun["status"], begun["solutionVersionArn"]) == (CREATE_PENDING, newest)


@pytest.mark.parametrize("config", [{}, {"campaignConfig": {"syncWithLatestSolutionVersion": False}}])
def test_one_that_does_not_follow_stays(standing: Standing, config: dict[str, Any]) -> None:
    solution = standing.solution()
    standing.campaign(standing.version(solution, 1), **config)
    standing.version(solution, 2)
    assert update(standing) is None


@pytest.mark.parametrize("status", [CREATE_PENDING, CREATE_FAILED, DELETE_PENDING])
def test_one_that_does_not_serve_is_left_alone(following: Standing, status: str) -> None:
    following.change(CAMPAIGN, status=status)
    version(following, 2)
    assert update(following) is None


def test_another_solutions_versions_are_not_its_own(following: Standing) -> None:
    following.version(following.solution(name="other"), 2)
    assert update(following) is None


def test_a_race_is_left_to_the_next_round(following: Standing, monkeypatch: pytest.MonkeyPatch) -> None:
    def moved(*_: Any, **__: Any) -> None:
        raise Conflict(CAMPAIGN)

    version(following, 2)
    with monkeypatch.context() as racing:
        racing.setattr(following.store, "replace", moved)
        assert update(following) is None
    assert update(following) is not None
