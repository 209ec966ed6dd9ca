"""Automatic training: when it begins, what spares it, and that each due time trains once."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from services.status import schedule, transitions
from services.status.schedule import DAY, EVERY, HOUR
from shared.settings import Settings
from shared.state.lifecycle import ACTIVE, CREATE_FAILED, CREATE_IN_PROGRESS, DELETE_PENDING
from shared.state.messages import Failed, Finished, TrainSolutionVersion, TuneSolutionVersion
from shared.store import Conflict, Interaction
from tests.strict import STRICT
from tests.unit.shared.resources.standing import GROUP, INTERACTIONS, PREFIX, Standing

SOLUTION = f"{PREFIX}:solution/s"
FIELDS = [
    {"name": "USER_ID", "type": "string"},
    {"name": "ITEM_ID", "type": "string"},
    {"name": "TIMESTAMP", "type": "long"},
]


class Scheduled(Standing):
    """A solution with data, and ticks at times of the test's choice, in seconds since it was made."""

    def __init__(self, **solution: Any) -> None:
        super().__init__()
        self.start = time.time()
        self.dataset("Interactions", FIELDS)
        self.first_import = self.imported(1, at=self.start)
        self.solution(performAutoTraining=True, **solution)

    def tick(self, after: float) -> list[str]:
        """The versions that a tick so many seconds after the start has begun; each is made as old as the tick."""
        known = {version.arn for version in self.versions()}
        schedule.check_schedules(self.process, self.start + after, STRICT)
        begun = [version.arn for version in self.versions() if version.arn not in known]
        for arn in begun:
            self.change(arn, created=self.start + after)
        return begun

    def versions(self) -> list[Any]:
        return list(self.reading.iter_children("solution_version", SOLUTION))

    def end(self, arn: str, *, well: bool = True) -> None:
        version = self.store.get(arn)
        assert version is not None
        attempt = version.attempt
        done = Finished(arn=arn, attempt=attempt, outcome={"seconds": 1.0})
        transitions.write_transition(self.store, done if well else Failed(arn=arn, attempt=attempt, reason=""))

    def trained_first(self) -> None:
        self.tick(0)
        [version] = self.tick(HOUR)
        self.end(version)

    def event(self, after: float) -> None:
        """A live event that arrives so many seconds after the start, whatever it says of itself."""
        self.store._clock = lambda: self.start + after
        one = Interaction(user_id="u", session_id="s", item_id="i", event_type="e", event_value=None, sent_at=1.0)
        self.store.append_interactions(INTERACTIONS, [one], invocation=str(after))

    def news(self, number: int, after: float) -> str:
        return self.imported(number, "INCREMENTAL", at=self.start + after)


@pytest.fixture
def world() -> Scheduled:
    return Scheduled()


def test_the_first_training_begins_within_the_hour(world: Scheduled) -> None:
    assert world.tick(EVERY) == []
    assert world.tick(HOUR - 2 * EVERY) == []
    [version] = world.tick(HOUR)
    made = world.get(version)
    assert (made.body["trainingType"], made.body["trainingMode"]) == ("AUTOMATIC", "FULL")
    assert made.state["imports"] == {"INTERACTIONS": [world.first_import]}
    assert world.heard() == [TrainSolutionVersion(arn=version)]
    assert world.store.list_outbox() == []


@pytest.mark.parametrize("status", [ACTIVE, CREATE_IN_PROGRESS, CREATE_FAILED])
@pytest.mark.parametrize("made", [-1.0, 600.0])
def test_who_trains_by_hand_within_the_hour_spares_the_first(world: Scheduled, made: float, status: str) -> None:
    world.tick(EVERY)
    by_hand = world.version(SOLUTION, status=status, at=world.start + made)
    for after in (made + EVERY, HOUR, 2 * HOUR, 7 * DAY + made - 1):
        assert world.tick(after) == []
    if status == CREATE_IN_PROGRESS:
        world.end(by_hand)
    world.news(2, 3 * DAY)
    assert len(world.tick(7 * DAY + made + 1)) == 1


@pytest.mark.parametrize("days", [1, 7, 30])
def test_the_next_follow_at_the_rate_counted_from_where_a_training_began(days: int) -> None:
    rate = f"rate({days} day{'s' if days > 1 else ''})"
    world = Scheduled(solutionConfig={"autoTrainingConfig": {"schedulingExpression": rate}})
    world.trained_first()
    for number in (1, 2, 3):
        world.news(number + 1, HOUR + (number - 0.5) * days * DAY)
        assert world.tick(HOUR + number * days * DAY - EVERY) == []
        [version] = world.tick(HOUR + number * days * DAY)
        world.end(version)


def test_training_by_hand_later_does_not_move_the_schedule(world: Scheduled) -> None:
    world.trained_first()
    world.version(SOLUTION, 9, at=world.start + 3 * DAY, trained_on=[world.first_import])
    world.news(2, 4 * DAY)
    assert len(world.tick(HOUR + 7 * DAY)) == 1


# What is new


def test_one_is_passed_over_when_nothing_has_come_since_the_last(world: Scheduled) -> None:
    world.trained_first()
    assert world.tick(HOUR + 7 * DAY) == []
    world.news(2, HOUR + 8 * DAY)
    assert world.tick(HOUR + 9 * DAY) == []
    assert len(world.tick(HOUR + 14 * DAY)) == 1


def test_live_events_are_new_by_when_they_arrived(world: Scheduled) -> None:
    world.event(30 * EVERY)
    world.trained_first()
    assert world.tick(HOUR + 7 * DAY) == []
    world.event(8 * DAY)
    assert len(world.tick(HOUR + 14 * DAY)) == 1


def test_what_a_failed_training_did_not_learn_is_still_new(world: Scheduled) -> None:
    world.tick(0)
    [version] = world.tick(HOUR)
    world.end(version, well=False)
    assert world.tick(2 * HOUR) == []
    assert len(world.tick(HOUR + 7 * DAY)) == 1


def test_a_solution_that_never_had_data_waits_for_it() -> None:
    world = Scheduled()
    world.store.remove(world.get(world.first_import))
    world.tick(0)
    assert world.tick(2 * HOUR) == []
    world.imported(2)
    assert len(world.tick(3 * HOUR)) == 1


# Once


def test_a_due_time_trains_once_though_the_process_died_before_it_kept_that(world: Scheduled) -> None:
    world.tick(0)
    before = world.get(SOLUTION).state["schedule"]
    [version] = world.tick(HOUR)
    world.end(version, well=False)
    state = {**world.get(SOLUTION).state, "schedule": {**before, "since": None}}
    world.change(SOLUTION, state=state)
    world.store._clock = lambda: world.start + 2 * HOUR  # the call itself is long forgotten
    assert world.tick(2 * HOUR) == []
    assert world.get(SOLUTION).state["schedule"]["due"] == world.start + 2 * HOUR + 7 * DAY


def test_what_is_still_being_trained_is_waited_for(world: Scheduled) -> None:
    world.trained_first()
    by_hand = world.version(SOLUTION, 9, status=CREATE_IN_PROGRESS, at=world.start + 6 * DAY)
    world.news(2, 6 * DAY)
    assert world.tick(HOUR + 7 * DAY) == []
    world.end(by_hand)
    assert len(world.tick(2 * HOUR + 7 * DAY)) == 1


def test_an_import_under_way_is_waited_for(world: Scheduled) -> None:
    world.tick(0)
    job = world.imported(2, status=CREATE_IN_PROGRESS)
    assert world.tick(HOUR) == []
    world.change(job, status=ACTIVE)
    assert len(world.tick(HOUR + EVERY)) == 1


def test_a_race_is_left_to_the_next_tick(world: Scheduled, monkeypatch: pytest.MonkeyPatch) -> None:
    def moved(*_: Any, **__: Any) -> None:
        raise Conflict(SOLUTION)

    world.tick(0)
    with monkeypatch.context() as racing:
        racing.setattr(world.store, "create", moved)
        assert world.tick(HOUR) == []
    assert len(world.tick(HOUR + EVERY)) == 1


# Who asks for it


@pytest.mark.parametrize("off", [{"performAutoTraining": False}, {"performAutoTraining": None}])
def test_a_solution_that_does_not_ask_is_not_trained(off: dict[str, Any]) -> None:
    world = Scheduled()
    body = world.get(SOLUTION).body
    world.change(SOLUTION, body={**body, **off})
    assert [world.tick(after) for after in (0, HOUR, 7 * DAY)] == [[], [], []]
    assert not world.get(SOLUTION).state.get("schedule")


def test_a_solution_that_is_being_deleted_is_not_trained(world: Scheduled) -> None:
    world.tick(0)
    world.change(SOLUTION, status=DELETE_PENDING)
    assert world.tick(HOUR) == []


def test_the_setting_switches_all_of_it_off(world: Scheduled) -> None:
    assert Settings().auto_training is False
    schedule.run_schedules(replace(world.process, settings=Settings()), STRICT)
    assert "schedule" not in world.get(SOLUTION).state
    schedule.run_schedules(world.process, STRICT)
    assert world.get(SOLUTION).state["schedule"]["days"] == 7


# UpdateSolution


def updated(world: Scheduled, **wanted: Any) -> None:
    world.ask("UpdateSolution", solutionArn=SOLUTION, **wanted)
    world.heard()


def test_another_rate_begins_anew_within_the_hour_and_the_same_changes_nothing(world: Scheduled) -> None:
    world.trained_first()
    updated(world, solutionUpdateConfig={"autoTrainingConfig": {"schedulingExpression": "rate(7 days)"}})
    world.news(2, DAY)
    assert world.tick(DAY) == world.tick(DAY + HOUR) == []
    updated(world, solutionUpdateConfig={"autoTrainingConfig": {"schedulingExpression": "rate(3 days)"}})
    assert world.tick(2 * DAY) == []
    [version] = world.tick(2 * DAY + HOUR)
    world.end(version)
    world.news(3, 4 * DAY)
    assert world.tick(4 * DAY) == []
    assert len(world.tick(5 * DAY + HOUR)) == 1


def test_turned_off_it_stops_and_turned_on_it_begins_anew(world: Scheduled) -> None:
    world.trained_first()
    updated(world, performAutoTraining=False)
    world.news(2, DAY)
    assert [world.tick(after) for after in (7 * DAY, 8 * DAY)] == [[], []]
    updated(world, performAutoTraining=True)
    assert world.tick(9 * DAY) == []
    assert len(world.tick(9 * DAY + HOUR)) == 1


def test_until_an_update_has_ended_the_old_schedule_holds(world: Scheduled) -> None:
    world.tick(0)
    world.ask("UpdateSolution", solutionArn=SOLUTION, performAutoTraining=False)
    assert len(world.tick(HOUR)) == 1


def test_hpo_comes_before_a_training_by_schedule_too() -> None:
    world = Scheduled(performHPO=True)
    world.tick(0)
    [version] = world.tick(HOUR)
    assert world.heard() == [TuneSolutionVersion(arn=version)]


def test_a_schedule_leaves_the_solution_as_it_is_described(world: Scheduled) -> None:
    before = world.ask("DescribeSolution", solutionArn=SOLUTION)
    world.tick(0)
    assert world.ask("DescribeSolution", solutionArn=SOLUTION) == before
    assert GROUP in world.get(SOLUTION).parents
