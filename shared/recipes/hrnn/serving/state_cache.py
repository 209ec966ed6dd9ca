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

from shared.recipes.hrnn.config import count_skipped_events
from shared.recipes.hrnn.counters import NEWEST
from shared.recipes.hrnn.repeat_features import HALF_LIVES, compute_user_activity
from shared.recipes.hrnn.serving.numpy_network import (
    CounterLogits,
    Numbers,
    NumpyNetwork,
    ReadState,
    RepeatScores,
    Seconds,
    TakenItems,
)
from shared.recipes.hrnn.serving.shared_pass import Floats
from shared.recipes.request_time import is_new_visit
from shared.recipes.scoring_api import Past

MOST_EVENTS = 2**19
"""Remembered of all users, for one model, at some 150 bytes each."""

EVENTS_A_USER = 64
"""Beside the events a user counts as so many."""

_NONE = np.zeros(0, np.int64)
_HALF_LIVES = np.array(HALF_LIVES)


class UserState(NamedTuple):
    """What was read of one history."""

    history: list[Past]
    events: int
    """Those whose items the model knows."""
    last: float
    """When the last of these was; 0.0: there is none."""
    visit: int
    """The number of its visit."""
    taken: TakenItems
    known_3: Floats
    """How much is known of the user."""
    newest: tuple[Numbers, Seconds]
    """The items of the newest events, as many as what was counted looks at, and when they were taken."""
    more: CounterLogits
    read: ReadState
    latest: LatestRepeatScores


class LatestRepeatScores:
    """What was said last of what the user may take again: within a visit, and long after one, it is said once more."""

    def __init__(self) -> None:
        self.scores: tuple[float, RepeatScores | None] | None = None
        """To a request without a context, so long after the last event. Whole whenever it is read, by any thread."""


class HistoryReader:
    """How histories are read: the weights, and the numbers of items and of event types (from 1)."""

    def __init__(
        self,
        weights: NumpyNetwork,
        number: Callable[[str], int | None],
        types: Mapping[str, int],
        counted: Callable[[Numbers, Numbers, Numbers], CounterLogits] = lambda _newest, _moments, had: (
            CounterLogits.create_empty(len(had))
        ),
    ) -> None:
        """``counted`` says what was counted of the newest events of a history, of the numbers of their moments, and of
        all its items.
        """
        self.weights = weights
        self._counted = counted
        self._number = number
        self._types = types

    def create_start_state(self, user_H: Floats | None) -> UserState:
        """The memory of no event: of START alone."""
        start = np.array([self.weights.config.items])
        read = self.weights.read_events(start, np.zeros(1), np.zeros(1, np.int64), user_H, None)
        never = np.zeros(0)
        taken = TakenItems(_NONE, _NONE, never, _NONE, never, _NONE, np.zeros((0, len(HALF_LIVES))), _NONE)
        return UserState(
            [],
            0,
            0.0,
            0,
            taken,
            _compute_activity(0, 0),
            (_NONE, never),
            CounterLogits.create_empty(0),
            read,
            LatestRepeatScores(),
        )

    def extend_state(self, memory: UserState, history: list[Past], user_H: Floats | None) -> UserState:
        """What is known after a history that goes on where the memory ends."""
        items, at, types = self._select_known_events(history[len(memory.history) :])
        if not len(items):
            return memory._replace(history=history.copy())
        events = memory.events + len(items)
        before = np.diff(at, prepend=memory.last if memory.events else at[0])
        if count_skipped_events(events) == count_skipped_events(memory.events):
            read = self.weights.read_events(items, before, types, user_H, memory.read.state)
        else:
            read = self._read_window(history, count_skipped_events(events), user_H)
        visits = memory.visit + np.cumsum(is_new_visit(before))
        taken = _merge_takings(memory, items, at, visits, types)
        newest_T, at_T = newest = (
            np.concatenate([memory.newest[0], items])[-NEWEST:],
            np.concatenate([memory.newest[1], at])[-NEWEST:],
        )
        more = self._counted(newest_T, np.cumsum(np.diff(at_T, prepend=at_T[0]) != 0), taken.items)
        known_3 = _compute_activity(events, len(taken.items))
        return UserState(
            history.copy(),
            events,
            float(at[-1]),
            int(visits[-1]),
            taken,
            known_3,
            newest,
            more,
            read,
            LatestRepeatScores(),
        )

    def _read_window(self, history: list[Past], begin: int, user_H: Floats | None) -> ReadState:
        items, at, types = self._select_known_events(history)
        of = slice(begin - 1, None)  # START is the first that is passed over
        return self.weights.read_events(items[of], np.diff(at, prepend=at[0])[of], types[of], user_H, None)

    def _select_known_events(self, events: Sequence[Past]) -> tuple[Numbers, Seconds, Numbers]:
        """Number, time and type of the events whose items the model knows."""
        rows = [
            (number, at, self._types.get(type_.lower(), 0) if type_ else 0)
            for item_id, at, type_ in events
            if (number := self._number(item_id)) is not None
        ]
        items, at, types = zip(*rows, strict=True) if rows else ((), (), ())
        return np.array(items, np.int64), np.array(at, np.float64), np.array(types, np.int64)


class StateCache:
    """The memories of the users who asked last. Safe to share between threads: nothing that is remembered changes."""

    def __init__(self, reader: HistoryReader) -> None:
        self._reader = reader
        self._kept: OrderedDict[str, _CacheEntry] = OrderedDict()
        self._size = 0
        self._keeping = threading.Lock()

    def get_state(self, user_id: str, history: Sequence[Past], features: Callable[[], Floats | None]) -> UserState:
        """What is known after this history of a user whose ``features`` say that."""
        events = history if isinstance(history, list) else list(history)
        kept = self._kept.get(user_id)
        if kept is None:
            user_H = features()
            kept = _CacheEntry(
                user_H, self._reader.extend_state(self._reader.create_start_state(user_H), events, user_H), None
            )
        elif kept.memory.history != events:
            kept = self._update_entry(kept, events)
        self._store_entry(user_id, kept)
        return kept.memory

    def _update_entry(self, kept: _CacheEntry, events: list[Past]) -> _CacheEntry:
        user_H, memory, parting = kept
        if not _is_prefix(memory, events):
            if parting is None or not _is_prefix(parting, events):
                place = _find_parting(memory.history, events)
                parting = self._reader.extend_state(self._reader.create_start_state(user_H), events[:place], user_H)
            memory = parting
        return _CacheEntry(user_H, self._reader.extend_state(memory, events, user_H), parting)

    def _store_entry(self, user_id: str, kept: _CacheEntry) -> None:
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


class _CacheEntry(NamedTuple):
    """Of one user."""

    user: Floats | None  # [H]
    memory: UserState
    parting: UserState | None
    """Where the history parted from what had been read."""

    @property
    def size(self) -> int:
        return EVENTS_A_USER + len(self.memory.history) + len(self.memory.more.new.values) // 16


def _is_prefix(memory: UserState, events: list[Past]) -> bool:
    # Lists look no further into events that are the same objects, as those of the bulk data mostly are.
    return events[: len(memory.history)] == memory.history


def _find_parting(one: list[Past], other: list[Past]) -> int:
    """How many events both begin with."""
    differ = (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(differ, min(len(one), len(other)))


def _compute_activity(events: int, distinct: int) -> Floats:
    known_3: Floats = compute_user_activity(np.array([events], np.float32), np.array([distinct], np.float32))[0]
    return known_3


def _merge_takings(memory: UserState, items: Numbers, at: Seconds, visits: Numbers, types: Numbers) -> TakenItems:
    """What was taken, these events included."""
    before = memory.taken
    distinct, newest, place_T = np.unique(items[::-1], return_index=True, return_inverse=True)
    last, place_T = len(items) - 1 - newest, place_T[::-1]
    counts, faded = np.bincount(place_T), np.zeros((len(distinct), len(HALF_LIVES)))
    firsts = np.full(len(distinct), np.inf)
    np.minimum.at(firsts, place_T, at)
    np.add.at(faded, place_T, _compute_fading(visits[last][place_T] - visits))
    if len(before.items):
        places = np.minimum(np.searchsorted(distinct, before.items), len(distinct) - 1)
        again = distinct[places] == before.items
        at_again = places[again]
        counts[at_again] += before.counts[again]
        firsts[at_again] = np.minimum(firsts[at_again], before.firsts[again])
        faded[at_again] += before.faded[again] * _compute_fading(visits[last][at_again] - before.visits[again])
        before = TakenItems(*(each[~again] for each in before))
    new = TakenItems(distinct, memory.events + 1 + last, at[last], visits[last], firsts, counts, faded, types[last])
    return TakenItems(*(np.concatenate(pair) for pair in zip(before, new, strict=True)))


def _compute_fading(visits_S: Numbers) -> Seconds:
    """[S,D] what is left of a taking after so many visits."""
    left_SD: Seconds = 0.5 ** (visits_S[:, None] / _HALF_LIVES)
    return left_SD
