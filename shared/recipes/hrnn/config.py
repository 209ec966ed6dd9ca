"""The configuration of an HRNN: the sizes of its weights, and its measures of time and events. No torch.

Serving reads it too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

from shared.recipes.request_time import is_new_visit

LAYERS = 2
GAP_BUCKETS = 32
REPEAT_WIDTH = 16
"""Width of the layer that reads an item's repeat features."""

EVENTS_READ = 1024
"""The network reads at least so many of a user's newest events: the longest half-life of its state is some hundreds.
Repeat features count all events."""

IntOrArray = TypeVar("IntOrArray", int, npt.NDArray[np.int64])


def count_skipped_events(events: IntOrArray) -> IntOrArray:
    """Return how many of the oldest inputs, START and the events after it, the network skips.

    It stays the same while EVENTS_READ events arrive, so that a cached state can be extended that long.
    """
    return ((events + 1) // EVENTS_READ - (events + 1 >= EVENTS_READ)) * EVENTS_READ


@dataclass(frozen=True, kw_only=True)
class HrnnConfig:
    """The sizes of a network's weights: all that is needed to build the network for a file of weights.

    The artifact has it as ``form``, by the names of its fields.
    """

    items: int
    hidden: int
    cell: Literal["linear", "gru"] = "linear"
    event_types: int = 0
    """0: the network does not read the types of events."""
    repeats: bool = False
    """True: users repeat items, and a second softmax ranks these. False: items of the history are never recommended."""
    longest: float = 2.0**62
    """Training has met no request this many seconds after the last event or later ..."""
    instead: float = 0.0
    """... and treats such a request as if it came after this many seconds."""
    leaning: tuple[float, ...] = ()
    """``BlendWeights.values``; (): no counters."""
    item_features: int = 0
    user_features: int = 0
    context_features: int = 0

    def compute_request_gap(self, seconds: float) -> float:
        """Return the seconds after the user's last event at which a request counts as asked; 0 within a visit."""
        if not is_new_visit(seconds):
            return 0.0
        return seconds if seconds < self.longest else self.instead
