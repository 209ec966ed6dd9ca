"""AutoML and HPO of solutions: what is taken, refused and shown."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from shared.aws.errors import InvalidInput, ResourceNotFound
from shared.recipes.ranking_metrics import compute_metrics
from shared.resources.solution import tuning
from tests.unit.shared.resources.solution_requests import (
    create,
)
from tests.unit.shared.resources.standing import Standing, arn_of, refused

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
    assert tuning.parse_job_limits({"hpoConfig": {"hpoResourceConfig": wanted}}) == jobs


def test_a_recipe_without_anything_to_tune_is_not_tuned(standing: Standing) -> None:
    with refused(InvalidInput, "no hyperparameter that HPO could tune"):
        create(standing, "aws-with-events", performHPO=True)
