"""Step size, epochs, learning rate and threads of a training, from the size of the data and not from a user's guess."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

from shared.system.cpu_quota import available_cpus

LEARNING_RATE = 7e-3
"""At a hidden_dimension of 43, and in inverse proportion to it: a wide network overfits at this rate."""

RETRAINING_EPOCHS = 2
RETRAINING_RATE = 1 / 3
"""Of the learning rate."""

MULTIPLY_ADDS_A_THREAD = 2**26
"""A step with fewer is faster on one thread than on two that wait for each other."""

MOST_EVENTS_A_STEP = 8192

FULL_SOFTMAX_ITEMS = 10_000
"""Up to this catalogue size the softmax of each step is over all items, above it over a sample."""

NEGATIVES = 4096
"""Items drawn for each step of a sampled softmax, in addition to its targets."""


@dataclass(frozen=True)
class TrainingPlan:
    """Sizes of a training: a step reads ``bptt`` events of each of ``streams`` streams."""

    hidden: int
    bptt: int
    streams: int
    epochs: int
    learning_rate: float
    items: int

    @classmethod
    def from_data(cls, parameters: Mapping[str, str], events: int, items: int) -> Self:
        """Plan a training on so many events, by a formula that was fitted on ml-100k (512 events a step, 16 epochs) and
        ml-1m (2,048 and 13). Validation may end it sooner.

        A shorter bptt means more streams, not smaller steps.
        """
        bptt, hidden = int(parameters["bptt"]), int(parameters["hidden_dimension"])
        events_a_step = min(max(2 ** round(math.log2(1.7 * math.sqrt(max(events, 1)))), 128), MOST_EVENTS_A_STEP)
        return cls(
            hidden=hidden,
            bptt=bptt,
            streams=max(events_a_step // bptt, 1),
            epochs=min(round(16 * (100_000 / max(events, 1)) ** 0.1), 25),
            learning_rate=LEARNING_RATE * 43 / hidden,
            items=items,
        )

    def with_target_share(self, rows: float) -> Self:
        """Return a plan for data where one event in ``rows`` is a target: larger steps with as many targets as here."""
        most = max(MOST_EVENTS_A_STEP // self.bptt, 1)
        return replace(self, streams=min(round(self.streams * rows), max(most, self.streams)))

    def count_threads(self, granted: int) -> int:
        """Return how many of the ``granted`` threads (0: as many as the cgroup grants) a step of this size can use."""
        logits = min(self.items, FULL_SOFTMAX_ITEMS)
        step = self.streams * self.bptt * self.hidden * logits
        return max(1, min(granted or available_cpus(), step // MULTIPLY_ADDS_A_THREAD))
