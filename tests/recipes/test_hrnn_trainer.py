"""The trainer: its best epoch, validation, retraining, compilation and precision."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from shared.recipes.hrnn import trainer as learning
from shared.recipes.hrnn.batch_ranking import predict_next_item
from shared.recipes.hrnn.lightning_module import HrnnModule
from shared.recipes.hrnn.plan import RETRAINING_EPOCHS
from shared.recipes.hrnn.trainer import HrnnTrainer
from shared.recipes.training_api import TrainingProgress
from tests.recipes.networks import CELLS
from tests.recipes.runs import (
    HRNN,
    load_weights,
    make_noise,
    make_task,
    make_trainer,
    planned,
    settings,
    train,
)
from tests.recipes.synthetic import training_data, walks


@pytest.mark.parametrize(("precision", "fast"), [("auto", True), ("32-true", False), ("bf16-mixed", True)])
def test_whoever_asks_for_float32_gets_nothing_else(
    monkeypatch: pytest.MonkeyPatch, precision: str, fast: bool
) -> None:
    monkeypatch.setattr(learning, "has_bfloat16_units", lambda _: True)
    learner, _ = make_trainer(walks(), precision=precision)
    assert learner.network.fast == fast


def test_it_takes_the_weights_of_the_best_epoch_and_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to learn but the training users by heart: the validation users are predicted worse and worse."""
    planned(monkeypatch, epochs=40, streams=16, bptt=8, learning_rate=0.02)
    learner, _ = make_trainer(make_noise(), logger="csv")
    users, validation = np.arange(60), np.arange(60, 160)
    epochs = learner.fit(users, validation, tmp_path / "training.ckpt", tmp_path / "logs")
    with (tmp_path / "logs" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    gains = [float(row["validation_gain"]) for row in rows]
    assert epochs == 1 + int(np.argmax(gains))
    assert epochs < len(gains) < 40
    losses = [float(row["training_loss"]) for row in rows]
    assert losses[-1] < losses[0]
    gain = predict_next_item(learner.network.fold_features(), learner.streams, validation, lambda: None).ndcg
    assert gain == pytest.approx(gains[epochs - 1], abs=1e-6)
    assert gain > gains[-1]
    leaning = predict_next_item(
        learner.build_served_network(), learner.streams, validation, lambda: None, blend=learner.blend
    ).ndcg
    assert leaning > gain


def test_validation_leaves_the_training_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout goes on after it."""
    planned(monkeypatch, epochs=2, streams=16, bptt=8)
    modes: list[bool] = []
    training_step = HrnnModule.training_step

    def step(fitting: HrnnModule, *args: Any) -> Any:
        modes.append(fitting.network.training)
        return training_step(fitting, *args)

    monkeypatch.setattr(HrnnModule, "training_step", step)
    learner, split = make_trainer(walks(users=120, events=8))
    learner.fit(split.train, split.validation, tmp_path / "training.ckpt")
    assert len(modes) > 2
    assert all(modes)


def test_without_validation_users_all_epochs_are_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned(monkeypatch, epochs=6)
    result, _ = train(tmp_path, make_noise(users=30))
    assert result.epochs == 6


@pytest.mark.usefixtures("short")
def test_retraining_on_all_users_can_be_left_out_and_changes_no_metric(tmp_path: Path) -> None:
    data = walks(users=60, events=8)
    told: list[TrainingProgress] = []
    without, kept = train(tmp_path / "without", data, progress=told.append)
    retrained, more = train(tmp_path / "with", data, retrain_on_all_users=True)
    assert "retraining" not in {p.phase for p in told}
    assert without.metrics == retrained.metrics
    assert retrained.epochs == without.epochs + RETRAINING_EPOCHS
    assert not torch.equal(load_weights(kept)["item.weight"], load_weights(more)["item.weight"])


@pytest.mark.usefixtures("short")
def test_the_network_is_compiled_where_it_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[torch.nn.Module] = []

    def compile_(module: torch.nn.Module, **_: Any) -> torch.nn.Module:
        compiled.append(module)
        return module

    monkeypatch.setattr(torch, "compile", compile_)
    train(tmp_path / "plain", walks(users=30, events=8))
    assert not compiled
    train(tmp_path / "compiled", walks(users=30, events=8), compile=True)
    assert len(compiled) == 1


@pytest.mark.usefixtures("short")
def test_a_checkpoint_is_taken_up_whether_compiled_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the operator changes the setting between two attempts."""
    kept: list[set[str]] = []
    saved = HrnnModule.on_save_checkpoint

    def save(fitting: HrnnModule, checkpoint: dict[str, Any]) -> None:
        kept.append(set(checkpoint["state_dict"]))
        saved(fitting, checkpoint)

    class Wrapped(torch.nn.Module):
        """As torch.compile's: the network under a name of its own."""

        def __init__(self, module: torch.nn.Module) -> None:
            super().__init__()
            self._orig_mod = module

        def __getattr__(self, name: str) -> Any:
            return getattr(super().__getattr__("_orig_mod"), name) if name != "_orig_mod" else super().__getattr__(name)

        def forward(self, *args: Any) -> Any:
            return self._orig_mod(*args)

    monkeypatch.setattr(HrnnModule, "on_save_checkpoint", save)
    monkeypatch.setattr(torch, "compile", lambda module, **_: Wrapped(module))
    for compiled in (False, True):
        train(tmp_path / str(compiled), walks(users=30, events=8), compile=compiled)
    assert all(names == kept[0] for names in kept)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("cell", CELLS)
def test_it_trains_in_half_precision(tmp_path: Path, cell: str) -> None:
    result, artifact = train(tmp_path, walks(users=60, events=8), precision="bf16-mixed", cell=cell)
    assert all(math.isfinite(value) for value in result.metrics.values())
    assert {tensor.dtype for tensor in load_weights(artifact).values()} == {torch.float32}
    assert all(tensor.isfinite().all() for tensor in load_weights(artifact).values())


@pytest.mark.parametrize("bptt", ["2", "7", "40"])
def test_any_bptt_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bptt: str) -> None:
    planned(monkeypatch, epochs=2)
    result, _ = train(tmp_path, walks(users=30, events=5), parameters={"bptt": bptt})
    assert result.epochs == 2


def test_validation_users_whose_events_do_not_count_end_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where nobody among them took any action."""
    planned(monkeypatch, epochs=5)
    histories = walks(users=20, events=6)
    counts = np.ones(len(histories.items), np.float32)
    counts[: histories.offsets[5]] = 0.0
    data = replace(training_data(histories), event_weights=counts)
    learner = HrnnTrainer(make_task(data, HRNN, settings()), len(counts))
    assert learner.fit(np.arange(5, 20), np.arange(5), tmp_path / "training.ckpt") == 5
