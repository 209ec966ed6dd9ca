"""The users of whom a batch segment job lists some, and their histories up to now."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from itertools import count, groupby, repeat
from operator import itemgetter
from typing import overload

import numpy as np

from shared.recipes.scoring_api import Past, SegmentScorer
from shared.serving.user_events import UserEvents
from shared.serving.user_history import merge_events

_PAIR = np.dtype((np.int32, 2))


class SegmentUsers(Sequence[str]):
    """The ids of U users, sorted by code point: those that the model was trained on, and those with events since."""

    def __init__(self, scorer: SegmentScorer, events: UserEvents, *, replaced: bool) -> None:
        """``replaced``: a FULL import has replaced the bulk data since the training, and ``events`` holds all of the
        users' events; else it holds those to add to the histories trained on."""
        self._scorer = scorer
        self._events = events
        self._trained: Sequence[str] = () if replaced else scorer.user_ids
        pairs = ((trained, since) for _, trained, since in self._merge_ids())
        self._numbers_U2 = np.fromiter(pairs, _PAIR)

    def _merge_ids(self) -> Iterator[tuple[str, int, int]]:
        return merge_sorted(self._trained, self._events.user_ids)

    def __len__(self) -> int:
        return len(self._numbers_U2)

    def __iter__(self) -> Iterator[str]:
        return (user_id for user_id, _, _ in self._merge_ids())

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        trained, since = self._numbers_U2[place].tolist()
        return self._trained[trained] if trained >= 0 else self._events.user_ids[since]

    def read_history(self, place: int) -> Sequence[Past]:
        """Return the events of the user at this place, oldest first."""
        trained, since = self._numbers_U2[place].tolist()
        if since < 0:
            return self._scorer.stored_history(self._trained[trained])
        bulk = self._scorer.history(self._trained[trained]) if trained >= 0 else []
        return merge_events(bulk, self._events.read_history(since))


def merge_sorted(left: Iterable[str], right: Iterable[str]) -> Iterator[tuple[str, int, int]]:
    """Yield each string of two sorted lists once, in order, with its numbers in both; -1 in a list that lacks it."""
    both = heapq.merge(zip(left, repeat(0), count()), zip(right, repeat(1), count()))
    for text, same in groupby(both, key=itemgetter(0)):
        numbers = {side: number for _, side, number in same}
        yield text, numbers.get(0, -1), numbers.get(1, -1)
