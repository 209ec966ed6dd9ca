"""Trainings end at once when asked to."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.recipes.hrnn import trainer as learning
from shared.recipes.hrnn.counters import Counters
from shared.recipes.training_api import TrainingProgress, TrainingStopped
from tests.recipes.networks import took
from tests.recipes.runs import (
    planned,
    train,
)
from tests.recipes.synthetic import walks


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("phase", ["training", "evaluating", "retraining"])
def test_it_stops_at_once_when_asked_to(tmp_path: Path, phase: str) -> None:
    asked_at: list[float] = []

    def told(progress: TrainingProgress) -> None:
        if progress.phase == phase and not asked_at:
            asked_at.append(time.monotonic())

    with pytest.raises(TrainingStopped):
        train(
            tmp_path,
            walks(users=40),
            progress=told,
            should_stop=lambda: bool(asked_at),
            retrain_on_all_users=True,
        )
    assert time.monotonic() - asked_at[0] < 2.0
    assert not (tmp_path / "artifact0" / "model.json").exists()


@pytest.mark.parametrize(("module", "name"), [(Counters, "count_events"), (learning, "fit_blend")])
def test_it_stops_at_once_while_it_counts_and_looks_how_far_to_lean_on_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, name: str
) -> None:
    planned(monkeypatch, epochs=1)
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, 15_000, (400, 40)).tolist()
    data = took([[(item, 10 * t) for t, item in enumerate(of_user)] for of_user in drawn], 15_000)
    asked_at: list[float] = []
    plain = getattr(module, name)

    def told(*args: Any, **more: Any) -> Any:
        asked_at.append(time.monotonic())
        return plain(*args, **more)

    monkeypatch.setattr(module, name, told)
    with pytest.raises(TrainingStopped):
        train(tmp_path, data, should_stop=lambda: bool(asked_at) and time.monotonic() > asked_at[0] + 0.05)
    assert len(asked_at) == 1
    assert time.monotonic() - asked_at[0] < 2.0
    assert not (tmp_path / "artifact0" / "model.json").exists()


def test_it_stops_before_it_has_begun(tmp_path: Path) -> None:
    with pytest.raises(TrainingStopped):
        train(tmp_path, walks(), should_stop=lambda: True)


def test_every_second_somebody_asks_whether_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large catalogue, whose steps are slow, once the kernels of a CPU are compiled."""
    planned(monkeypatch, epochs=1)
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, 15_000, (110, 12)).tolist()
    sequences = [[(item, 10 * t) for t, item in enumerate(of_user)] for of_user in drawn]
    train(tmp_path, took(sequences[:40], 15_000))
    asked_at = [time.process_time()]

    def should_stop() -> bool:
        asked_at.append(time.process_time())
        return False

    train(tmp_path, took(sequences, 15_000), should_stop=should_stop)
    assert np.diff(asked_at).max() < 1.0
