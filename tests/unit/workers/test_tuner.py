"""The tuner over a store in memory: what it begins, what it ends early, what it makes of the results."""

from __future__ import annotations

import random
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shared.recipes import RECIPES
from shared.resources.trial import requests as trials
from shared.state.lifecycle import ACTIVE, CREATE_FAILED, CREATE_IN_PROGRESS, CREATE_STOPPED, CREATE_STOPPING
from shared.state.messages import RunTrial, TrainSolutionVersion, TuneSolutionVersion
from tests.unit.workers.tuned import NDCG, SECONDS, Interrupted, Tuned
from workers.tuning import tuner

RANGES = {"integerHyperParameterRanges": [{"name": "training.hidden_dimension", "minValue": 32, "maxValue": 256}]}


def ranged(folder: Path, **more: Any) -> Tuned:
    world = Tuned(folder, **more)
    world.config["hpoConfig"]["algorithmHyperParameterRanges"] = RANGES
    return world


# What is begun


def test_the_first_trial_is_the_defaults_and_is_begun_at_once(tmp_path: Path) -> None:
    world = Tuned(tmp_path, at_once=1)
    world.create()
    assert world.queue.messages == [TuneSolutionVersion(arn=world.arn)]
    world.hear()
    [trial] = world.trials
    assert trial.arn == f"{world.arn.replace(':solution/', ':trial/')}/000"
    assert trial.body == {
        "recipeArn": "arn:aws:personalize:::recipe/aws-hrnn",
        "number": 0,
        "parameters": RECIPES["aws-hrnn"].resolve_parameters({}),
    }
    assert world.ordered == [RunTrial(arn=trial.arn)]
    assert world.tuning.status == CREATE_IN_PROGRESS
    assert world.store.list_outbox() == []


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("jobs", "at_once", "workers"), [(12, 2, 4), (12, 4, 2), (7, 7, 7), (3, 3, 0), (1, 1, 5), (20, 10, 10)]
)
def test_both_limits_hold_and_all_jobs_are_begun_however_trials_go(
    tmp_path: Path, jobs: int, at_once: int, workers: int, seed: int
) -> None:
    chance = random.Random(seed)
    world = Tuned(tmp_path, jobs=jobs, at_once=at_once, workers=workers)
    world.begin()
    world.start(0)
    world.check()
    world.finish(0)  # else its failing may end it all
    while world.under_way:
        world.some_step(chance)
        world.check()
    assert len(world.trials) == jobs
    assert set(world.counted()) <= {ACTIVE, CREATE_FAILED, CREATE_STOPPED}
    assert world.trainings == 1


def test_as_many_are_under_way_as_may_be(tmp_path: Path) -> None:
    world = Tuned(tmp_path, jobs=6, at_once=4, workers=3)
    world.begin()
    assert len(world.under_way) == 3
    world.store.send_heartbeat("training@h:late", 1e9)
    for end in (world.finish, world.fail):
        end(world.under_way[0].body["number"])
        assert len(world.under_way) == 4
    world.finish(world.under_way[0].body["number"])
    assert len(world.under_way) == 3  # six were begun
    assert len(world.trials) == 6


@pytest.mark.parametrize("under_way", [True, False])
def test_to_be_rung_again_changes_nothing(tmp_path: Path, under_way: bool) -> None:
    world = Tuned(tmp_path)
    world.begin()
    if not under_way:
        world.finish_all()
    before = (world.trials, world.tuning, list(world.ordered))
    for _ in range(3):
        tuner.advance_tuning(world.process, world.arn)
    assert (world.trials, world.tuning, world.ordered) == before
    assert world.queue.messages == []


def test_what_is_not_tuned_is_left_alone(tmp_path: Path) -> None:
    world = Tuned(tmp_path)
    solution = world.solution(name="plain")
    plain = world.version(solution, status=CREATE_STOPPING)
    for arn in (plain, solution, f"{plain}0"):
        tuner.advance_tuning(world.process, arn)
    assert world.get(plain).status == CREATE_STOPPING
    assert world.queue.messages == []


# Tuners that race


def test_tuners_that_interrupt_each_other_keep_both_limits(tmp_path: Path) -> None:
    world = Tuned(tmp_path, jobs=5, at_once=3)
    world.create()
    rival = world.process
    store: Any = Interrupted(
        world.store, {"list_page", "create", "replace"}, lambda: tuner.advance_tuning(rival, world.arn)
    )
    world.process = replace(rival, store=store)
    world.hear()
    world.check()
    while world.under_way:
        world.finish(world.under_way[-1].body["number"])
        world.check()
    assert len(world.trials) == 5
    assert world.trainings >= 1  # the bell may ring twice; what is written is written once
    assert world.tuning.state["tuned"]["seconds"] == 5 * 3 * SECONDS


def test_tuners_in_threads_keep_both_limits(tmp_path: Path) -> None:
    world = Tuned(tmp_path, jobs=8, at_once=4)
    world.create()
    world.queue.messages.clear()
    for _ in range(8):
        threads = [threading.Thread(target=tuner.advance_tuning, args=(world.process, world.arn)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        world.hear()
        world.check()
        for trial in world.under_way[:2]:
            world.finish(trial.body["number"])
    world.finish_all()
    assert len(world.trials) == 8


# What is ended early


def test_a_trial_that_promises_little_is_ended_and_counts(tmp_path: Path) -> None:
    world = Tuned(tmp_path, jobs=3, at_once=2)
    world.begin()
    world.epochs(0, 0.1, 0.2, 0.3)
    world.epochs(1, 0.05, 0.06)
    ended = world.trial(1)
    assert (ended.status, ended.state["pruned"]) == (CREATE_STOPPING, True)
    assert len(world.trials) == 2  # its worker is at it still
    world.stop(1)
    assert (world.trial(1).status, world.trial(1).state["pruned"]) == (CREATE_STOPPED, True)
    assert trials.read_curve(world.trial(1)) == [(1, 0.05, SECONDS), (2, 0.06, 2 * SECONDS)]
    assert len(world.trials) == 3
    world.finish_all()
    assert world.counted() == {ACTIVE: 2, CREATE_STOPPED: 1}
    assert world.tuning.state["tuned"]["trial"] == 0


def test_the_defaults_are_never_ended_early(tmp_path: Path) -> None:
    world = Tuned(tmp_path, jobs=4, at_once=4)
    world.begin()
    for number in (1, 2, 3):
        world.epochs(number, 0.5, 0.6)
    world.epochs(0, 0.01, 0.01, 0.01, 0.01)
    assert world.trial(0).status == CREATE_IN_PROGRESS


@pytest.mark.parametrize("objective", [{"type": "Minimize"}, {"metricName": "coverage"}])
def test_nothing_is_ended_early_by_what_is_not_sought(tmp_path: Path, objective: dict[str, str]) -> None:
    world = Tuned(tmp_path, settings={"hpo_objective": True})
    world.config["hpoConfig"]["hpoObjective"] = objective
    world.begin()
    world.epochs(0, 0.3, 0.3)
    world.epochs(1, 0.1, 0.1)
    assert world.trial(1).status == CREATE_IN_PROGRESS


# The winner


def gain(parameters: dict[str, str]) -> float:
    return 0.5 - abs(int(parameters["hidden_dimension"]) - 140) / 1000


def test_the_best_among_the_validation_users_wins_and_is_what_the_version_has(tmp_path: Path) -> None:
    world = ranged(tmp_path, jobs=8, at_once=2)
    world.begin()
    world.finish_all(gain)
    best = max(world.trials, key=lambda trial: gain(trial.body["parameters"]))
    assert best.body["number"] != 0
    assert world.tuning.state["tuned"] == {
        "recipeArn": best.body["recipeArn"],
        "parameters": best.body["parameters"],
        "searched": ["hidden_dimension"],
        "trial": best.body["number"],
        "seconds": 8 * 3 * SECONDS,
    }
    assert world.trainings == 1
    assert world.store.list_outbox() == []
    assert "tunedHPOParams" not in world.described()
    world.trained(seconds=3600.0)
    shown = world.described()
    assert shown["status"] == ACTIVE
    won = {"hidden_dimension": best.body["parameters"]["hidden_dimension"]}
    assert shown["tunedHPOParams"] == {"algorithmHyperParameters": won}
    assert shown["trainingHours"] == round(1 + 8 * 3 * SECONDS / 3600, 3)


def test_trials_that_were_ended_early_have_cost_their_time(tmp_path: Path) -> None:
    world = Tuned(tmp_path, jobs=2)
    world.begin()
    world.epochs(0, 0.3, 0.3)
    world.epochs(1, 0.1, 0.1)
    world.stop(1)
    world.finish(0)
    assert world.tuning.state["tuned"]["seconds"] == (3 + 2) * SECONDS


@pytest.mark.parametrize("seed", range(6))
def test_the_winner_is_never_worse_than_the_defaults(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    world = Tuned(tmp_path, jobs=8, at_once=3)
    world.begin()
    world.finish(0, 0.5)
    while world.under_way:
        world.some_step(chance)
    won = world.trial(world.tuning.state["tuned"]["trial"])
    done = [trial.state["metrics"][NDCG] for trial in world.trials if trial.status == ACTIVE]
    assert won.state["metrics"][NDCG] == max(done) >= 0.5


def test_a_winner_that_nobody_was_told_of_is_announced_again(tmp_path: Path) -> None:
    world = Tuned(tmp_path, jobs=1)
    world.begin()

    def lost(_: object) -> None:
        raise ConnectionError

    send, world.queue.send = world.queue.send, lambda m: lost(m) if isinstance(m, TrainSolutionVersion) else send(m)
    with pytest.raises(ConnectionError):
        world.finish(0)
    assert [note.message for note in world.store.list_outbox()] == [TrainSolutionVersion(arn=world.arn)]
    assert world.tuning.state["tuned"]["trial"] == 0


def test_checkpoints_of_what_lost_are_removed_and_the_best_kept(tmp_path: Path) -> None:
    world = Tuned(tmp_path, jobs=4, at_once=4)
    world.begin()
    of_version = world.process.artifacts.create_workspace(world.arn)
    for number, value in enumerate((0.2, 0.4, 0.3, 0.1)):
        trials.get_workspace(of_version, number).mkdir(parents=True)
        world.finish(number, value)
    assert [folder.name for folder in (of_version / "trials").iterdir()] == ["001"]
