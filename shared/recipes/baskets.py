"""The items of each user, each item once: the input of recipes that count. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from shared.data.arrays.histories import Histories

EVENTS_AT_ONCE = 2**20


@dataclass(frozen=True, eq=False)
class Baskets:
    """User u took ``items[offsets[u]:offsets[u + 1]]``, in ascending order; P pairs of user and item in all."""

    offsets: npt.NDArray[np.int64]
    """[U + 1]"""
    items: npt.NDArray[np.int32]
    """[P]"""
    item_count: int

    @classmethod
    def collect(
        cls,
        histories: Histories,
        users: npt.NDArray[np.int64],
        on_block: Callable[[], None] = lambda: None,
        newest: int | None = None,
    ) -> Self:
        """Collect the baskets of these users; all other baskets are empty.

        ``newest`` limits each history to its newest events. ``on_block`` is called about every million events.
        """
        item_count = len(histories.item_ids)
        wanted_U = np.zeros(len(histories.user_ids), np.bool_)
        wanted_U[users] = True
        items, sizes = [np.zeros(0, np.int32)], np.zeros(len(wanted_U), np.int64)
        for first, last in _iter_user_blocks(histories.offsets):
            on_block()
            begin, end = int(histories.offsets[first]), int(histories.offsets[last])
            lengths = histories.lengths[first:last]
            users_E = np.repeat(np.arange(first, last), lengths)
            kept_E = wanted_U[users_E]
            if newest is not None:
                kept_E &= np.repeat(histories.offsets[first + 1 : last + 1], lengths) - np.arange(begin, end) <= newest
            pairs = np.unique(users_E[kept_E] * item_count + histories.items[begin:end][kept_E])
            items.append((pairs % item_count).astype(np.int32))
            sizes[first:last] = np.bincount(pairs // item_count - first, minlength=last - first)
        return cls(np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)]), np.concatenate(items), item_count)

    @property
    def takers(self) -> npt.NDArray[np.int64]:
        """int64[I]: the number of users that took each item."""
        return np.bincount(self.items, minlength=self.item_count)


def _iter_user_blocks(offsets: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield ranges of users with about a million events each; a history is never divided."""
    first = 0
    while first < len(offsets) - 1:
        last = max(int(np.searchsorted(offsets, offsets[first] + EVENTS_AT_ONCE, side="right")) - 1, first + 1)
        yield first, last
        first = last
