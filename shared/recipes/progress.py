"""Reports the progress of a training to its worker, and ends the training when the worker asks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Literal, Self

from shared.recipes.training_api import TrainingContext, TrainingProgress, TrainingStopped

Phase = Literal["training", "evaluating", "retraining", "writing"]


class ProgressReporter:
    """Reports progress with an estimate of the time left, and raises TrainingStopped when the worker asks."""

    def __init__(
        self, report: Callable[[TrainingProgress], object], should_stop: Callable[[], bool], epochs: int = 0
    ) -> None:
        self._report = report
        self._should_stop = should_stop
        self._epochs = epochs
        self._began: tuple[float, float] | None = None
        self._said_at = -math.inf
        self.loss: float | None = None
        self.ndcg: float | None = None
        """``TrainingProgress.ndcg``, for as long as it is to be reported."""

    @classmethod
    def for_training(cls, context: TrainingContext, epochs: int = 0) -> Self:
        """Report to the worker of this training, and end it when that worker asks."""
        return cls(context.report_progress, context.should_stop, epochs)

    @classmethod
    def create_silent(cls, epochs: int = 0) -> Self:
        """Report to no worker, and never end the training."""
        return cls(lambda _: None, lambda: False, epochs)

    def stop_if_asked(self) -> None:
        """Raise TrainingStopped if the worker asks for it."""
        if self._should_stop():
            raise TrainingStopped

    def report_if_due(self, phase: Phase, done: float) -> None:
        """Call ``stop_if_asked``, then ``report`` if it is due."""
        self.stop_if_asked()
        if self.is_due():
            self.report(phase, done)

    def is_due(self) -> bool:
        """Return whether the last report is at least a second old."""
        return time.monotonic() - self._said_at >= 1.0

    def start_clock(self, done: float) -> None:
        """Start to measure the speed at ``done`` epochs: the epochs of an earlier attempt do not count."""
        self._began = self._began or (time.monotonic(), done)

    def expect_epochs(self, epochs: int) -> None:
        """Set how many epochs there will be in all."""
        self._epochs = epochs

    def report(self, phase: Phase, done: float) -> None:
        """Report a phase; ``done`` counts the finished epochs and the finished part of the current one."""
        self._said_at = time.monotonic()
        eta_seconds = None
        if self._began is not None and done > self._began[1]:
            began_at, done_before = self._began
            eta_seconds = (self._said_at - began_at) / (done - done_before) * max(self._epochs - done, 0)
        self._report(
            TrainingProgress(
                epoch=int(done),
                epochs=self._epochs,
                loss=self.loss,
                eta_seconds=eta_seconds,
                phase=phase,
                ndcg=self.ndcg,
            )
        )
