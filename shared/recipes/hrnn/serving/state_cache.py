"""A cache of the states after the users' histories, so that a user's next request reads new events alone.

The cache can always be rebuilt from the history that a request brings, and the answer is the same without it, to 1e-5.

A state is extended if the request's history begins with the events that were read. Otherwise the history has diverged:
a late event arrived, or the oldest live event left the window of the newest. It is then read from the point of the last
divergence, which is mostly where the bulk data ends and the live events begin; if it does not begin with those events
either, from its first event.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from shared.recipes.artifact import StoredHistory
from shared.recipes.hrnn.config import count_skipped_events
from shared.recipes.hrnn.counters import NEWEST
from shared.recipes.hrnn.repeat_features import HALF_LIVES, compute_user_activity
from shared.recipes.hrnn.serving.block_reading import EventInputs, read_histories
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
"""The most events in a model's cache, at some 150 bytes each."""

EVENTS_A_USER = 64
"""A cached user counts as so many events, in addition to the history's."""

_NONE = np.zeros(0, np.int64)
_HALF_LIVES = np.array(HALF_LIVES)


class UserState(NamedTuple):
    """The state after one history."""

    history: list[Past]
    events: int
    """The number of events with an item that the model knows."""
    last: float
    """The time of the last of these; 0.0: there are none."""
    visit: int
    """The number of that event's visit."""
    taken: TakenItems
    known_3: Floats
    """``compute_user_activity``."""
    newest: tuple[Numbers, Seconds]
    """Items and times of the newest events, as many as the counters read."""
    more: CounterLogits
    read: ReadState
    latest: LatestRepeatScores


class LatestRepeatScores:
    """The scores of the history's items at the last request. Within a visit, and long after one, they stay the same."""

    def __init__(self) -> None:
        self.scores: tuple[float, RepeatScores | None] | None = None
        """(seconds after the last event, scores) of a request without a context. Threads replace it as a whole."""


class HistoryReader:
    """Reads histories with the network, and the numbers of items and of event types (from 1)."""

    def __init__(
        self,
        weights: NumpyNetwork,
        number: Callable[[str], int | None],
        types: Mapping[str, int],
        counted: Callable[[Numbers, Numbers, Numbers], CounterLogits] = lambda _newest, _moments, had: (
            CounterLogits.create_empty(len(had))
        ),
    ) -> None:
        """``counted`` takes a history's newest items, their moments' numbers and all its items. It returns the
        counters' terms of the logits."""
        self.weights = weights
        self._counted = counted
        self._number = number
        self._types = types
        # Stored events without a type have the number -1: the last of these.
        self._stored_types = np.array([*(types.get(name.lower(), 0) for name in types), 0])

    def create_start_state(self, user_H: Floats | None) -> UserState:
        """Return the state after START alone."""
        start = np.array([self.weights.config.items])
        read = self.weights.read_events(start, np.zeros(1), np.zeros(1, np.int64), user_H, None)
        return _create_empty_state(read)

    def extend_state(self, state: UserState, history: list[Past], user_H: Floats | None) -> UserState:
        """Return the state after a history that begins with the events of ``state``."""
        found = items, at, types = self._select_known_events(history[len(state.history) :])
        if not len(items):
            return state._replace(history=history.copy())
        events = state.events + len(items)
        before = np.diff(at, prepend=state.last if state.events else at[0])
        if count_skipped_events(events) == count_skipped_events(state.events):
            read = self.weights.read_events(items, before, types, user_H, state.read.state)
        else:
            read = self._read_window(history, count_skipped_events(events), user_H)
        return self._add_events(state, history, found, before, read)

    def build_states(self, histories: Sequence[Sequence[Past]], vectors: Sequence[Floats | None]) -> list[UserState]:
        """Return the states of several users, read together, with their vectors. They cannot be extended."""
        states: list[UserState] = []
        inputs: list[EventInputs] = []
        for history, user_H in zip(histories, vectors, strict=True):
            found = items, at, types = (
                self._read_stored_events(history)
                if isinstance(history, StoredHistory)
                else self._select_known_events(history)
            )
            before = np.diff(at, prepend=at[:1])
            state = _create_empty_state()
            states.append(self._add_events(state, [], found, before, _UNREAD) if len(items) else state)
            if skipped := count_skipped_events(len(items)):
                of = slice(skipped - 1, None)  # START is the first input that is skipped
                inputs.append(EventInputs(items[of], before[of], types[of], user_H))
            else:
                inputs.append(
                    EventInputs(
                        np.concatenate([[self.weights.config.items], items]),
                        np.concatenate([[0.0], before]),
                        np.concatenate([[0], types]),
                        user_H,
                    )
                )
        x_QH = read_histories(self.weights, inputs)
        return [state._replace(read=ReadState(state.read.state, x_H)) for state, x_H in zip(states, x_QH, strict=True)]

    def _add_events(
        self,
        state: UserState,
        history: list[Past],
        found: tuple[Numbers, Seconds, Numbers],
        before: Seconds,
        read: ReadState,
    ) -> UserState:
        """Return the state after a history with these events at its end, which the network has read."""
        items, at, types = found
        events = state.events + len(items)
        visits = state.visit + np.cumsum(is_new_visit(before))
        taken = _merge_items(state, items, at, visits, types)
        newest_T, at_T = newest = (
            np.concatenate([state.newest[0], items])[-NEWEST:],
            np.concatenate([state.newest[1], at])[-NEWEST:],
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

    def _read_stored_events(self, history: StoredHistory) -> tuple[Numbers, Seconds, Numbers]:
        """``_select_known_events`` of events that the model was trained on."""
        return (
            history.items.astype(np.int64),
            history.timestamps.astype(np.float64),
            self._stored_types[history.event_types],
        )

    def _read_window(self, history: list[Past], begin: int, user_H: Floats | None) -> ReadState:
        items, at, types = self._select_known_events(history)
        of = slice(begin - 1, None)  # START is the first input that is skipped
        return self.weights.read_events(items[of], np.diff(at, prepend=at[0])[of], types[of], user_H, None)

    def _select_known_events(self, events: Sequence[Past]) -> tuple[Numbers, Seconds, Numbers]:
        """Return number, time and type of the events with an item that the model knows."""
        rows = [
            (number, at, self._types.get(type_.lower(), 0) if type_ else 0)
            for item_id, at, type_ in events
            if (number := self._number(item_id)) is not None
        ]
        items, at, types = zip(*rows, strict=True) if rows else ((), (), ())
        return np.array(items, np.int64), np.array(at, np.float64), np.array(types, np.int64)


class StateCache:
    """The states of the most recent users. Threads may share it: states never change."""

    def __init__(self, reader: HistoryReader) -> None:
        self._reader = reader
        self._kept: OrderedDict[str, _CacheEntry] = OrderedDict()
        self._size = 0
        self._keeping = threading.Lock()

    def get_state(self, user_id: str, history: Sequence[Past], features: Callable[[], Floats | None]) -> UserState:
        """Return the state after this history. ``features`` is called for the user's vector of a new entry."""
        events = history if isinstance(history, list) else list(history)
        entry = self._kept.get(user_id)
        if entry is None:
            user_H = features()
            entry = _CacheEntry(
                user_H, self._reader.extend_state(self._reader.create_start_state(user_H), events, user_H), None
            )
        elif entry.state.history != events:
            entry = self._update_entry(entry, events)
        self._store_entry(user_id, entry)
        return entry.state

    def _update_entry(self, entry: _CacheEntry, events: list[Past]) -> _CacheEntry:
        user_H, state, diverged = entry
        if not _is_prefix(state, events):
            if diverged is None or not _is_prefix(diverged, events):
                place = _find_divergence(state.history, events)
                diverged = self._reader.extend_state(self._reader.create_start_state(user_H), events[:place], user_H)
            state = diverged
        return _CacheEntry(user_H, self._reader.extend_state(state, events, user_H), diverged)

    def _store_entry(self, user_id: str, entry: _CacheEntry) -> None:
        with self._keeping:
            before = self._kept.get(user_id)
            if before is entry:
                self._kept.move_to_end(user_id)
                return
            self._kept.pop(user_id, None)
            self._size += entry.size - (0 if before is None else before.size)
            self._kept[user_id] = entry
            while self._size > MOST_EVENTS and len(self._kept) > 1:
                self._size -= self._kept.popitem(last=False)[1].size


class _CacheEntry(NamedTuple):
    """The cached states of one user."""

    user: Floats | None  # [H]
    state: UserState
    diverged: UserState | None
    """The state at the last divergence of the history from the events that had been read."""

    @property
    def size(self) -> int:
        return EVENTS_A_USER + len(self.state.history) + len(self.state.more.new.values) // 16


_UNREAD = ReadState(np.zeros(0, np.float32), np.zeros(0, np.float32))


def _create_empty_state(read: ReadState = _UNREAD) -> UserState:
    """Return the state without events, after the network has read START."""
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


def _is_prefix(state: UserState, events: list[Past]) -> bool:
    # Lists compare identical objects without looking into them, and events of the bulk data mostly are identical.
    return events[: len(state.history)] == state.history


def _find_divergence(one: list[Past], other: list[Past]) -> int:
    """Return the number of equal events at the start of both."""
    differ = (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(differ, min(len(one), len(other)))


def _compute_activity(events: int, distinct: int) -> Floats:
    known_3: Floats = compute_user_activity(np.array([events], np.float32), np.array([distinct], np.float32))[0]
    return known_3


def _merge_items(state: UserState, items: Numbers, at: Seconds, visits: Numbers, types: Numbers) -> TakenItems:
    """Return the items of the history extended by these events."""
    before = state.taken
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
    new = TakenItems(distinct, state.events + 1 + last, at[last], visits[last], firsts, counts, faded, types[last])
    return TakenItems(*(np.concatenate(pair) for pair in zip(before, new, strict=True)))


def _compute_fading(visits_S: Numbers) -> Seconds:
    """[S,D] Return the weight of an event after so many visits."""
    left_SD: Seconds = 0.5 ** (visits_S[:, None] / _HALF_LIVES)
    return left_SD
