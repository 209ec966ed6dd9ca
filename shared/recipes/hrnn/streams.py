"""Histories packed into streams: what the network reads in an epoch. Arrays only; nothing is padded or copied twice.

All histories of an epoch lie end to end in an order drawn anew, cut into B streams of equal length, and those into
windows of T steps. The trainer carries the state from window to window; it starts anew where a user begins.

Shapes: E events of all users, U users, T steps, B streams, N = T x B, S pairs of a query and an item seen before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from shared.data.histories import Histories

EVENTS_AT_ONCE = 2**20


class Batch(NamedTuple):
    """A window of all streams."""

    items: Tensor  # [T,B]
    before: Tensor  # [T,B] seconds since the user's event before; 0 at a user's first
    begins: Tensor  # [T,B]
    after: Tensor  # [T,B] seconds until the target: the moment at which somebody would have asked
    targets: Tensor  # [N]
    weights: Tensor  # [N] 0 where there is no target: the user's last event
    rows: Tensor  # [S] ascending
    seen: Tensor  # [S] an item in the history of query rows[s], once for each such pair


class Events:
    """What every event says beside its item: gaps, ends, and where the items seen before it stand."""

    def __init__(self, histories: Histories, weights_E: npt.NDArray[np.float32], on_block: Callable[[], None]):
        """``weights_E`` is what each event counts as a target. ``on_block`` is called every million events."""
        self._items_E = histories.items
        self._offsets = histories.offsets
        self._begins_E = np.zeros(len(histories.items), np.bool_)
        self._begins_E[histories.offsets[:-1]] = True
        self._ends_E = np.roll(self._begins_E, -1)
        gaps_E = np.diff(histories.timestamps, prepend=0).clip(0, np.iinfo(np.int32).max)
        self._before_E = np.where(self._begins_E, 0, gaps_E).astype(np.int32)
        self._weights_E = weights_E
        first_E = _first_of_its_item(histories, on_block)
        # The items a user has seen by event e are a slice of the items in the order of their first occurrence.
        self._distinct = histories.items[first_E]
        self._seen_to_E = np.cumsum(first_E, dtype=np.int32)
        self._seen_from_E = np.repeat(self._seen_to_E[histories.offsets[:-1]] - 1, histories.lengths)

    def batches(
        self, users: npt.NDArray[np.int64], *, streams: int, steps: int, rng: np.random.Generator
    ) -> Iterator[Batch]:
        """One epoch over ``users``: every event is a target once. ``batch_count`` says how many there are."""
        users = rng.permutation(users)
        lengths = self._offsets[users + 1] - self._offsets[users]
        total = int(lengths.sum())
        # The last stream is filled up with events of the first users, which are no targets a second time.
        length = math.ceil(total / streams)
        events_BL = np.resize(_ranges(self._offsets[users], lengths), (streams, length))
        again_BL = (np.arange(streams * length) >= total).reshape(streams, length)
        for begin in range(0, length, steps):
            window = slice(begin, begin + steps)
            e_TB = np.ascontiguousarray(events_BL[:, window].T)
            ends_TB = self._ends_E[e_TB]
            next_TB = e_TB + ~ends_TB
            weights_TB = np.where(ends_TB | again_BL[:, window].T, np.float32(0), self._weights_E[next_TB])
            seen_from_N = self._seen_from_E[e_TB.ravel()]
            counts_N = self._seen_to_E[e_TB.ravel()] - seen_from_N
            yield Batch(
                items=_long(self._items_E[e_TB]),
                before=_long(self._before_E[e_TB]),
                begins=torch.from_numpy(self._begins_E[e_TB]),
                after=_long(np.where(ends_TB, 0, self._before_E[next_TB])),
                targets=_long(self._items_E[next_TB].ravel()),
                weights=torch.from_numpy(weights_TB.ravel()),
                rows=torch.from_numpy(np.repeat(np.arange(len(counts_N)), counts_N)),
                seen=_long(self._distinct[_ranges(seen_from_N, counts_N)]),
            )

    def batch_count(self, users: npt.NDArray[np.int64], *, streams: int, steps: int) -> int:
        total = int((self._offsets[users + 1] - self._offsets[users]).sum())
        return math.ceil(math.ceil(total / streams) / steps)


def _first_of_its_item(histories: Histories, on_block: Callable[[], None]) -> npt.NDArray[np.bool_]:
    """bool[E]: is this the user's first event with its item?"""
    first_E = np.zeros(len(histories.items), np.bool_)
    offsets, items = histories.offsets, len(histories.item_ids)
    user = 0
    while user < len(offsets) - 1:
        on_block()
        last = max(int(np.searchsorted(offsets, offsets[user] + EVENTS_AT_ONCE, side="right")) - 1, user + 1)
        begin, end = offsets[user], offsets[last]
        users = np.repeat(np.arange(user, last), np.diff(offsets[user : last + 1]))
        _, places = np.unique(users * items + histories.items[begin:end], return_index=True)
        first_E[begin + places] = True
        user = last
    return first_E


def _ranges(starts: npt.NDArray[np.integer[Any]], lengths: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
    """start, start + 1 ... of each range, end to end."""
    ends = np.cumsum(lengths, dtype=np.int64)
    ranges: npt.NDArray[np.int64] = np.arange(ends[-1]) + np.repeat(starts - (ends - lengths), lengths)
    return ranges


def _long(array: npt.NDArray[Any]) -> Tensor:
    return torch.from_numpy(array.astype(np.int64, copy=False))
