"""How many cores this process may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shared.system import cpu_quota as module
from shared.system.cpu_quota import available_cpus


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What stands for /sys/fs/cgroup on a host with 16 cores."""

    def found(root: str, name: str) -> Path:
        assert root == "/sys/fs/cgroup"
        return tmp_path / name

    monkeypatch.setattr(module, "Path", found)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("said", "cores"),
    [("400000 100000", 4), ("150000 100000", 2), ("10000 100000", 1), ("6400000 100000", 16), ("max 100000", 16)],
)
def test_the_quota_of_the_cgroup_bounds_the_threads(cgroup: Path, said: str, cores: int) -> None:
    (cgroup / "cpu.max").write_text(said + "\n")
    assert available_cpus() == cores


@pytest.mark.parametrize(("quota", "cores"), [("300000", 3), ("-1", 16)])
def test_the_quota_of_an_older_cgroup_does_too(cgroup: Path, quota: str, cores: int) -> None:
    (cgroup / "cpu").mkdir()
    (cgroup / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (cgroup / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert available_cpus() == cores


@pytest.mark.parametrize("said", ["", "much", "100000"])
def test_without_a_quota_the_schedulers_mask_does(cgroup: Path, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if said:
        (cgroup / "cpu.max").write_text(said)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 5, 6})
    assert available_cpus() == 3


def test_at_least_one_core_is_granted() -> None:
    assert available_cpus() >= 1
