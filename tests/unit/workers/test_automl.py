"""AutoML over a store in memory: which recipes compete, how they share the trials, which one wins."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from shared.recipes import RECIPES
from shared.state.lifecycle import ACTIVE, CREATE_FAILED, CREATE_IN_PROGRESS
from tests.unit.shared.resources.standing import arn_of
from tests.unit.workers.tuned import NDCG, SECONDS, Tuned

INTERACTIONS = [{"name": name, "type": "string"} for name in ("USER_ID", "ITEM_ID", "TIMESTAMP")]
GENRES = [{"name": "ITEM_ID", "type": "string"}, {"name": "GENRES", "type": "string", "categorical": True}]
AGES = [{"name": "USER_ID", "type": "string"}, {"name": "AGE", "type": "long"}]

#: As good as each recipe is, whatever its hyperparameters.
GAINS = {"aws-popularity-count": 0.05, "aws-hrnn": 0.2, "aws-hrnn-metadata": 0.3, "aws-hrnn-coldstart": 0.1}


def automl(folder: Path, *recipes: str, jobs: int = 12, at_once: int = 2, **config: Any) -> Tuned:
    settings = {"automl_training_jobs": jobs, "automl_parallel_jobs": at_once}
    told = {**({"recipeList": [arn_of(name) for name in recipes]} if recipes else {}), **config}
    world = Tuned(
        folder, recipe=None, jobs=jobs, at_once=at_once, settings=settings, **({"autoMLConfig": told} if told else {})
    )
    world.config.pop("hpoConfig")
    return world


def names(arns: list[str]) -> list[str]:
    return [arn.rpartition("/")[2] for arn in arns]


def recipe_of(world: Tuned, number: int) -> str:
    return names([world.trial(number).body["recipeArn"]])[0]


def run(world: Tuned, gains: dict[str, float], error: float = 0.001) -> None:
    world.begin()
    while world.under_way:
        number = world.under_way[0].body["number"]
        world.finish(number, gains[recipe_of(world, number)], error)
        world.check()


# Who competes


@pytest.mark.parametrize("described", [None, "Items", "Users"])
def test_without_a_list_those_compete_that_have_something_to_learn_from(tmp_path: Path, described: str | None) -> None:
    world = automl(tmp_path)
    world.dataset("Interactions", INTERACTIONS)
    if described:
        world.dataset(described, GENRES if described == "Items" else AGES)
    world.create()
    competing = [RECIPES[name] for name in names(world.tuning.state["candidates"])]
    assert competing[0].name == "aws-popularity-count"
    assert all(recipe.recipe_type == "USER_PERSONALIZATION" for recipe in competing[1:])
    assert all(recipe.domain is None for recipe in competing)
    assert "aws-hrnn" in {recipe.name for recipe in competing}
    assert any(recipe.training.uses_metadata for recipe in competing) is (described is not None)


def test_a_list_is_kept_to_and_tried_the_simplest_first(tmp_path: Path) -> None:
    world = automl(tmp_path, "aws-hrnn-coldstart", "aws-hrnn", "aws-hrnn-metadata", "aws-hrnn")
    world.create()
    assert names(world.tuning.state["candidates"]) == ["aws-hrnn", "aws-hrnn-metadata", "aws-hrnn-coldstart"]


def test_everything_else_in_the_configuration_is_ignored(tmp_path: Path) -> None:
    world = automl(tmp_path, "aws-hrnn")
    world.config |= {
        "algorithmHyperParameters": {"layers": "3"},
        "hpoConfig": {"hpoResourceConfig": {"maxNumberOfTrainingJobs": "1"}},
    }
    world.begin()
    assert world.trial(0).body["parameters"] == RECIPES["aws-hrnn"].resolve_parameters({})
    world.finish_all()
    assert len(world.trials) == 12


# How they share the trials


def test_each_is_tried_with_its_defaults_then_the_better_half_goes_on(tmp_path: Path) -> None:
    world = automl(tmp_path, *GAINS, jobs=13, at_once=1)
    run(world, GAINS)
    order = [recipe_of(world, number) for number in range(13)]
    assert order[:4] == names(world.tuning.state["candidates"])
    for number in range(4):
        assert world.trial(number).body["parameters"] == RECIPES[order[number]].resolve_parameters({})
    tried = Counter(order)
    assert tried["aws-popularity-count"] == 1
    assert tried["aws-hrnn-metadata"] > tried["aws-hrnn"] > tried["aws-hrnn-coldstart"] >= 1
    parameters = [(trial.body["recipeArn"], *sorted(trial.body["parameters"].items())) for trial in world.trials]
    assert len(set(parameters)) == 13


def test_a_recipe_that_cannot_be_trained_leaves_the_others_to_compete(tmp_path: Path) -> None:
    world = automl(tmp_path, "aws-popularity-count", "aws-hrnn", jobs=4)
    world.begin()
    assert (recipe_of(world, 0), recipe_of(world, 1)) == ("aws-popularity-count", "aws-hrnn")
    world.fail(1)
    world.finish(0)
    assert names([world.tuning.state["tuned"]["recipeArn"]]) == ["aws-popularity-count"]


def test_when_none_can_be_trained_each_says_why_and_like_reasons_are_said_once(tmp_path: Path) -> None:
    for reasons, told in (
        (("No items.", "No users."), "aws-popularity-count: No items. aws-hrnn: No users."),
        (("Dataset has fewer than 25 users.",) * 2, "Dataset has fewer than 25 users."),
    ):
        world = automl(tmp_path, "aws-popularity-count", "aws-hrnn")
        world.begin()
        for number, reason in enumerate(reasons):
            world.fail(number, reason)
        assert (world.tuning.status, world.tuning.reason) == (CREATE_FAILED, told)


# Who wins


def test_the_winner_is_shown_once_its_model_is_active(tmp_path: Path) -> None:
    world = automl(tmp_path, *GAINS, jobs=8)
    run(world, GAINS)
    solution = world.tuning.body["solutionArn"]
    assert world.tuning.status == CREATE_IN_PROGRESS
    assert world.trainings == 1
    assert "recipeArn" not in world.described()
    assert "autoMLResult" not in world.ask("DescribeSolution", solutionArn=solution)["solution"]
    world.trained(seconds=36.0)
    shown = world.described()
    assert (shown["status"], shown["recipeArn"]) == (ACTIVE, arn_of("aws-hrnn-metadata"))
    assert set(shown["tunedHPOParams"]["algorithmHyperParameters"]) == {"hidden_dimension", "bptt", "recency_mask"}
    assert shown["trainingHours"] == round((36 + 8 * 3 * SECONDS) / 3600, 3)
    answered = world.ask("DescribeSolution", solutionArn=solution)["solution"]
    assert answered["autoMLResult"] == {"bestRecipeArn": arn_of("aws-hrnn-metadata")}
    assert "recipeArn" not in answered


@pytest.mark.parametrize(
    ("error", "winner"), [(0.001, "aws-hrnn-metadata"), (0.15, "aws-hrnn"), (0.5, "aws-popularity-count")]
)
def test_the_simplest_within_one_standard_error_of_the_best_wins(tmp_path: Path, error: float, winner: str) -> None:
    world = automl(tmp_path, *GAINS)
    run(world, GAINS, error)
    assert names([world.tuning.state["tuned"]["recipeArn"]]) == [winner]


def test_a_winner_without_hyperparameters_has_none_to_show(tmp_path: Path) -> None:
    world = automl(tmp_path, "aws-popularity-count")
    run(world, GAINS)
    assert len(world.trials) == 1
    world.trained(seconds=1.0)
    assert world.described()["recipeArn"] == arn_of("aws-popularity-count")
    assert "tunedHPOParams" not in world.described()


@pytest.mark.parametrize(("metric", "winner"), [(None, "aws-hrnn"), ("coverage", "aws-popularity-count")])
def test_recipes_are_compared_by_the_metric_that_was_asked_for(tmp_path: Path, metric: str | None, winner: str) -> None:
    world = automl(tmp_path, "aws-popularity-count", "aws-hrnn", jobs=2, **({"metricName": metric} if metric else {}))
    world.begin()
    world.finish(0, **{NDCG: 0.1, "coverage": 0.9})
    world.finish(1, **{NDCG: 0.3, "coverage": 0.2})
    assert names([world.tuning.state["tuned"]["recipeArn"]]) == [winner]
