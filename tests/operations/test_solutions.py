"""CreateSolution, DescribeSolution, ListSolutions, UpdateSolution, DeleteSolution.

What is checked is tried in tests/unit/shared/resources/test_solutions.py; here it goes through the service.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import until
from tests.operations.conftest import COLDSTART, HRNN, INTERACTIONS, METADATA, Life, Maker, column, refused


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
        ({"performAutoML": True}, "InvalidInputException", "leave recipeArn out"),
        ({"performIncrementalUpdate": True}, "InvalidInputException", "aws-semantic-similarity"),
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


@pytest.fixture(scope="module")
def columns(make: Maker) -> str:
    """A group with the three datasets, empty."""
    group = make.group()
    nullable = ["null", "string"]
    for table, own in (
        ("Interactions", [column("ITEM_ID"), column("TIMESTAMP", "long"), column("EVENT_TYPE"), column("DEVICE")]),
        ("Items", [column("ITEM_ID"), column("GENRES", nullable, categorical=True), column("PRICE", "float")]),
        ("Users", [column("AGE", ["null", "int"])]),
    ):
        fields = [column("USER_ID"), *own] if table != "Items" else own
        make.dataset(group, make.schema({**INTERACTIONS, "name": table, "fields": fields}), table)
    return group


@pytest.mark.parametrize("member", ["excludedDatasetColumns", "includedDatasetColumns"])
@pytest.mark.parametrize(
    "columns_", [{"Interactions": ["DEVICE"]}, {"ITEMS": ["GENRES", "PRICE"], "users": ["AGE"], "Interactions": []}]
)
def test_columns_may_be_left_out_of_training(
    personalize: Any, make: Maker, columns: str, member: str, columns_: dict[str, list[str]]
) -> None:
    config = {"trainingDataConfig": {member: columns_}}
    arn = make.solution(columns, METADATA, solutionConfig=config)
    assert personalize.describe_solution(solutionArn=arn)["solution"]["solutionConfig"] == config


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"excludedDatasetColumns": {"Items": ["COLOUR", "GENRES"]}}, "names COLOUR, no column of the ITEMS dataset"),
        ({"excludedDatasetColumns": {"Items": ["genres"]}}, "names genres, no column"),
        ({"excludedDatasetColumns": {"Items": ["ITEM_ID"]}}, "ITEM_ID can't be excluded"),
        (
            {"excludedDatasetColumns": {"Interactions": ["TIMESTAMP", "USER_ID"]}},
            "TIMESTAMP, USER_ID can't be excluded",
        ),
        ({"excludedDatasetColumns": {"Interactions": ["EVENT_TYPE"]}}, "EVENT_TYPE can't be excluded"),
        ({"excludedDatasetColumns": {"Actions": ["VALUE"]}}, "names ACTIONS: the dataset group has no such dataset"),
        ({"excludedDatasetColumns": {"Films": ["VALUE"]}}, "dataset type Films; it must be one of INTERACTIONS"),
        ({"excludedDatasetColumns": {"Items": ["PRICE"], "ITEMS": ["GENRES"]}}, "ITEMS twice"),
        ({"includedDatasetColumns": {"Items": ["COLOUR"]}}, "names COLOUR, no column"),
        (
            {"excludedDatasetColumns": {"Items": ["PRICE"]}, "includedDatasetColumns": {"Users": ["AGE"]}},
            "give one of them",
        ),
    ],
)
def test_columns_that_cannot_be_left_out_are_refused(
    personalize: Any, make: Maker, columns: str, config: dict[str, Any], message: str
) -> None:
    with refused("InvalidInputException", message):
        make.solution(columns, METADATA, solutionConfig={"trainingDataConfig": config})


@pytest.mark.parametrize(
    "excluded",
    [
        {"Items": [f"COLUMN_{number}" for number in range(51)]},
        {"Items": ["PRICE"], "Users": ["AGE"], "Interactions": ["DEVICE"], "Actions": ["VALUE"]},
    ],
)
def test_more_than_50_columns_or_3_datasets_are_refused(
    make: Maker, columns: str, excluded: dict[str, list[str]]
) -> None:
    with refused("ValidationException", "length less than or equal to (50|3)"):
        make.solution(columns, METADATA, solutionConfig={"trainingDataConfig": {"excludedDatasetColumns": excluded}})


def test_a_threshold_needs_a_column_of_values(make: Maker, columns: str) -> None:
    with refused("InvalidInputException", "needs a column EVENT_VALUE"):
        make.solution(columns, solutionConfig={"eventValueThreshold": "3"})


def test_a_threshold_and_the_column_of_values_left_out_contradict(make: Maker) -> None:
    group = make.group()
    fields = [*INTERACTIONS["fields"], column("EVENT_VALUE", ["null", "float"])]
    make.dataset(group, make.schema({**INTERACTIONS, "fields": fields}))
    config = {"eventValueThreshold": "3"}
    make.solution(group, solutionConfig=config)
    excluded = {"excludedDatasetColumns": {"Interactions": ["EVENT_VALUE"]}}
    with refused("InvalidInputException", "do not exclude it"):
        make.solution(group, solutionConfig={**config, "trainingDataConfig": excluded})


@pytest.mark.parametrize("recipe", [HRNN, METADATA, COLDSTART])
@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("optimizationObjective", {"itemAttribute": "PRICE", "objectiveSensitivity": "LOW"}),
        ("eventsConfig", {"eventParametersList": [{"eventType": "watch", "weight": 0.5}]}),
    ],
)
def test_what_aws_gives_to_other_recipes_is_refused(
    make: Maker, columns: str, recipe: str, member: str, value: dict[str, Any]
) -> None:
    with refused("InvalidInputException", f"does not take solutionConfig.{member}"):
        make.solution(columns, recipe, solutionConfig={member: value})


def test_hyperparameters_of_coldstart_are_taken_by_coldstart_alone(make: Maker, columns: str) -> None:
    config = {"featureTransformationParameters": {"cold_start_relative_from": "currentTime"}}
    make.solution(columns, COLDSTART, solutionConfig=config)
    with refused("InvalidInputException", "cold_start_relative_from is not a hyperparameter of aws-hrnn-metadata"):
        make.solution(columns, METADATA, solutionConfig=config)


def test_it_is_updated_beside_its_status(personalize: Any, make: Maker) -> None:
    solution = make.solution()
    wanted = {"autoTrainingConfig": {"schedulingExpression": "rate(5 days)"}}
    personalize.update_solution(solutionArn=solution, performAutoTraining=False, solutionUpdateConfig=wanted)

    def updated() -> dict[str, Any] | None:
        shown: dict[str, Any] = personalize.describe_solution(solutionArn=solution)["solution"]
        assert shown["status"] == "ACTIVE"
        return shown if shown["latestSolutionUpdate"]["status"] == "ACTIVE" else None

    shown = until(updated)
    assert (shown["performAutoTraining"], shown["solutionConfig"]) == (False, wanted)
    assert shown["latestSolutionUpdate"]["solutionUpdateConfig"] == wanted


def test_it_is_deleted(personalize: Any, make: Maker) -> None:
    solution = make.solution()
    personalize.delete_solution(solutionArn=solution)
    make.gone("solution", "solution", solution)


def test_one_with_a_campaign_is_not_deleted(personalize: Any, life: Life) -> None:
    with refused("ResourceInUseException", life.campaign):
        personalize.delete_solution(solutionArn=life.solution)
