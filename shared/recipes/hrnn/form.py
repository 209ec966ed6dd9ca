"""What the weights of an HRNN look like, and how it counts time and events. No torch: serving reads this as well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

LAYERS = 2
GAP_BUCKETS = 32
SESSION_SECONDS = 30 * 60

DISTANCE_BUCKETS = 11
COUNT_BUCKETS = 4

EVENTS_READ = 1024
"""At least so many of the newest events are read by the network: the longest half-life of its state is some hundreds.
The repeat head knows all of them."""

N = TypeVar("N", int, npt.NDArray[np.int64])


def not_read(events: N) -> N:
    """How many of START and the events after it the network passes over, the oldest.

    It stays the same while EVENTS_READ events arrive: that long a state that is kept goes on.
    """
    return ((events + 1) // EVENTS_READ - (events + 1 >= EVENTS_READ)) * EVENTS_READ


@dataclass(frozen=True, kw_only=True)
class Form:
    """What a network's weights look like: all that is needed to build one for a file of weights."""

    items: int
    hidden: int
    cell: Literal["linear", "gru"] = "linear"
    event_types: int = 0
    """0: the events' types are not looked at."""
    repeats: bool = False
    """Does the age of an item in the history act, beside its being there? Where people take things again."""
    item_features: int = 0
    user_features: int = 0
    context_features: int = 0

    @property
    def ages(self) -> tuple[int, int, int, int]:
        """How an item in the history is told from another there: events ago, seconds ago, times taken, last type."""
        return DISTANCE_BUCKETS, GAP_BUCKETS, COUNT_BUCKETS, self.event_types + 1
