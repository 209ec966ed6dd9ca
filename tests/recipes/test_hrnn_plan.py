"""How much is learnt at a time, how fast and on how many threads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shared.recipes import RECIPES
from shared.recipes.hrnn import plan
from shared.recipes.hrnn.plan import Plan, granted_cores

SETTINGS = RECIPES["aws-hrnn"].settings(None)


def test_more_data_bears_larger_steps_and_needs_fewer_epochs() -> None:
    plans = [Plan.of(SETTINGS, events, 1000) for events in (1, 1_000, 100_000, 1_000_000, 25_000_000)]
    assert [each.epochs for each in plans] == sorted((each.epochs for each in plans), reverse=True)
    assert [each.streams for each in plans] == sorted(each.streams for each in plans)
    assert plans[1].epochs > plans[-1].epochs >= 1
    assert plans[1].streams < plans[-1].streams


@pytest.mark.parametrize("bptt", ["2", "8", "40"])
def test_bptt_does_not_change_how_many_events_a_step_reads(bptt: str) -> None:
    usual = Plan.of(SETTINGS, 100_000, 1000)
    other = Plan.of(SETTINGS | {"bptt": bptt}, 100_000, 1000)
    assert other.bptt == int(bptt)
    assert other.streams * other.bptt == pytest.approx(usual.streams * usual.bptt, abs=other.bptt)


def test_a_wider_network_learns_slower() -> None:
    narrow, wide = (Plan.of(SETTINGS | {"hidden_dimension": hidden}, 100_000, 1000) for hidden in ("43", "172"))
    assert wide.learning_rate < narrow.learning_rate


def test_a_small_step_is_done_by_one_thread_and_a_large_one_by_all_granted() -> None:
    assert Plan.of(SETTINGS, 5_000, 100).threads(8) == 1
    assert Plan.of(SETTINGS, 25_000_000, 1_000_000).threads(8) == 8
    assert Plan.of(SETTINGS, 25_000_000, 1_000_000).threads(3) == 3


def test_where_none_are_granted_the_cgroup_grants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "granted_cores", lambda: 5)
    assert Plan.of(SETTINGS, 25_000_000, 1_000_000).threads(0) == 5


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What stands for /sys/fs/cgroup on a host with 16 cores."""

    def found(root: str, name: str) -> Path:
        assert root == "/sys/fs/cgroup"
        return tmp_path / name

    monkeypatch.setattr(plan, "Path", found)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("said", "cores"),
    [("400000 100000", 4), ("150000 100000", 2), ("10000 100000", 1), ("6400000 100000", 16), ("max 100000", 16)],
)
def test_the_quota_of_the_cgroup_bounds_the_threads(cgroup: Path, said: str, cores: int) -> None:
    (cgroup / "cpu.max").write_text(said + "\n")
    assert granted_cores() == cores


@pytest.mark.parametrize(("quota", "cores"), [("300000", 3), ("-1", 16)])
def test_the_quota_of_an_older_cgroup_does_too(cgroup: Path, quota: str, cores: int) -> None:
    (cgroup / "cpu").mkdir()
    (cgroup / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (cgroup / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert granted_cores() == cores


@pytest.mark.parametrize("said", ["", "much", "100000"])
def test_without_a_quota_the_schedulers_mask_does(cgroup: Path, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if said:
        (cgroup / "cpu.max").write_text(said)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 5, 6})
    assert granted_cores() == 3


def test_at_least_one_core_is_granted() -> None:
    assert granted_cores() >= 1
