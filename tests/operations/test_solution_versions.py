"""Create, Describe and List of solution versions, StopSolutionVersionCreation, GetSolutionMetrics."""

from __future__ import annotations

import json
import re
import time
from typing import Any
from urllib.parse import quote

import pytest

from tests.conftest import System, until
from tests.operations.conftest import HRNN, POPULARITY, SMALL, Life, Maker, column, recommended, refused

METRICS = [
    "coverage",
    "mean_reciprocal_rank_at_25",
    "normalized_discounted_cumulative_gain_at_10",
    "normalized_discounted_cumulative_gain_at_25",
    "normalized_discounted_cumulative_gain_at_5",
    "precision_at_10",
    "precision_at_25",
    "precision_at_5",
]


def test_it_is_trained(personalize: Any, life: Life) -> None:
    assert re.fullmatch(re.escape(life.solution) + "/[0-9a-f]{8}", life.version)
    version = personalize.describe_solution_version(solutionVersionArn=life.version)["solutionVersion"]
    assert version["status"] == "ACTIVE"
    assert version["name"] == life.version.partition(":solution/")[2]
    assert (version["solutionArn"], version["datasetGroupArn"], version["recipeArn"]) == (
        life.solution,
        life.group,
        HRNN,
    )
    assert (version["trainingMode"], version["trainingType"]) == ("FULL", "MANUAL")
    assert version["trainingHours"] >= 0
    [listed] = personalize.list_solution_versions(solutionArn=life.solution)["solutionVersions"]
    assert (listed["solutionVersionArn"], listed["status"]) == (life.version, "ACTIVE")


def test_its_metrics_are_aws_eight_and_beat_the_baseline_on_a_pattern(personalize: Any, life: Life) -> None:
    answer = personalize.get_solution_metrics(solutionVersionArn=life.version)
    assert list(answer["metrics"]) == METRICS
    assert all(0 <= value <= 1 and round(value, 4) == value for value in answer["metrics"].values())
    baseline = json.loads(answer["ResponseMetadata"]["HTTPHeaders"]["x-foretaste-baseline"])
    assert list(baseline) == METRICS
    best = "normalized_discounted_cumulative_gain_at_5"
    assert answer["metrics"][best] > baseline[best]


def test_our_own_report_of_its_evaluation_is_in_a_header(personalize: Any, life: Life) -> None:
    answer = personalize.get_solution_metrics(solutionVersionArn=life.version)
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    report, baseline = (json.loads(headers[f"x-foretaste-{name}"]) for name in ("report", "baseline"))
    raw, unseen = report["raw"], report["unseen"]
    assert len(raw["model"]) == 3
    assert raw["model"].items() <= answer["metrics"].items()
    assert raw["popularity"].items() <= baseline.items()
    assert raw["personal_frequency"].keys() == raw["model"].keys()
    assert unseen is None or 0 < unseen["users"] <= raw["users"]


def test_too_little_data_fails_with_aws_text(personalize: Any, make: Maker) -> None:
    group = make.group()
    dataset = make.dataset(group)
    make.imported(dataset, make.csv(rows=1200, users=10))
    version = personalize.create_solution_version(solutionArn=make.solution(group))["solutionVersionArn"]
    ended = make.settled("solution_version", "solutionVersion", version)
    assert ended["status"] == "CREATE FAILED"
    assert "fewer than 25 users with at least 2 interactions each" in ended["failureReason"]
    assert "trainingHours" not in ended
    with refused("ResourceInUseException", "CREATE FAILED"):
        personalize.get_solution_metrics(solutionVersionArn=version)


def test_an_event_type_without_enough_events_fails(personalize: Any, make: Maker, life: Life) -> None:
    solution = make.solution(life.group, eventType="Purchase")
    version = personalize.create_solution_version(solutionArn=solution)["solutionVersionArn"]
    ended = make.settled("solution_version", "solutionVersion", version)
    assert "Dataset has fewer than 1000 interactions after filtering by event type: Purchase" in ended["failureReason"]


EVENTS = [
    column("USER_ID"),
    column("ITEM_ID"),
    column("TIMESTAMP", "long"),
    column("EVENT_TYPE"),
    column("EVENT_VALUE", ["null", "float"]),
]


def test_only_events_of_the_type_and_at_or_above_the_threshold_are_trained_on(system: System, make: Maker) -> None:
    # What is recommended shows what was trained on: the ids begin with why.
    kinds = (
        ("at", "Buy", 3.0, 20),
        ("above", "buy", 5.5, 3),
        ("below", "BUY", 2.99, 20),
        ("without", "buy", None, 5),
        ("other", "watch", 9.0, 9),
    )
    rows = [
        (f"u{user}", f"{why} {(user + step) % 12}", 1_600_000_000 + step * 600, kind, value)
        for user in range(60)
        for why, kind, value, steps in kinds
        for step in range(steps)
    ]
    group = make.group()
    make.filled(group, "Interactions", EVENTS, rows)
    campaign = make.deployed(
        make.solution(group, eventType="bUY", solutionConfig={**SMALL, "eventValueThreshold": "3"})
    )
    assert {item.partition(" ")[0] for item in recommended(system, campaign, "u1", 100)} == {"at", "above"}


def test_a_robots_history_is_dropped_unless_the_percentiles_take_it(system: System, make: Maker) -> None:
    people = [
        (f"u{user}", f"i{(user + step) % 20}", 1_600_000_000 + step * 600, "watch", None)
        for user in range(60)
        for step in range(20)
    ]
    robot = [("robot", f"r{step % 10}", 1_600_000_000 + step * 4, "watch", None) for step in range(3000)]
    group = make.group()
    make.filled(group, "Interactions", EVENTS, people + robot)
    campaign = make.deployed(make.solution(group, solutionConfig=SMALL))
    assert [item for item in recommended(system, campaign, "stranger", 10) if item.startswith("r")] == []
    assert len(recommended(system, campaign, "robot", 10)) == 10
    everybody = {**SMALL, "featureTransformationParameters": {"max_user_history_length_percentile": "1.0"}}
    campaign = make.deployed(make.solution(group, solutionConfig=everybody))
    assert [item for item in recommended(system, campaign, "stranger", 10) if item.startswith("i")] == []


def test_a_group_without_interactions_fails(personalize: Any, make: Maker) -> None:
    version = personalize.create_solution_version(solutionArn=make.solution())["solutionVersionArn"]
    ended = make.settled("solution_version", "solutionVersion", version)
    assert (ended["status"], "no interactions" in ended["failureReason"]) == ("CREATE FAILED", True)


def test_an_import_under_way_is_waited_for(personalize: Any, make: Maker) -> None:
    group = make.group()
    dataset = make.dataset(group)
    solution = make.solution(group)
    job = make.started_import(dataset, make.csv(rows=20_000))
    with refused("ResourceInUseException", job):
        personalize.create_solution_version(solutionArn=solution)
    make.settled("dataset_import_job", "datasetImportJob", job)


def test_automl_says_which_recipe_it_has_chosen(personalize: Any, make: Maker, life: Life) -> None:
    """Of one, so that it is soon done."""
    config = {"autoMLConfig": {"recipeList": [POPULARITY]}}
    solution = personalize.create_solution(
        name=make.name(),
        datasetGroupArn=life.group,
        performAutoML=True,
        performAutoTraining=False,
        solutionConfig=config,
    )["solutionArn"]
    assert "autoMLResult" not in personalize.describe_solution(solutionArn=solution)["solution"]
    ended = make.trained(solution)
    assert ended["status"] == "ACTIVE", ended
    assert (ended["recipeArn"], ended["performAutoML"], ended["performHPO"]) == (POPULARITY, True, True)
    assert "tunedHPOParams" not in ended
    shown = personalize.describe_solution(solutionArn=solution)["solution"]
    assert shown["autoMLResult"] == {"bestRecipeArn": POPULARITY}
    assert "recipeArn" not in shown


@pytest.mark.parametrize("mode", ["UPDATE", "AUTOTRAIN"])
def test_a_mode_the_recipe_does_not_have_is_refused(personalize: Any, life: Life, mode: str) -> None:
    with refused("InvalidInputException", mode):
        personalize.create_solution_version(solutionArn=life.solution, trainingMode=mode)


def test_an_unknown_solution_is_not_found(personalize: Any) -> None:
    with refused("ResourceNotFoundException", "The given solution does not exist"):
        personalize.create_solution_version(solutionArn="arn:aws:personalize:us-east-1:000000000000:solution/none")


def test_versions_of_an_unknown_solution_are_not_listed(personalize: Any) -> None:
    with refused("ResourceNotFoundException", "The given solution does not exist"):
        personalize.list_solution_versions(solutionArn="arn:aws:personalize:us-east-1:000000000000:solution/none")


def test_a_call_that_an_sdk_sends_again_trains_once(system: System, personalize: Any, make: Maker) -> None:
    """botocore sends every try of one call with one invocation id; so do two calls here."""
    client = system.personalize

    def same_call(request: Any, **_: Any) -> None:
        assert request.headers["amz-sdk-invocation-id"]
        request.headers["amz-sdk-invocation-id"] = "11111111-2222-4333-8444-555555555555"

    client.meta.events.register("before-send.personalize.CreateSolutionVersion", same_call)
    solution = make.solution()
    first, second = (client.create_solution_version(solutionArn=solution)["solutionVersionArn"] for _ in range(2))
    assert first == second
    assert len(personalize.list_solution_versions(solutionArn=solution)["solutionVersions"]) == 1
    make.settled("solution_version", "solutionVersion", first)


def test_a_running_training_is_stopped_within_five_seconds(personalize: Any, make: Maker) -> None:
    group = make.group()
    make.imported(make.dataset(group), make.csv(rows=60_000, users=600, items=400))
    solution = make.solution(group, solutionConfig=SMALL)
    version = personalize.create_solution_version(solutionArn=solution)["solutionVersionArn"]

    def progress() -> dict[str, Any] | None:
        answer = personalize.describe_solution_version(solutionVersionArn=version)
        header = answer["ResponseMetadata"]["HTTPHeaders"].get("x-foretaste-progress")
        told: dict[str, Any] = json.loads(header) if header else {}
        return told if told.get("epoch") else None

    told = until(progress, 60, "the first epoch")
    checkpoints = make.folder / "artifacts" / "work" / quote(version, safe="")
    assert checkpoints.exists()
    assert told["epochs"] >= told["epoch"]
    personalize.stop_solution_version_creation(solutionVersionArn=version)
    asked = time.monotonic()
    ended = make.settled("solution_version", "solutionVersion", version)
    assert ended["status"] == "CREATE STOPPED"
    assert time.monotonic() - asked < 5
    until(lambda: not checkpoints.exists(), 10, "the checkpoints to go")
    with refused("InvalidInputException", "CREATE STOPPED"):
        personalize.stop_solution_version_creation(solutionVersionArn=version)
    with refused("ResourceInUseException", "CREATE STOPPED"):
        personalize.create_campaign(name=make.name(), solutionVersionArn=version)


def test_one_that_is_ready_cannot_be_stopped(personalize: Any, life: Life) -> None:
    with refused("InvalidInputException", "ACTIVE"):
        personalize.stop_solution_version_creation(solutionVersionArn=life.version)
