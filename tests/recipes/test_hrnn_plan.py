"""How much is learnt at a time, how fast and on how many threads."""

from __future__ import annotations

import pytest

from shared.recipes import RECIPES
from shared.recipes.hrnn import plan
from shared.recipes.hrnn.plan import TrainingPlan

SETTINGS = RECIPES["aws-hrnn"].resolve_parameters(None)


def test_more_data_bears_larger_steps_and_needs_fewer_epochs() -> None:
    plans = [TrainingPlan.from_data(SETTINGS, events, 1000) for events in (1, 1_000, 100_000, 1_000_000, 25_000_000)]
    assert [each.epochs for each in plans] == sorted((each.epochs for each in plans), reverse=True)
    assert [each.streams for each in plans] == sorted(each.streams for each in plans)
    assert plans[1].epochs > plans[-1].epochs >= 1
    assert plans[1].streams < plans[-1].streams


@pytest.mark.parametrize("bptt", ["2", "8", "40"])
def test_bptt_does_not_change_how_many_events_a_step_reads(bptt: str) -> None:
    usual = TrainingPlan.from_data(SETTINGS, 100_000, 1000)
    other = TrainingPlan.from_data(SETTINGS | {"bptt": bptt}, 100_000, 1000)
    assert other.bptt == int(bptt)
    assert other.streams * other.bptt == pytest.approx(usual.streams * usual.bptt, abs=other.bptt)


def test_a_wider_network_learns_slower() -> None:
    narrow, wide = (
        TrainingPlan.from_data(SETTINGS | {"hidden_dimension": hidden}, 100_000, 1000) for hidden in ("43", "172")
    )
    assert wide.learning_rate < narrow.learning_rate


def test_a_small_step_is_done_by_one_thread_and_a_large_one_by_all_granted() -> None:
    assert TrainingPlan.from_data(SETTINGS, 5_000, 100).count_threads(8) == 1
    assert TrainingPlan.from_data(SETTINGS, 25_000_000, 1_000_000).count_threads(8) == 8
    assert TrainingPlan.from_data(SETTINGS, 25_000_000, 1_000_000).count_threads(3) == 3


def test_where_none_are_granted_the_cgroup_grants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "available_cpus", lambda: 5)
    assert TrainingPlan.from_data(SETTINGS, 25_000_000, 1_000_000).count_threads(0) == 5
