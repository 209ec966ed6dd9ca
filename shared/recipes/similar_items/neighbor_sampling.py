"""Samples pairs of items with nearby events in a history, without a table of all pairs. Shapes: R seeds, T targets."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from shared.data.arrays.histories import Histories

WINDOW = 5
"""The greatest distance, in events of one history, between an item and an item near it."""


class SampledPairs(NamedTuple):
    """[R,T] For each seed the items drawn near it. A draw beyond the history, or of the seed itself, does not count."""

    items: npt.NDArray[np.int64]
    counts: npt.NDArray[np.bool_]


class NeighborSampler:
    """The events of some users, sorted by item."""

    def __init__(self, histories: Histories, users: npt.NDArray[np.int64]) -> None:
        self._items_E = histories.items
        self._user_E = np.repeat(np.arange(len(histories.user_ids), dtype=np.int32), histories.lengths)
        of_users_U = np.zeros(len(histories.user_ids), np.bool_)
        of_users_U[users] = True
        events = np.flatnonzero(of_users_U[self._user_E])
        self._events = events[np.argsort(histories.items[events], kind="stable")]
        self.counts = np.bincount(histories.items[events], minlength=len(histories.item_ids))
        """[I] Events with each item."""
        self._begins = np.concatenate([[0], np.cumsum(self.counts)[:-1]])

    def draw_pairs(self, seeds_R: npt.NDArray[np.int64], targets: int, rng: np.random.Generator) -> SampledPairs:
        """Draw ``targets`` items near each seed; every seed must have an event."""
        chance_RT = rng.random((len(seeds_R), targets))
        places_RT = self._begins[seeds_R][:, None] + (chance_RT * self.counts[seeds_R][:, None]).astype(np.int64)
        events_RT = self._events[places_RT]
        steps_RT = rng.integers(1, WINDOW + 1, events_RT.shape) * rng.choice([-1, 1], events_RT.shape)
        near_RT = np.clip(events_RT + steps_RT, 0, len(self._items_E) - 1)
        items_RT = self._items_E[near_RT].astype(np.int64)
        same_user = self._user_E[near_RT] == self._user_E[events_RT]
        return SampledPairs(items_RT, same_user & (items_RT != seeds_R[:, None]))
