"""Networks small enough that a second thread would only wait for the first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from shared.recipes.hrnn.lightning_module import HrnnModule
from shared.recipes.hrnn.scoring import Scorer
from tests.recipes.runs import StepCount, planned
from tests.recipes.scorers import make_data, write_model


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the course of a run matters and its quality does not: 3 epochs of 7 windows, and 2 of 8."""
    planned(monkeypatch, epochs=3, streams=16, bptt=8)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> StepCount:
    count = StepCount()
    training_step = HrnnModule.training_step

    def step(fitting: HrnnModule, *args: Any) -> Any:
        count.steps += 1
        return training_step(fitting, *args)

    monkeypatch.setattr(HrnnModule, "training_step", step)
    return count


@pytest.fixture
def scorer(tmp_path: Path) -> Scorer:
    return Scorer.load(write_model(tmp_path / "model", make_data()))


@pytest.fixture
def updates(monkeypatch: pytest.MonkeyPatch) -> None:
    planned(monkeypatch, hidden=32, streams=8, bptt=8)
