"""Create, Describe and Delete of solutions: what is checked, kept and shown."""

from __future__ import annotations

from typing import Any

import pytest

from shared.aws.errors import InvalidInput, ResourceInUse, ResourceNotFound
from shared.state.lifecycle import (
    ACTIVE,
    CREATE_FAILED,
    CREATE_IN_PROGRESS,
    CREATE_PENDING,
    CREATE_STOPPING,
    DELETE_PENDING,
)
from shared.state.messages import Remove
from tests.unit.shared.resources.solution_requests import (
    SOLUTION,
    create,
    described,
    update,
)
from tests.unit.shared.resources.standing import GROUP, PREFIX, Standing, arn_of, refused

# What is shown


def test_it_is_active_at_once_with_aws_defaults_and_nothing_that_is_absent(standing: Standing) -> None:
    shown = create(standing)
    created = shown.pop("creationDateTime")
    assert shown.pop("lastUpdatedDateTime") == created
    assert shown == {
        "name": "films",
        "solutionArn": SOLUTION,
        "datasetGroupArn": GROUP,
        "recipeArn": arn_of("aws-hrnn"),
        "performHPO": False,
        "performAutoML": False,
        "performAutoTraining": True,
        "status": ACTIVE,
    }
    assert standing.heard() == []


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"algorithmHyperParameters": {"hidden_dimension": "55"}},
        {"featureTransformationParameters": {"max_user_history_length_percentile": "0.9"}},
        {"autoTrainingConfig": {"schedulingExpression": "rate(1 day)"}},
    ],
)
def test_its_configuration_is_echoed(standing: Standing, config: dict[str, Any]) -> None:
    shown = create(standing, solutionConfig=config, eventType="watch", performAutoTraining=False)
    assert (shown["solutionConfig"], shown["eventType"], shown["performAutoTraining"]) == (config, "watch", False)


#: From public configurations, as DescribeSolution printed them at AWS.
DESCRIBED_AT_AWS: tuple[tuple[str, dict[str, Any]], ...] = (
    (
        "aws-user-personalization",
        {
            "featureTransformationParameters": {
                "cold_start_max_duration": "1",
                "cold_start_max_interactions": "15",
                "cold_start_relative_from": "currentTime",
                "max_hist_length_percentile": "0.99",
                "min_hist_length_percentile": "0.01",
            }
        },
    ),
    (
        "aws-user-personalization",
        {
            "hpoConfig": {
                "hpoObjective": {"type": "MAXIMIZE", "metricName": "mean_reciprocal_rank_at_25", "metricRegex": "x"},
                "hpoResourceConfig": {"maxNumberOfTrainingJobs": "8", "maxParallelTrainingJobs": "4"},
                "algorithmHyperParameterRanges": {
                    "integerHyperParameterRanges": [{"name": "training.bptt", "minValue": 2, "maxValue": 22}],
                    "continuousHyperParameterRanges": [],
                    "categoricalHyperParameterRanges": [{"name": "data.recency_mask", "values": ["true", "false"]}],
                },
            },
            "algorithmHyperParameters": {"hidden_dimension": "150", "bptt": "32", "recency_mask": "true"},
            "autoTrainingConfig": {"schedulingExpression": "rate(7 days)"},
        },
    ),
    ("aws-sims", {"featureTransformationParameters": {"min_hist_length_percentile": "0.05"}}),
    ("aws-trending-now", {"featureTransformationParameters": {"trend_discovery_frequency": "30 minutes"}}),
)


@pytest.mark.parametrize(("recipe", "config"), DESCRIBED_AT_AWS)
def test_a_described_solution_is_created_word_for_word(standing: Standing, recipe: str, config: dict[str, Any]) -> None:
    shown = create(standing, recipe, solutionConfig=config)
    assert shown["solutionConfig"] == config
    standing.ask("CreateSolution", **{**shown, "name": "again", "creationDateTime": None, "lastUpdatedDateTime": None})
    again = standing.ask("DescribeSolution", solutionArn=f"{PREFIX}:solution/again")["solution"]
    assert again["solutionConfig"] == config


def test_a_group_that_is_being_deleted_takes_no_solution(standing: Standing) -> None:
    standing.change(GROUP, status=DELETE_PENDING)
    with refused(ResourceInUse, "DELETE PENDING"):
        create(standing)


# The recipe: exactly one of recipeArn and performAutoML


def test_neither_a_recipe_nor_automl_is_refused(standing: Standing) -> None:
    with refused(InvalidInput, "recipeArn is required"):
        create(standing, None)
    with refused(InvalidInput, "recipeArn is required"):
        create(standing, None, performAutoML=False)


def test_both_a_recipe_and_automl_are_refused(standing: Standing) -> None:
    with refused(InvalidInput, "leave recipeArn out"):
        create(standing, "aws-hrnn", performAutoML=True)


def test_an_unknown_recipe_is_not_found_and_a_domains_is_refused(standing: Standing) -> None:
    with refused(ResourceNotFound, "aws-none"):
        create(standing, "aws-none")
    with refused(InvalidInput, "use it with CreateRecommender"):
        create(standing, "aws-use-case")


# The latest version


def test_the_latest_version_is_shown_without_what_it_lacks(standing: Standing) -> None:
    create(standing)
    assert "latestSolutionVersion" not in described(standing)
    version = standing.version(SOLUTION, status=CREATE_IN_PROGRESS)
    latest = described(standing)["latestSolutionVersion"]
    assert (latest["solutionVersionArn"], latest["status"]) == (version, CREATE_IN_PROGRESS)
    assert (latest["trainingMode"], latest["trainingType"]) == ("FULL", "MANUAL")
    assert "failureReason" not in latest


# DeleteSolution


@pytest.mark.parametrize("status", [CREATE_PENDING, CREATE_IN_PROGRESS, CREATE_STOPPING])
def test_a_version_under_way_keeps_it(standing: Standing, status: str) -> None:
    create(standing)
    version = standing.version(SOLUTION, status=status)
    with refused(ResourceInUse, f"{version}, which is in status {status}"):
        standing.ask("DeleteSolution", solutionArn=SOLUTION)


def test_a_campaign_keeps_it_even_one_that_failed_or_only_moves_to_it(standing: Standing) -> None:
    create(standing)
    standing.campaign(standing.version(SOLUTION), status=CREATE_FAILED)
    with refused(ResourceInUse, "campaign/c; delete that first"):
        standing.ask("DeleteSolution", solutionArn=SOLUTION)
    other = standing.solution(name="other")
    standing.ask("UpdateCampaign", campaignArn=f"{PREFIX}:campaign/c", solutionVersionArn=standing.version(other))
    with refused(ResourceInUse, "campaign/c; delete that first"):
        standing.ask("DeleteSolution", solutionArn=other)


def test_it_is_deleted_when_nothing_needs_it(standing: Standing) -> None:
    create(standing)
    standing.version(SOLUTION, status=CREATE_FAILED)
    standing.ask("DeleteSolution", solutionArn=SOLUTION)
    assert described(standing)["status"] == DELETE_PENDING
    assert standing.heard() == [Remove(arn=SOLUTION)]
    with refused(ResourceInUse, "DELETE PENDING"):
        standing.ask("CreateSolutionVersion", solutionArn=SOLUTION)
    with refused(ResourceInUse, "DELETE PENDING"):
        update(standing, performAutoTraining=False)
