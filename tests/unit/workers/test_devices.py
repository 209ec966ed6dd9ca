"""Which device a training gets: shares and waits between real processes; none of it needs a device."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from shared.jobs.entrypoint import WorkFailed
from shared.settings import Settings
from workers.training.devices import UnsafeFolder, grant_devices, hold_devices

HOLDER = """
import sys, time
from pathlib import Path
from workers.training.devices import hold_devices
count, per_device, wanted = map(int, sys.argv[2:])
with hold_devices(count, per_device, lambda: None, wanted=wanted, folder=Path(sys.argv[1])) as devices:
    print(*devices, flush=True)
    time.sleep(60)
"""

Hold = Callable[..., "subprocess.Popen[str]"]


class Asked(Exception):
    pass


def give_up() -> None:
    raise Asked


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Hold]:
    """Starts a process that takes devices of two, says which, and keeps them."""
    holders: list[subprocess.Popen[str]] = []

    def start(per_device: int = 1, wanted: int = 1) -> subprocess.Popen[str]:
        numbers = map(str, (2, per_device, wanted))
        command = [sys.executable, "-c", HOLDER, str(tmp_path / "slots"), *numbers]
        holders.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return holders[-1]

    yield start
    for holder in holders:
        holder.kill()
        holder.wait()


def said(holder: subprocess.Popen[str]) -> list[int]:
    assert holder.stdout is not None
    return [int(number) for number in holder.stdout.readline().split()]


def free(folder: Path, wanted: int = 1, per_device: int = 1) -> tuple[int, ...] | None:
    """The devices that somebody else would get now; None: none."""
    try:
        with hold_devices(2, per_device, give_up, wanted=wanted, folder=folder / "slots") as devices:
            return devices
    except Asked:
        return None


def test_two_trainings_have_a_device_each_and_the_third_waits_until_one_is_killed(tmp_path: Path, hold: Hold) -> None:
    first, second = hold(), hold()
    taken = [said(first), said(second)]
    assert sorted(taken) == [[0], [1]]
    third = hold()
    time.sleep(0.5)
    assert free(tmp_path) is None
    assert third.poll() is None
    first.kill()
    assert said(third) == taken[0]


def test_small_trainings_share_devices_evenly(tmp_path: Path, hold: Hold) -> None:
    assert sorted(said(holder) for holder in [hold(2) for _ in range(3)]) in ([[0], [0], [1]], [[0], [1], [1]])
    assert free(tmp_path, per_device=2) is not None
    said(hold(2))
    assert free(tmp_path, per_device=2) is None


def test_a_training_on_several_devices_takes_them_all_or_none(tmp_path: Path, hold: Hold) -> None:
    one = hold()
    assert said(one) == [0]
    both = hold(wanted=2)
    time.sleep(0.5)
    assert free(tmp_path) == (1,)
    one.kill()
    assert said(both) == [0, 1]
    assert free(tmp_path) is None


@pytest.fixture
def two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, (0,)),
        ({"training_devices": 2}, (0,)),
        ({"training_strategy": "ddp", "training_devices": 2}, (0, 1)),
        ({"training_strategy": "ddp", "training_devices": 0}, (0, 1)),
    ],
)
def test_the_settings_say_how_many_one_training_takes(settings: dict[str, Any], expected: tuple[int, ...]) -> None:
    with grant_devices(Settings(**settings), give_up) as devices:
        assert devices == expected


@pytest.mark.usefixtures("two_gpus")
def test_the_settings_say_how_many_trainings_share_one() -> None:
    for shared in (1, 2):
        with contextlib.ExitStack() as trainings:
            for _ in range(2 * shared):
                trainings.enter_context(grant_devices(Settings(training_jobs_per_device=shared), give_up))
            with pytest.raises(Asked):
                trainings.enter_context(grant_devices(Settings(training_jobs_per_device=shared), give_up))


@pytest.mark.usefixtures("two_gpus")
def test_more_than_the_machine_has_fails_the_work() -> None:
    settings = Settings(training_strategy="ddp", training_devices=3)
    expected = pytest.raises(WorkFailed, match="FORETASTE_TRAINING_DEVICES is 3, and the training worker sees 2 GPUs")
    with expected, grant_devices(settings, give_up):
        pass


def test_they_are_given_back_at_the_end_of_the_block(tmp_path: Path) -> None:
    for _ in range(3):
        assert free(tmp_path) == (0,)


def test_without_devices_nothing_is_locked(tmp_path: Path) -> None:
    with hold_devices(0, 1, give_up, folder=tmp_path / "slots") as devices:
        assert devices == ()
    assert not (tmp_path / "slots").exists()


def test_what_a_process_is_shown_under_another_number_is_the_same_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots = tmp_path / "slots"
    with hold_devices(2, 1, give_up, folder=slots) as devices:
        assert devices == (0,)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
        assert free(tmp_path) == (0,)
        assert free(tmp_path, wanted=2) is None


def test_more_devices_than_there_are_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="3 devices are wanted, and the machine has 2"),
        hold_devices(2, 1, give_up, wanted=3, folder=tmp_path / "slots"),
    ):
        pass


def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    slots = tmp_path / "slots"
    slots.mkdir()
    slots.chmod(0o777)
    with pytest.raises(UnsafeFolder, match="remove it"):
        free(tmp_path)
    slots.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    slots.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnsafeFolder, match="remove it"):
        free(tmp_path)
