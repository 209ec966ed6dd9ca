"""The time that a training says it still takes, from the first time it says one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import pytorch_lightning as lightning

from shared.recipes.hrnn.lightning_module import FitCallback, HrnnModule
from shared.recipes.progress import ProgressReporter
from shared.recipes.training_api import TrainingProgress

BATCHES, EPOCHS = 50, 4
COMPILING, BATCH = 12.0, 0.5
"""Seconds."""


class Training(HrnnModule):
    """One that learns nothing."""

    def __init__(self) -> None:
        lightning.LightningModule.__init__(self)

    def compute_mean_loss(self) -> float:
        return 1.0


def test_what_the_first_batch_compiles_is_not_taken_for_its_speed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("shared.recipes.progress.time.monotonic", lambda: now)
    told: list[tuple[float, TrainingProgress]] = []
    reporter = ProgressReporter(lambda progress: told.append((now, progress)), lambda: False, EPOCHS)
    reporter.report("training", 0)
    callback = FitCallback(reporter, "training", 0, tmp_path / "checkpoint", every_seconds=1e9)
    training = Training()
    for epoch in range(EPOCHS):
        trainer = cast(lightning.Trainer, SimpleNamespace(current_epoch=epoch, num_training_batches=BATCHES))
        for batch in range(BATCHES):
            callback.on_train_batch_start(trainer, training, None, batch)
            now += BATCH + (COMPILING if epoch == batch == 0 else 0.0)
    estimates = [(at + progress.eta_seconds, at) for at, progress in told if progress.eta_seconds is not None]
    assert len(estimates) > BATCHES
    # Each batch takes as long as the other: whenever it is asked, the end is foretold rightly.
    assert all(end == pytest.approx(now, abs=1.0) for end, _ in estimates), estimates[:3]
