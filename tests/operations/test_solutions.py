"""CreateSolution, DescribeSolution, ListSolutions, DeleteSolution."""

from __future__ import annotations

from typing import Any

import pytest

from tests.operations.conftest import HRNN, Life, Maker, refused


def test_it_is_usable_at_once_and_echoes_what_it_was_given(personalize: Any, make: Maker) -> None:
    group, name = make.group(), make.name()
    config = {"algorithmHyperParameters": {"hidden_dimension": "64"}, "eventValueThreshold": "3.5"}
    arn = personalize.create_solution(
        name=name, datasetGroupArn=group, recipeArn=HRNN, eventType="watch", solutionConfig=config
    )["solutionArn"]
    solution = personalize.describe_solution(solutionArn=arn)["solution"]
    assert solution["status"] == "ACTIVE"
    assert solution["solutionConfig"] == config
    assert (solution["name"], solution["recipeArn"], solution["eventType"]) == (name, HRNN, "watch")
    assert (solution["performHPO"], solution["performAutoML"]) == (False, False)
    assert "latestSolutionVersion" not in solution
    [listed] = personalize.list_solutions(datasetGroupArn=group)["solutions"]
    assert (listed["solutionArn"], listed["recipeArn"]) == (arn, HRNN)


def test_the_latest_version_is_shown(personalize: Any, life: Life) -> None:
    latest = personalize.describe_solution(solutionArn=life.solution)["solution"]["latestSolutionVersion"]
    assert (latest["solutionVersionArn"], latest["status"]) == (life.version, "ACTIVE")


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        ({"recipeArn": "arn:aws:personalize:::recipe/aws-none"}, "ResourceNotFoundException", "ListRecipes"),
        ({"recipeArn": None}, "InvalidInputException", "recipeArn is required"),
        ({"performHPO": True}, "InvalidInputException", "performHPO"),
        ({"solutionConfig": {"algorithmHyperParameters": {"layers": "3"}}}, "InvalidInputException", "layers"),
        ({"solutionConfig": {"algorithmHyperParameters": {"bptt": "1000"}}}, "InvalidInputException", "bptt"),
        ({"solutionConfig": {"algorithmHyperParameters": {"bptt": "ten"}}}, "InvalidInputException", "bptt"),
        ({"solutionConfig": {"eventValueThreshold": "much"}}, "InvalidInputException", "eventValueThreshold"),
        ({"solutionConfig": {"eventValueThreshold": "nan"}}, "InvalidInputException", "eventValueThreshold"),
    ],
)
def test_what_makes_no_sense_is_refused(
    personalize: Any, make: Maker, life: Life, more: dict[str, Any], code: str, message: str
) -> None:
    request = {"name": make.name(), "datasetGroupArn": life.group, "recipeArn": HRNN, **more}
    with refused(code, message):
        personalize.create_solution(**{member: value for member, value in request.items() if value is not None})


def test_it_is_deleted(personalize: Any, make: Maker) -> None:
    solution = make.solution()
    personalize.delete_solution(solutionArn=solution)
    make.gone("solution", "solution", solution)


def test_one_with_a_campaign_is_not_deleted(personalize: Any, life: Life) -> None:
    with refused("ResourceInUseException", life.campaign):
        personalize.delete_solution(solutionArn=life.solution)
