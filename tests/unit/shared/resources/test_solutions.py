"""Create, Describe, Update and Delete of solutions: what is checked, kept and shown."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from shared.aws.errors import InvalidInput, ResourceInUse, ResourceNotFound, Validation
from shared.recipes.ranking_metrics import compute_metrics
from shared.resources.solution import schedule, tuning
from shared.state.lifecycle import (
    ACTIVE,
    CREATE_FAILED,
    CREATE_IN_PROGRESS,
    CREATE_PENDING,
    CREATE_STOPPING,
    DELETE_PENDING,
)
from shared.state.messages import Provision, Remove
from tests.unit.shared.resources.standing import GROUP, PREFIX, Standing, arn_of, refused

SOLUTION = f"{PREFIX}:solution/films"
FIELDS = [
    {"name": "USER_ID", "type": "string"},
    {"name": "ITEM_ID", "type": "string"},
    {"name": "TIMESTAMP", "type": "long"},
]
EVENT_TYPE = {"name": "EVENT_TYPE", "type": "string"}
EVENT_VALUE = {"name": "EVENT_VALUE", "type": ["null", "float"]}
ITEMS = [
    {"name": "ITEM_ID", "type": "string"},
    {"name": "PRICE", "type": "float"},
    {"name": "RATING", "type": ["null", "float"]},
    {"name": "TITLE", "type": "string"},
]


def create(standing: Standing, recipe: str | None = "aws-hrnn", **more: Any) -> dict[str, Any]:
    """What DescribeSolution shows after CreateSolution."""
    chosen = {"recipeArn": arn_of(recipe)} if recipe else {}
    arn = standing.ask("CreateSolution", name="films", datasetGroupArn=GROUP, **chosen, **more)["solutionArn"]
    assert arn == SOLUTION
    return described(standing)


def described(standing: Standing) -> dict[str, Any]:
    shown: dict[str, Any] = standing.ask("DescribeSolution", solutionArn=SOLUTION)["solution"]
    return shown


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


# AutoML


def test_automl_tunes_whatever_is_said_and_reads_its_own_configuration_alone(standing: Standing) -> None:
    config = {
        "autoMLConfig": {
            "metricName": "precision_at_10",
            "recipeList": [arn_of("aws-hrnn"), arn_of("aws-hrnn-metadata")],
        },
        "algorithmHyperParameters": {"layers": "3"},
    }
    shown = create(standing, None, performAutoML=True, performHPO=False, solutionConfig=config)
    assert (shown["performAutoML"], shown["performHPO"], shown["solutionConfig"]) == (True, True, config)
    assert "recipeArn" not in shown
    assert "autoMLResult" not in shown


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        ({"recipeList": [arn_of("aws-none")]}, ResourceNotFound, "aws-none"),
        ({"recipeList": [arn_of("aws-hrnn"), arn_of("aws-segments")]}, InvalidInput, "aws-segments is not one"),
        ({"recipeList": [arn_of("aws-use-case")]}, InvalidInput, "aws-use-case is not one"),
        ({"metricName": "accuracy"}, InvalidInput, "metricName must be one of coverage"),
    ],
)
def test_automl_that_could_not_be_done_is_refused(
    standing: Standing, config: dict[str, Any], error: type[InvalidInput], message: str
) -> None:
    with refused(error, message):
        create(standing, None, performAutoML=True, solutionConfig={"autoMLConfig": config})


def test_automl_may_choose_by_each_metric_of_an_evaluation() -> None:
    hits = np.ones((1, 25), dtype=bool)
    measured = compute_metrics(hits, np.array([25]), np.arange(25).reshape(1, 25), 25)
    assert set(tuning.METRICS) == set(measured)


# HPO

#: The guide's page on HPO, with the range of bptt of its first edition.
OF_THE_GUIDE = {
    "hpoConfig": {
        "hpoResourceConfig": {"maxNumberOfTrainingJobs": "4", "maxParallelTrainingJobs": "2"},
        "algorithmHyperParameterRanges": {
            "integerHyperParameterRanges": [{"name": "training.bptt", "minValue": 20, "maxValue": 40}],
            "continuousHyperParameterRanges": [],
            "categoricalHyperParameterRanges": [{"name": "data.recency_mask", "values": ["true", "false"]}],
        },
    },
    "algorithmHyperParameters": {"hidden_dimension": "55"},
}


def ranges(**lists: list[dict[str, Any]]) -> dict[str, Any]:
    return {"hpoConfig": {"algorithmHyperParameterRanges": lists}}


def test_the_guides_example_is_taken_and_shown_as_the_guide_prints_it(standing: Standing) -> None:
    shown = create(standing, performHPO=True, solutionConfig=OF_THE_GUIDE)
    assert (shown["performHPO"], shown["solutionConfig"]) == (True, OF_THE_GUIDE)


def test_names_of_ranges_are_shown_with_their_prefix_however_they_were_sent(standing: Standing) -> None:
    sent = ranges(
        integerHyperParameterRanges=[{"name": "bptt", "minValue": 2, "maxValue": 22}, {"name": "hidden_dimension"}],
        categoricalHyperParameterRanges=[{"name": "recency_mask", "values": ["true"]}],
    )
    shown = create(standing, performHPO=True, solutionConfig=sent)["solutionConfig"]["hpoConfig"]
    assert shown["algorithmHyperParameterRanges"] == {
        "integerHyperParameterRanges": [
            {"name": "training.bptt", "minValue": 2, "maxValue": 22},
            {"name": "training.hidden_dimension"},
        ],
        "categoricalHyperParameterRanges": [{"name": "data.recency_mask", "values": ["true"]}],
    }


@pytest.mark.parametrize(
    "config",
    [
        None,
        {"hpoConfig": {"hpoResourceConfig": {"maxNumberOfTrainingJobs": "40", "maxParallelTrainingJobs": "10"}}},
        {"hpoConfig": {"hpoObjective": {"type": "MAXIMIZE", "metricName": "any", "metricRegex": ".*"}}},
        ranges(integerHyperParameterRanges=[]),
    ],
)
def test_tuning_needs_no_ranges(standing: Standing, config: dict[str, Any] | None) -> None:
    given = {} if config is None else {"solutionConfig": config}
    assert create(standing, performHPO=True, **given)["performHPO"] is True


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ranges(integerHyperParameterRanges=[{"name": "layers"}]), "layers is not a hyperparameter"),
        (
            ranges(continuousHyperParameterRanges=[{"name": "min_user_history_length_percentile"}]),
            "not tunable",
        ),
        (ranges(continuousHyperParameterRanges=[{"name": "bptt"}]), "belongs in integerHyperParameterRanges"),
        (
            ranges(integerHyperParameterRanges=[{"name": "bptt", "minValue": 9, "maxValue": 8}]),
            "minValue 9 above maxValue 8",
        ),
        (ranges(integerHyperParameterRanges=[{"name": "bptt", "minValue": 2, "maxValue": 41}]), "must lie in"),
        (ranges(categoricalHyperParameterRanges=[{"name": "recency_mask", "values": ["maybe"]}]), "one of true, false"),
        (
            ranges(integerHyperParameterRanges=[{"name": "bptt"}, {"name": "training.bptt"}]),
            "2 ranges for bptt",
        ),
    ],
)
def test_a_range_that_could_not_be_searched_is_refused(
    standing: Standing, config: dict[str, Any], message: str
) -> None:
    with refused(InvalidInput, message):
        create(standing, performHPO=True, solutionConfig=config)


@pytest.mark.parametrize(("member", "most"), [("maxNumberOfTrainingJobs", 40), ("maxParallelTrainingJobs", 10)])
@pytest.mark.parametrize("text", ["0", "-1", "", "ten", "1.5", "above"])
def test_numbers_of_trainings_are_whole_and_within_aws_maxima(
    standing: Standing, member: str, most: int, text: str
) -> None:
    config = {"hpoConfig": {"hpoResourceConfig": {member: text.replace("above", str(most + 1))}}}
    with refused(InvalidInput, f"{member} must be a whole number from 1 to {most}"):
        create(standing, performHPO=True, solutionConfig=config)


@pytest.mark.parametrize(
    ("wanted", "jobs"),
    [
        ({}, (40, 10)),
        ({"maxNumberOfTrainingJobs": "3"}, (3, 3)),
        ({"maxNumberOfTrainingJobs": "4", "maxParallelTrainingJobs": "8"}, (4, 4)),
        ({"maxParallelTrainingJobs": "2"}, (40, 2)),
    ],
)
def test_no_more_trainings_run_at_once_than_there_are(wanted: dict[str, str], jobs: tuple[int, int]) -> None:
    assert tuning.training_jobs({"hpoConfig": {"hpoResourceConfig": wanted}}) == jobs


def test_a_recipe_without_anything_to_tune_is_not_tuned(standing: Standing) -> None:
    with refused(InvalidInput, "no hyperparameter that HPO could tune"):
        create(standing, "aws-with-events", performHPO=True)


# Events


@pytest.fixture
def with_events(standing: Standing) -> Standing:
    standing.dataset("Interactions", [*FIELDS, EVENT_TYPE, EVENT_VALUE])
    return standing


def events(*listed: dict[str, Any]) -> dict[str, Any]:
    return {"eventsConfig": {"eventParametersList": list(listed)}}


WATCH = {"eventType": "watch", "eventValueThreshold": 0.5, "weight": 0.7}


def test_events_and_their_weights_are_taken_by_recipes_that_have_them(with_events: Standing) -> None:
    config = events(WATCH, {"eventType": "click", "weight": 0.0})
    assert create(with_events, "aws-with-events", solutionConfig=config)["solutionConfig"] == config
    with refused(InvalidInput, "aws-hrnn does not take solutionConfig.eventsConfig"):
        create(with_events, "aws-hrnn", solutionConfig=config)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"eventType": "watch", "solutionConfig": events(WATCH)}, "in place of eventType"),
        ({"solutionConfig": {**events(WATCH), "eventValueThreshold": "3"}}, "in place of eventType"),
        ({"solutionConfig": events()}, "at least one event"),
        ({"solutionConfig": events({"weight": 0.5})}, "each event its eventType"),
        ({"solutionConfig": events(WATCH, {"eventType": "WATCH"})}, "names an event type twice"),
        ({"solutionConfig": events({"eventType": "watch", "weight": 0})}, "the weight 0"),
    ],
)
def test_events_that_contradict_one_another_are_refused(
    with_events: Standing, more: dict[str, Any], message: str
) -> None:
    with refused(InvalidInput, message):
        create(with_events, "aws-with-events", **more)


@pytest.mark.parametrize("weight", [-0.1, 1.1])
def test_a_weight_lies_between_0_and_1(with_events: Standing, weight: float) -> None:
    with refused(Validation, "weight"):
        create(with_events, "aws-with-events", solutionConfig=events({**WATCH, "weight": weight}))


def test_more_than_ten_events_are_refused(with_events: Standing) -> None:
    with refused(Validation, "less than or equal to 10"):
        create(with_events, "aws-with-events", solutionConfig=events(*({"eventType": str(n)} for n in range(11))))


@pytest.mark.parametrize(
    ("columns", "config", "message"),
    [
        ([EVENT_VALUE], {"eventValueThreshold": "3"}, "eventValueThreshold needs a column EVENT_TYPE"),
        ([EVENT_TYPE], {"eventValueThreshold": "3"}, "eventValueThreshold needs a column EVENT_VALUE"),
        ([], events({"eventType": "watch"}), "eventsConfig needs a column EVENT_TYPE"),
        ([EVENT_TYPE], events(WATCH), "eventsConfig needs a column EVENT_VALUE"),
    ],
)
def test_events_are_told_apart_by_columns_that_must_be_there(
    standing: Standing, columns: list[dict[str, Any]], config: dict[str, Any], message: str
) -> None:
    standing.dataset("Interactions", [*FIELDS, *columns])
    with refused(InvalidInput, message):
        create(standing, "aws-with-events", solutionConfig=config)


# What is weighed beside relevance


def objective(**members: str) -> dict[str, Any]:
    return {"optimizationObjective": members}


def test_an_objective_is_a_column_of_numbers_of_the_items(standing: Standing) -> None:
    standing.dataset("Items", ITEMS)
    config = objective(itemAttribute="PRICE", objectiveSensitivity="LOW")
    assert create(standing, "aws-with-objective", solutionConfig=config)["solutionConfig"] == config


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (objective(itemAttribute="WEIGHT"), "names WEIGHT, no column"),
        (objective(itemAttribute="RATING"), "can't be null"),
        (objective(itemAttribute="TITLE"), "not a column of numbers"),
        (objective(objectiveSensitivity="HIGH"), "needs itemAttribute"),
        (
            {
                **objective(itemAttribute="PRICE"),
                "trainingDataConfig": {"excludedDatasetColumns": {"ITEMS": ["PRICE"]}},
            },
            "do not exclude it",
        ),
    ],
)
def test_an_objective_that_no_column_gives_is_refused(standing: Standing, config: dict[str, Any], message: str) -> None:
    standing.dataset("Items", ITEMS)
    with refused(InvalidInput, message):
        create(standing, "aws-with-objective", solutionConfig=config)


def test_an_objective_needs_items_and_a_recipe_that_has_one(standing: Standing) -> None:
    with refused(InvalidInput, "no column of the group's Items dataset"):
        create(standing, "aws-with-objective", solutionConfig=objective(itemAttribute="PRICE"))
    with refused(InvalidInput, "aws-hrnn does not take solutionConfig.optimizationObjective"):
        create(standing, solutionConfig=objective(itemAttribute="PRICE"))


# Trained by itself


@pytest.mark.parametrize(
    ("expression", "days"), [("rate(1 day)", 1), ("rate(1 days)", 1), ("rate(7 days)", 7), ("rate(30 days)", 30)]
)
def test_a_rate_is_a_number_of_days(expression: str, days: int) -> None:
    assert schedule.days({"autoTrainingConfig": {"schedulingExpression": expression}}) == days


def test_without_a_rate_it_is_trained_every_week() -> None:
    assert schedule.days({}) == 7


@pytest.mark.parametrize("days", [0, 31, 99999])
def test_a_rate_beyond_30_days_or_of_none_is_refused(standing: Standing, days: int) -> None:
    with refused(InvalidInput, "N from 1 to 30"):
        create(standing, solutionConfig={"autoTrainingConfig": {"schedulingExpression": f"rate({days} days)"}})


def test_incremental_updates_are_for_semantic_similarity_alone(standing: Standing) -> None:
    with refused(InvalidInput, "aws-semantic-similarity alone"):
        create(standing, performIncrementalUpdate=True)
    assert create(standing, "aws-semantic-similarity", performIncrementalUpdate=True)["performIncrementalUpdate"]


# The latest version


def test_the_latest_version_is_shown_without_what_it_lacks(standing: Standing) -> None:
    create(standing)
    assert "latestSolutionVersion" not in described(standing)
    version = standing.version(SOLUTION, status=CREATE_IN_PROGRESS)
    latest = described(standing)["latestSolutionVersion"]
    assert (latest["solutionVersionArn"], latest["status"]) == (version, CREATE_IN_PROGRESS)
    assert (latest["trainingMode"], latest["trainingType"]) == ("FULL", "MANUAL")
    assert "failureReason" not in latest


# UpdateSolution


def update(standing: Standing, **wanted: Any) -> dict[str, Any]:
    assert standing.ask("UpdateSolution", solutionArn=SOLUTION, **wanted) == {"solutionArn": SOLUTION}
    return described(standing)


def test_an_update_runs_beside_the_status_and_changes_the_schedule_at_its_end(standing: Standing) -> None:
    config = {"algorithmHyperParameters": {"bptt": "8"}}
    assert "latestSolutionUpdate" not in create(standing, solutionConfig=config)
    wanted = {"autoTrainingConfig": {"schedulingExpression": "rate(5 days)"}}
    shown = update(standing, performAutoTraining=False, solutionUpdateConfig=wanted)
    assert (shown["status"], shown["performAutoTraining"], shown["solutionConfig"]) == (ACTIVE, True, config)
    begun = shown["latestSolutionUpdate"]
    assert begun["status"] == CREATE_PENDING
    assert (begun["performAutoTraining"], begun["solutionUpdateConfig"]) == (False, wanted)
    assert {"creationDateTime", "lastUpdatedDateTime"} <= begun.keys()
    assert standing.heard() == [Provision(arn=SOLUTION)]
    shown = described(standing)
    assert shown["latestSolutionUpdate"]["status"] == ACTIVE
    assert (shown["performAutoTraining"], shown["solutionConfig"]) == (False, {**config, **wanted})


def test_new_events_take_the_place_of_the_old_ones(with_events: Standing) -> None:
    rate = {"autoTrainingConfig": {"schedulingExpression": "rate(5 days)"}}
    create(with_events, "aws-with-events", solutionConfig={**events(WATCH), **rate})
    update(with_events, solutionUpdateConfig=events({"eventType": "click"}))
    with_events.heard()
    assert described(with_events)["solutionConfig"] == {**events({"eventType": "click"}), **rate}


def test_while_it_is_updated_versions_are_made_but_it_is_neither_deleted_nor_updated(standing: Standing) -> None:
    create(standing)
    update(standing, performAutoTraining=False)
    with refused(ResourceInUse, "CREATE PENDING"):
        standing.ask("DeleteSolution", solutionArn=SOLUTION)
    with refused(ResourceInUse, "CREATE PENDING"):
        update(standing, performAutoTraining=True)
    version = standing.ask("CreateSolutionVersion", solutionArn=SOLUTION)["solutionVersionArn"]
    standing.heard()
    assert described(standing)["latestSolutionUpdate"]["status"] == ACTIVE
    assert standing.get(version).status == CREATE_PENDING


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({}, "nothing to update"),
        ({"performIncrementalUpdate": True}, "aws-semantic-similarity alone"),
        ({"solutionUpdateConfig": {"autoTrainingConfig": {"schedulingExpression": "rate(31 days)"}}}, "1 to 30"),
        ({"solutionUpdateConfig": events(WATCH)}, "aws-hrnn does not take solutionConfig.eventsConfig"),
    ],
)
def test_an_update_that_makes_no_sense_is_refused(standing: Standing, wanted: dict[str, Any], message: str) -> None:
    create(standing)
    with refused(InvalidInput, message):
        update(standing, **wanted)
    assert "latestSolutionUpdate" not in described(standing)


def test_events_are_not_updated_beside_an_event_type(with_events: Standing) -> None:
    create(with_events, "aws-with-events", eventType="watch")
    with refused(InvalidInput, "in place of eventType"):
        update(with_events, solutionUpdateConfig=events(WATCH))


def test_events_are_not_updated_by_a_column_that_is_left_out(with_events: Standing) -> None:
    left_out = {"trainingDataConfig": {"excludedDatasetColumns": {"INTERACTIONS": ["EVENT_VALUE"]}}}
    create(with_events, "aws-with-events", solutionConfig=left_out)
    with refused(InvalidInput, "eventsConfig needs the column EVENT_VALUE"):
        update(with_events, solutionUpdateConfig=events(WATCH))
    update(with_events, solutionUpdateConfig=events({"eventType": "watch"}))


def test_an_unknown_solution_is_not_updated(standing: Standing) -> None:
    with refused(ResourceNotFound, "solution/none"):
        standing.ask("UpdateSolution", solutionArn=f"{PREFIX}:solution/none", performAutoTraining=True)


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
