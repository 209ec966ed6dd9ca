"""HPO that ends otherwise than well: stopped by a client, by trials that fail, by what it was told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.status import reconcile
from shared.state.lifecycle import (
    ACTIVE,
    CREATE_FAILED,
    CREATE_IN_PROGRESS,
    CREATE_PENDING,
    CREATE_STOPPED,
    CREATE_STOPPING,
)
from shared.state.messages import Failed, Finished, Started, TuneSolutionVersion
from tests.strict import STRICT
from tests.unit.workers.tuned import NDCG, Interrupted, Tuned
from workers.tuning import tuner


@pytest.fixture
def world(tmp_path: Path) -> Tuned:
    """Four trials at once: 0 has ended its first epoch, 1 has just been taken up, 2 and 3 wait."""
    world = Tuned(tmp_path, jobs=8, at_once=4)
    world.begin()
    world.epoch(0, 0.1)
    world.take_up(1)
    return world


def stop(world: Tuned) -> None:
    world.ask("StopSolutionVersionCreation", solutionVersionArn=world.arn)


def statuses(world: Tuned) -> list[str | None]:
    return [trial.status for trial in world.trials]


# Stopped


def test_a_stop_rings_the_tuner(world: Tuned) -> None:
    stop(world)
    assert world.tuning.status == CREATE_STOPPING
    assert world.queue.messages == [TuneSolutionVersion(arn=world.arn)]
    assert world.store.list_outbox() == []


def test_what_runs_is_told_to_stop_what_waits_is_stopped_and_nothing_is_begun(world: Tuned) -> None:
    stop(world)
    world.hear()
    assert statuses(world) == [CREATE_STOPPING, CREATE_STOPPING, CREATE_STOPPED, CREATE_STOPPED]
    assert not any(trial.state.get("pruned") for trial in world.trials)
    assert world.tuning.status == CREATE_STOPPING
    world.say(Started(arn=world.trial(1).arn, attempt=world.trial(1).attempt))  # was on its way
    assert world.trial(1).status == CREATE_STOPPING


def test_it_is_stopped_when_all_its_trials_have_settled(world: Tuned) -> None:
    kept = world.process.artifacts.create_workspace(world.arn)
    assert kept.exists()
    stop(world)
    world.hear()
    world.stop(0)
    assert world.tuning.status == CREATE_STOPPING
    world.finish(1)  # was done before it saw the stop: stopped all the same
    assert statuses(world) == [CREATE_STOPPED] * 4
    assert world.described()["status"] == CREATE_STOPPED
    assert "tunedHPOParams" not in world.described()
    assert world.trainings == 0
    assert not kept.exists()
    assert world.store.list_in_progress() == []


def test_the_reconciler_leaves_the_end_to_the_tuner_and_rings_for_it(
    world: Tuned, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(reconcile.time, "monotonic", lambda: now)
    stop(world)
    world.queue.messages.clear()  # the bell is lost
    since: dict[str, float] = {}
    reconcile.reconcile(world.process, since, STRICT)
    assert world.tuning.status == CREATE_STOPPING
    now += world.process.settings.ring_after_seconds + 1
    reconcile.reconcile(world.process, since, STRICT)
    assert world.tuning.status == CREATE_STOPPING
    assert world.queue.messages.count(TuneSolutionVersion(arn=world.arn)) == 1
    world.hear()
    world.stop(0)
    world.stop(1)
    assert world.tuning.status == CREATE_STOPPED


def test_one_stopped_before_it_was_known_to_have_started_leaves_no_trial_behind(tmp_path: Path) -> None:
    world = Tuned(tmp_path)
    world.create()
    tuner.advance_tuning(world.process, world.arn)
    assert world.tuning.status == CREATE_PENDING
    assert statuses(world) == [CREATE_PENDING] * 2
    stop(world)
    assert world.tuning.status == CREATE_STOPPED
    world.hear()
    assert statuses(world) == [CREATE_STOPPED] * 2
    assert world.tuning.status == CREATE_STOPPED
    assert world.store.list_outbox() == []


def test_one_stopped_while_it_waits_tries_nothing(tmp_path: Path) -> None:
    world = Tuned(tmp_path)
    world.create()
    stop(world)
    world.hear()
    assert world.trials == []
    assert world.tuning.status == CREATE_STOPPED


@pytest.mark.parametrize(("call", "done"), [("create", 0), ("create", 2), ("replace", 3)])
def test_a_stop_that_comes_between_a_look_and_a_step_forbids_the_step(tmp_path: Path, call: str, done: int) -> None:
    """Neither is a trial begun after it nor a winner named."""
    world = Tuned(tmp_path, jobs=3, at_once=1)
    world.create()
    world.change(world.arn, status=CREATE_IN_PROGRESS)
    if done:
        world.hear()
    for number in range(done - 1):
        world.finish(number)
    process = world.process

    def once() -> None:
        world.process = process
        if world.tuning.status == CREATE_IN_PROGRESS:
            stop(world)

    store: Any = Interrupted(world.store, {call}, once)
    world.process = replace(process, store=store)
    if done:
        world.finish(done - 1)
    world.hear()
    assert len(world.trials) == done
    assert "tuned" not in world.tuning.state
    assert world.tuning.status == CREATE_STOPPED


def test_a_winner_found_too_late_is_not_trained(world: Tuned) -> None:
    stop(world)
    for number in (0, 1):
        world.finish(number)
    world.hear()
    assert "tuned" not in world.tuning.state
    assert world.tuning.status == CREATE_STOPPED


# Failed


def test_defaults_that_cannot_be_trained_fail_it_with_their_reason(tmp_path: Path) -> None:
    world = Tuned(tmp_path, at_once=1)
    world.begin()
    kept = world.process.artifacts.create_workspace(world.arn)
    assert kept.exists()
    world.fail(0, "Dataset has fewer than 25 users.")
    assert len(world.trials) == 1
    shown = world.described()
    assert (shown["status"], shown["failureReason"]) == (CREATE_FAILED, "Dataset has fewer than 25 users.")
    assert not kept.exists()


def test_after_the_defaults_have_failed_nothing_is_begun_before_something_else_is_done(tmp_path: Path) -> None:
    world = Tuned(tmp_path, jobs=6, at_once=3)
    world.begin()
    world.fail(0, "Too large.")
    world.fail(1, "Too large as well.")
    assert len(world.trials) == 3
    assert world.tuning.status == CREATE_IN_PROGRESS
    world.finish(2)
    assert len(world.under_way) == 3
    world.finish_all()
    assert world.tuning.state["tuned"]["trial"] != 0
    assert world.counted() == {ACTIVE: 4, CREATE_FAILED: 2}


def test_when_all_have_failed_the_reason_is_that_of_the_defaults(tmp_path: Path) -> None:
    world = Tuned(tmp_path, jobs=6, at_once=3)
    world.begin()
    for number in (2, 0, 1, 3):  # 3 was begun when 2 had failed, and none after that
        assert world.tuning.status == CREATE_IN_PROGRESS
        world.fail(number, f"Reason {number}.")
    assert (world.tuning.status, world.tuning.reason) == (CREATE_FAILED, "Reason 0.")
    assert len(world.trials) == 4


def test_one_trial_that_fails_is_one_of_the_jobs(tmp_path: Path) -> None:
    world = Tuned(tmp_path, jobs=4)
    world.begin()
    world.fail(1)
    world.finish_all()
    assert world.counted() == {ACTIVE: 3, CREATE_FAILED: 1}
    assert world.trainings == 1


def test_a_recipe_that_is_no_longer_offered_fails_it(tmp_path: Path) -> None:
    world = Tuned(tmp_path)
    world.create()
    body = {**world.tuning.body, "recipeArn": "arn:aws:personalize:::recipe/aws-gone"}
    world.change(world.arn, body=body)
    world.hear()
    assert world.tuning.status == CREATE_FAILED
    assert "aws-gone is not offered" in (world.tuning.reason or "")


def test_a_training_of_the_winner_that_fails_fails_it(tmp_path: Path) -> None:
    world = Tuned(tmp_path, jobs=1)
    world.begin()
    world.finish(0)
    version = world.tuning
    world.say(Finished(arn=version.arn, attempt=version.attempt - 1, outcome={"seconds": 1.0}))  # of the past
    assert world.tuning.status == CREATE_IN_PROGRESS
    world.say(Failed(arn=version.arn, attempt=version.attempt, reason="The disk is full."))
    assert world.described()["failureReason"] == "The disk is full."
    assert "tunedHPOParams" not in world.described()


# hpoObjective

LOWEST = {"type": "Minimize", "metricName": "coverage", "metricRegex": ".*"}


@pytest.mark.parametrize(
    ("follows", "objective", "winner"),
    [
        (False, LOWEST, 1),
        (True, LOWEST, 2),
        (True, {"type": "Maximize", "metricName": "coverage"}, 0),
        (True, {"type": "Minimize"}, 0),
        (True, {}, 1),
    ],
)
def test_hpo_objective_acts_where_a_setting_says_so(
    tmp_path: Path, follows: bool, objective: dict[str, Any], winner: int
) -> None:
    world = Tuned(tmp_path, jobs=3, at_once=3, settings={"hpo_objective": follows})
    world.config["hpoConfig"]["hpoObjective"] = objective
    world.begin()
    for number, (gain, coverage) in enumerate([(0.1, 0.9), (0.3, 0.5), (0.2, 0.1)]):
        world.finish(number, **{NDCG: gain, "coverage": coverage})
    assert world.tuning.state["tuned"]["trial"] == winner


def test_an_objective_that_nobody_had_read_fails_it_with_what_is_offered(tmp_path: Path) -> None:
    world = Tuned(tmp_path, jobs=2, settings={"hpo_objective": True})
    world.config["hpoConfig"]["hpoObjective"] = {"metricName": "accuracy"}
    world.begin()
    world.finish_all()
    assert world.tuning.status == CREATE_FAILED
    assert "metricName must be one of coverage" in (world.tuning.reason or "")
