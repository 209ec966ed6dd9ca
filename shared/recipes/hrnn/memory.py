"""What a process remembers of the histories that it has read, so that a user's next request reads new events alone.

A cache and no more: whatever is in it can be read again from the history that a request brings, and the answer is the
same, to 1e-5, with and without.

A history goes on where it begins with what was read. Else it has parted from that: an event came late, or the oldest
of the live events left the window of the newest. It is then read from where it parted the last time, which is mostly
where the bulk data ends and the live events begin; else from its first event.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from shared.recipes.contract import Past
from shared.recipes.hrnn.form import not_read
from shared.recipes.hrnn.passes import Floats
from shared.recipes.hrnn.weights import Numbers, Read, Seconds, Taken, Weights

MOST_EVENTS = 2**19
"""Remembered of all users, for one model, at some 150 bytes each."""

OF_A_USER = 64
"""Beside the events a user counts as so many."""

_NONE = np.zeros(0, np.int64)


class Memory(NamedTuple):
    """What was read of one history."""

    history: list[Past]
    events: int
    """Those whose items the model knows."""
    last: float
    """When the last of these was; 0.0: there is none."""
    taken: Taken
    codes: Numbers
    """``Weights.codes`` of what was taken."""
    read: Read


class Reader:
    """How histories are read: the weights, and the numbers of items and of event types (from 1)."""

    def __init__(self, weights: Weights, number: Callable[[str], int | None], types: Mapping[str, int]) -> None:
        self.weights = weights
        self._number = number
        self._types = types

    def nothing(self, user_H: Floats | None) -> Memory:
        """The memory of no event: of START alone."""
        start = np.array([self.weights.form.items])
        read = self.weights.read(start, np.zeros(1), np.zeros(1, np.int64), user_H, None)
        return Memory([], 0, 0.0, Taken(_NONE, _NONE, np.zeros(0), _NONE, _NONE), _NONE, read)

    def gone_on(self, memory: Memory, history: list[Past], user_H: Floats | None) -> Memory:
        """What is known after a history that goes on where the memory ends."""
        items, at, types = self._known(history[len(memory.history) :])
        if not len(items):
            return memory._replace(history=history.copy())
        events = memory.events + len(items)
        if not_read(events) == not_read(memory.events):
            before = np.diff(at, prepend=memory.last if memory.events else at[0])
            read = self.weights.read(items, before, types, user_H, memory.read.state)
        else:
            read = self._window(history, not_read(events), user_H)
        taken = _with(memory, items, at, types)
        return Memory(history.copy(), events, float(at[-1]), taken, self.weights.codes(taken, events), read)

    def _window(self, history: list[Past], begin: int, user_H: Floats | None) -> Read:
        items, at, types = self._known(history)
        of = slice(begin - 1, None)  # START is the first that is passed over
        return self.weights.read(items[of], np.diff(at, prepend=at[0])[of], types[of], user_H, None)

    def _known(self, events: Sequence[Past]) -> tuple[Numbers, Seconds, Numbers]:
        """Number, time and type of the events whose items the model knows."""
        rows = [
            (number, at, self._types.get(type_.lower(), 0) if type_ else 0)
            for item_id, at, type_ in events
            if (number := self._number(item_id)) is not None
        ]
        items, at, types = zip(*rows, strict=True) if rows else ((), (), ())
        return np.array(items, np.int64), np.array(at, np.float64), np.array(types, np.int64)


class Memories:
    """The memories of the users who asked last. Safe to share between threads: nothing that is remembered changes."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._size = 0
        self._keeping = threading.Lock()

    def of(self, user_id: str, history: Sequence[Past], features: Callable[[], Floats | None]) -> Memory:
        """What is known after this history of a user whose ``features`` say that."""
        events = history if isinstance(history, list) else list(history)
        kept = self._kept.get(user_id)
        if kept is None:
            user_H = features()
            kept = _Kept(user_H, self._reader.gone_on(self._reader.nothing(user_H), events, user_H), None)
        elif kept.memory.history != events:
            kept = self._read(kept, events)
        self._keep(user_id, kept)
        return kept.memory

    def _read(self, kept: _Kept, events: list[Past]) -> _Kept:
        user_H, memory, parting = kept
        if not _goes_on(memory, events):
            if parting is None or not _goes_on(parting, events):
                place = _parting(memory.history, events)
                parting = self._reader.gone_on(self._reader.nothing(user_H), events[:place], user_H)
            memory = parting
        return _Kept(user_H, self._reader.gone_on(memory, events, user_H), parting)

    def _keep(self, user_id: str, kept: _Kept) -> None:
        with self._keeping:
            before = self._kept.get(user_id)
            if before is kept:
                self._kept.move_to_end(user_id)
                return
            self._kept.pop(user_id, None)
            self._size += kept.size - (0 if before is None else before.size)
            self._kept[user_id] = kept
            while self._size > MOST_EVENTS and len(self._kept) > 1:
                self._size -= self._kept.popitem(last=False)[1].size


class _Kept(NamedTuple):
    """Of one user."""

    user: Floats | None  # [H]
    memory: Memory
    parting: Memory | None
    """Where the history parted from what had been read."""

    @property
    def size(self) -> int:
        return OF_A_USER + len(self.memory.history)


def _goes_on(memory: Memory, events: list[Past]) -> bool:
    # Lists look no further into events that are the same objects, as those of the bulk data mostly are.
    return events[: len(memory.history)] == memory.history


def _parting(one: list[Past], other: list[Past]) -> int:
    """How many events both begin with."""
    differ = (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(differ, min(len(one), len(other)))


def _with(memory: Memory, items: Numbers, at: Seconds, types: Numbers) -> Taken:
    """What was taken, these events included."""
    taken = memory.taken
    distinct, newest, counts = np.unique(items[::-1], return_index=True, return_counts=True)
    last = len(items) - 1 - newest
    if len(taken.items):
        places = np.minimum(np.searchsorted(distinct, taken.items), len(distinct) - 1)
        again = distinct[places] == taken.items
        counts[places[again]] += taken.counts[again]
        taken = Taken(*(each[~again] for each in taken))
    new = Taken(distinct, memory.events + 1 + last, at[last], counts, types[last])
    return Taken(*(np.concatenate(pair) for pair in zip(taken, new, strict=True)))
