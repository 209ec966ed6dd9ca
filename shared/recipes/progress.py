"""Says how far a training is, and ends it when asked to. Not what trains."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Literal

from shared.recipes.training_api import Progress, Stopped

Phase = Literal["training", "evaluating", "retraining", "writing"]


class Watch:
    """Says how far the training is, and ends it when asked to."""

    def __init__(self, progress: Callable[[Progress], None], should_stop: Callable[[], bool], epochs: int) -> None:
        self._progress = progress
        self._should_stop = should_stop
        self._epochs = epochs
        self._began: tuple[float, float] | None = None
        self._said_at = -math.inf
        self.loss: float | None = None
        self.gain: float | None = None
        """``Progress.gain``, while it is to be said."""

    def stop_if_asked(self) -> None:
        """Raises Stopped."""
        if self._should_stop():
            raise Stopped

    def step(self, phase: Phase, done: float) -> None:
        """``stop_if_asked``, and ``say`` where it is due."""
        self.stop_if_asked()
        if self.is_due():
            self.say(phase, done)

    def is_due(self) -> bool:
        """Has nothing been said for a second?"""
        return time.monotonic() - self._said_at >= 1.0

    def begin(self, done: float) -> None:
        """From here on, time and epochs done tell the speed: what an earlier attempt did does not count."""
        self._began = self._began or (time.monotonic(), done)

    def expect(self, epochs: int) -> None:
        """There are fewer epochs to come than was thought."""
        self._epochs = epochs

    def say(self, phase: Phase, done: float) -> None:
        """``done`` are the epochs finished, with the part of the one under way."""
        self._said_at = time.monotonic()
        eta_seconds = None
        if self._began is not None and done > self._began[1]:
            began_at, done_before = self._began
            eta_seconds = (self._said_at - began_at) / (done - done_before) * max(self._epochs - done, 0)
        self._progress(
            Progress(
                epoch=int(done),
                epochs=self._epochs,
                loss=self.loss,
                eta_seconds=eta_seconds,
                phase=phase,
                gain=self.gain,
            )
        )
