"""What the weights of an HRNN look like, and how it counts time and events. No torch: serving reads this as well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

from shared.recipes.request_time import is_new_visit

LAYERS = 2
GAP_BUCKETS = 32
AGAIN_WIDTH = 16
"""Of the layer that looks at an item's last taking."""

EVENTS_READ = 1024
"""At least so many of the newest events are read by the network: the longest half-life of its state is some hundreds.
What may be taken again is told from all of them."""

IntOrArray = TypeVar("IntOrArray", int, npt.NDArray[np.int64])


def count_skipped_events(events: IntOrArray) -> IntOrArray:
    """How many of START and the events after it the network passes over, the oldest.

    It stays the same while EVENTS_READ events arrive: that long a state that is kept goes on.
    """
    return ((events + 1) // EVENTS_READ - (events + 1 >= EVENTS_READ)) * EVENTS_READ


@dataclass(frozen=True, kw_only=True)
class HrnnConfig:
    """What a network's weights look like: all that is needed to build one for a file of weights."""

    items: int
    hidden: int
    cell: Literal["linear", "gru"] = "linear"
    event_types: int = 0
    """0: the events' types are not looked at."""
    repeats: bool = False
    """Do people take items again? Else those that a user has had are never answered."""
    longest: float = 2.0**62
    """Seconds after the last event from which nobody asked in training ..."""
    instead: float = 0.0
    """... and after how many such a request is taken to be asked."""
    leaning: tuple[float, ...] = ()
    """The weights of a ``blend.Blend``; (): nothing was counted."""
    item_features: int = 0
    user_features: int = 0
    context_features: int = 0

    def compute_request_gap(self, seconds: float) -> float:
        """How long after the user's last event a request is taken to be asked, as ``moment`` has it."""
        if not is_new_visit(seconds):
            return 0.0
        return seconds if seconds < self.longest else self.instead
