"""Create and Stop of solution versions: what they are trained from, and what this release does not do."""

from __future__ import annotations

import re
from typing import Any

import pytest

from services.api.custom.get_solution_metrics import get_solution_metrics
from services.status import reconcile, transitions
from shared.aws.errors import InvalidInput, ResourceAlreadyExists, ResourceInUse, ResourceNotFound, Validation
from shared.http.app import Call
from shared.state.lifecycle import (
    ACTIVE,
    CREATE_FAILED,
    CREATE_IN_PROGRESS,
    CREATE_PENDING,
    CREATE_STOPPED,
    CREATE_STOPPING,
    DELETE_PENDING,
)
from shared.state.messages import Finished, TrainSolutionVersion, TuneSolutionVersion
from tests.unit.shared.resources.standing import INTERACTIONS, PREFIX, Standing, refused

FIELDS = [
    {"name": "USER_ID", "type": "string"},
    {"name": "ITEM_ID", "type": "string"},
    {"name": "TIMESTAMP", "type": "long"},
]


def create(standing: Standing, solution: str, **more: Any) -> dict[str, Any]:
    arn = standing.ask("CreateSolutionVersion", solutionArn=solution, **more)["solutionVersionArn"]
    return described(standing, arn)


def described(standing: Standing, arn: str) -> dict[str, Any]:
    shown: dict[str, Any] = standing.ask("DescribeSolutionVersion", solutionVersionArn=arn)["solutionVersion"]
    return shown


def test_it_repeats_its_solution_and_lacks_what_training_will_add(standing: Standing) -> None:
    config = {"algorithmHyperParameters": {"bptt": "8"}}
    solution = standing.solution(solutionConfig=config, eventType="watch", performHPO=False, performAutoML=False)
    shown = create(standing, solution)
    assert re.fullmatch(r"s/[0-9a-f]{8}", shown["name"])
    assert shown["solutionVersionArn"] == f"{PREFIX}:solution/{shown['name']}"
    assert (shown["status"], shown["trainingMode"], shown["trainingType"]) == (CREATE_PENDING, "FULL", "MANUAL")
    assert (shown["solutionConfig"], shown["eventType"], shown["solutionArn"]) == (config, "watch", solution)
    assert not {"trainingHours", "tunedHPOParams", "failureReason"} & shown.keys()
    assert standing.heard() == [TrainSolutionVersion(arn=shown["solutionVersionArn"])]


def test_its_hours_have_three_decimals_once_it_is_active(standing: Standing) -> None:
    arn = create(standing, standing.solution())["solutionVersionArn"]
    attempt = standing.get(arn).attempt
    transitions.write_transition(
        standing.store, Finished(arn=arn, attempt=attempt, outcome={"seconds": 1234.5, "metrics": {}})
    )
    assert (described(standing, arn)["status"], described(standing, arn)["trainingHours"]) == (ACTIVE, 0.343)


def test_a_given_name_is_kept_and_taken_within_the_solution_alone(standing: Standing) -> None:
    assert create(standing, standing.solution(), name="first")["name"] == "first"
    assert create(standing, standing.solution(name="other"), name="first")["name"] == "first"
    with refused(ResourceAlreadyExists, "solution/s/"):
        create(standing, f"{PREFIX}:solution/s", name="first")


@pytest.mark.parametrize("status", [CREATE_PENDING, CREATE_IN_PROGRESS])
def test_an_import_under_way_is_waited_for(standing: Standing, status: str) -> None:
    standing.dataset("Interactions", FIELDS)
    job = standing.imported(status=status)
    with refused(ResourceInUse, job):
        create(standing, standing.solution())


def test_a_solution_that_is_being_deleted_or_is_unknown_is_not_trained(standing: Standing) -> None:
    solution = standing.solution()
    standing.change(solution, status=DELETE_PENDING)
    with refused(ResourceInUse, "DELETE PENDING"):
        create(standing, solution)
    with refused(ResourceNotFound, "solution/none"):
        create(standing, f"{PREFIX}:solution/none")


# Training modes


def test_an_update_goes_on_from_the_newest_full_version_that_is_active(standing: Standing) -> None:
    solution = standing.solution("aws-explorer")
    standing.version(solution, 1)
    newest = standing.version(solution, 2)
    standing.version(solution, 3, mode="UPDATE")
    standing.version(solution, 4, status=CREATE_FAILED)
    shown = create(standing, solution, trainingMode="UPDATE")
    assert shown["trainingMode"] == "UPDATE"
    assert standing.get(shown["solutionVersionArn"]).state["base"] == newest


def test_a_full_training_goes_on_from_nothing(standing: Standing) -> None:
    solution = standing.solution("aws-explorer")
    standing.version(solution)
    arn = create(standing, solution, trainingMode="FULL")["solutionVersionArn"]
    assert "base" not in standing.get(arn).state


@pytest.mark.parametrize("made", [{}, {"status": CREATE_IN_PROGRESS}, {"mode": "UPDATE"}])
def test_an_update_of_nothing_is_refused(standing: Standing, made: dict[str, str]) -> None:
    solution = standing.solution("aws-explorer")
    if made:
        standing.version(solution, **made)  # type: ignore[arg-type]
    with refused(InvalidInput, "no ACTIVE version that was trained FULL"):
        create(standing, solution, trainingMode="UPDATE")


@pytest.mark.parametrize(("recipe", "mode"), [("aws-hrnn", "UPDATE"), ("aws-explorer", "AUTOTRAIN"), (None, "UPDATE")])
def test_a_mode_that_the_recipe_does_not_have_is_refused(standing: Standing, recipe: str | None, mode: str) -> None:
    solution = standing.solution(recipe)
    standing.version(solution)
    with refused(InvalidInput, f"can't be trained in mode {mode}"):
        create(standing, solution, trainingMode=mode)


def test_an_unknown_mode_is_no_mode_of_aws(standing: Standing) -> None:
    with refused(Validation, "FULL, UPDATE, AUTOTRAIN"):
        create(standing, standing.solution(), trainingMode="HALF")


# HPO and AutoML


@pytest.mark.parametrize(
    ("recipe", "asked"), [("aws-hrnn", {"performHPO": True}), (None, {"performHPO": True, "performAutoML": True})]
)
def test_hpo_and_automl_come_before_the_training(
    standing: Standing, recipe: str | None, asked: dict[str, bool]
) -> None:
    shown = create(standing, standing.solution(recipe, **asked))
    assert shown["status"] == CREATE_PENDING
    assert standing.heard() == [TuneSolutionVersion(arn=shown["solutionVersionArn"])]


def test_once_there_is_a_winner_the_training_is_what_is_announced(standing: Standing) -> None:
    arn = create(standing, standing.solution(performHPO=True))["solutionVersionArn"]
    standing.heard()
    reconcile._resend_command(standing.process, standing.get(arn), {})
    assert standing.heard() == [TuneSolutionVersion(arn=arn)]
    standing.change(arn, state={**standing.get(arn).state, "tuned": {}})
    reconcile._resend_command(standing.process, standing.get(arn), {})
    assert standing.heard() == [TrainSolutionVersion(arn=arn)]


def test_an_update_has_the_hyperparameters_of_what_it_goes_on_from(standing: Standing) -> None:
    solution = standing.solution("aws-explorer", performHPO=True)
    standing.version(solution)
    arn = create(standing, solution, trainingMode="UPDATE")["solutionVersionArn"]
    assert standing.heard() == [TrainSolutionVersion(arn=arn)]


# StopSolutionVersionCreation


@pytest.mark.parametrize(("status", "after"), [(CREATE_PENDING, CREATE_STOPPED), (CREATE_IN_PROGRESS, CREATE_STOPPING)])
def test_what_waits_is_stopped_at_once_and_what_runs_is_told_to(standing: Standing, status: str, after: str) -> None:
    version = standing.version(standing.solution(), status=status)
    assert standing.ask("StopSolutionVersionCreation", solutionVersionArn=version) == {}
    assert described(standing, version)["status"] == after


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (ACTIVE, InvalidInput),
        (CREATE_FAILED, InvalidInput),
        (CREATE_STOPPED, InvalidInput),
        (CREATE_STOPPING, ResourceInUse),
    ],
)
def test_what_has_ended_or_is_being_stopped_is_not_stopped(
    standing: Standing, status: str, error: type[InvalidInput]
) -> None:
    version = standing.version(standing.solution(), status=status)
    with refused(error, status if error is InvalidInput else "being stopped already"):
        standing.ask("StopSolutionVersionCreation", solutionVersionArn=version)
    assert described(standing, version)["status"] == status


def test_a_stopped_version_is_still_listed_and_stays_stopped(standing: Standing) -> None:
    solution = standing.solution()
    version = standing.version(solution, status=CREATE_PENDING)
    standing.ask("StopSolutionVersionCreation", solutionVersionArn=version)
    attempt = standing.get(version).attempt
    transitions.write_transition(standing.store, Finished(arn=version, attempt=attempt, outcome={"seconds": 1.0}))
    [listed] = standing.ask("ListSolutionVersions", solutionArn=solution)["solutionVersions"]
    assert (listed["solutionVersionArn"], listed["status"]) == (version, CREATE_STOPPED)


@pytest.mark.parametrize("status", [CREATE_PENDING, CREATE_IN_PROGRESS, CREATE_FAILED, CREATE_STOPPED])
def test_metrics_are_of_a_version_that_is_active(standing: Standing, status: str) -> None:
    version = standing.version(standing.solution(), status=status)
    with refused(ResourceInUse, status):
        standing.ask("GetSolutionMetrics", solutionVersionArn=version)


@pytest.mark.parametrize("report", [{"report": {"raw": {"users": 3}, "unseen": None}}, {"report": {}}, {}])
def test_a_report_travels_in_a_header_where_there_is_one(standing: Standing, report: dict[str, Any]) -> None:
    """Recipes that AWS measures in another way have none, nor have versions of an older release."""
    version = standing.version(standing.solution())
    standing.change(version, state={"metrics": {"coverage": 0.5}, "baseline": {"coverage": 0.2}, **report})
    call = Call(operation="GetSolutionMetrics", request={"solutionVersionArn": version}, request_id="", invocation="1")
    headers = dict(get_solution_metrics(standing.context, call).headers)
    assert headers.pop("x-foretaste-baseline") == '{"coverage":0.2}'
    told = {"x-foretaste-report": '{"raw":{"users":3},"unseen":null}'} if report.get("report") else {}
    assert headers == told


def test_it_trains_on_the_imports_of_when_it_was_made(standing: Standing) -> None:
    standing.dataset("Interactions", FIELDS)
    standing.imported(1)
    newest = [standing.imported(2), standing.imported(3, "INCREMENTAL")]
    arn = create(standing, standing.solution())["solutionVersionArn"]
    assert standing.get(arn).state["imports"] == {"INTERACTIONS": newest[::-1]}
    assert INTERACTIONS in standing.get(arn).parents
