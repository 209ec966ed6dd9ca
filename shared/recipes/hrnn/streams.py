"""Histories packed into streams: what the network reads in an epoch. Arrays only; nothing is padded or copied twice.

All histories of an epoch lie end to end in an order drawn anew, cut into B streams of equal length, and those into
windows of T steps. A window names events that are to be foretold; what the network may know before each of them is
gathered on the device, where the arrays lie: on a CPU these are the mapped files themselves.

Shapes: E events of all users, U users, T steps, B streams, N = T x B, S pairs of a query and an item seen before.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from shared.data.arrays import ranges
from shared.data.features import Features
from shared.data.histories import Histories
from shared.data.training_data import TrainingData
from shared.recipes.hrnn.form import COUNT_BUCKETS, DISTANCE_BUCKETS, GAP_BUCKETS
from shared.recipes.hrnn.network import Bags, Events, Pairs, Spans, gap_buckets

EVENTS_AT_ONCE = 2**20

REMEMBERED = 2 ** (DISTANCE_BUCKETS - 1)
"""Events back to which training looks for items of the history: the memory of the repeat head. Serving looks at all."""

REPEATS = 0.01
"""Share of events with an item that the user had before, from which the age of an item in the history acts."""

NEVER = np.iinfo(np.int32).max

OF_EVENTS = (
    *("items_E", "weights_E", "_position_E", "_before_E", "_next_E", "_times_E", "_count_E", "_types_E", "_user_E"),
)


class Window(NamedTuple):
    """The events to be foretold in one step."""

    events: Tensor  # int64[T,B]
    counts: Tensor  # bool[T,B] False for events that fill up the last stream


class Queries(NamedTuple):
    """What is asked before each of N events."""

    after: Tensor  # [N] seconds since the user's event before: the moment at which somebody would have asked
    pairs: Pairs
    contexts: Bags | None
    spans: Spans | None = None


class Streams:
    """What every event says beside its item: gaps, beginnings, and where the items seen before it stand."""

    def __init__(
        self,
        data: TrainingData,
        weights_E: npt.NDArray[np.float32],
        on_block: Callable[[], None] = lambda: None,
        device: torch.device | str = "cpu",
        repeats: bool | None = None,
    ) -> None:
        """``weights_E`` is what each event counts as a target. ``on_block`` is called every million events.
        ``repeats``: does the age of an item in the history act? None: as the data has it.
        """
        histories = data.histories
        offsets, lengths = histories.offsets, histories.lengths
        self._offsets = offsets
        self._items = len(histories.item_ids)
        position_E = np.arange(len(histories.items), dtype=np.int32) - np.repeat(offsets[:-1], lengths).astype(np.int32)
        gaps_E = np.diff(histories.timestamps, prepend=0).clip(0, np.iinfo(np.int32).max).astype(np.int32)
        gaps_E[position_E == 0] = 0
        next_E, count_E = _repeats(histories, on_block)
        repeated = int((next_E != NEVER).sum())
        types = len(histories.event_type_names)
        self.event_types = types if types > 1 else 0
        self.repeats = repeated >= REPEATS * len(next_E) if repeats is None else repeats

        def tensor(array: npt.NDArray[Any]) -> Tensor:
            return _tensor(array).to(device)

        self.device = torch.device(device)
        self.items_E = tensor(histories.items)
        self.weights_E = tensor(weights_E)
        self._position_E = tensor(position_E)
        self._before_E = tensor(gaps_E)
        self._next_E = tensor(next_E) if repeated else None
        self._times_E = tensor(histories.timestamps) if self.repeats else None
        self._count_E = tensor(count_E) if self.repeats else None
        self._types_E = tensor(histories.event_types + np.int16(1)) if self.event_types else None
        of_users = data.users is not None and data.users.size > 0
        self._user_E = tensor(np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)) if of_users else None
        self._users = bags(data.users, device)
        self._contexts = bags(data.contexts, device)

    def tensors(self) -> dict[str, Tensor]:
        """All that it is made of but ``event_types``, ``repeats`` and the number of items."""
        arrays = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        for name in ("_users", "_contexts"):
            if (of := getattr(self, name)) is not None:
                arrays |= {f"{name}.{part}": tensor for part, tensor in of._asdict().items()}
        return arrays | {"_offsets": _tensor(self._offsets)}

    @classmethod
    def of(
        cls, tensors: Mapping[str, Tensor], *, items: int, event_types: int, repeats: bool, device: torch.device
    ) -> Self:
        """Those of ``tensors()``, on the device."""
        streams = cls.__new__(cls)
        streams.device, streams._items, streams.event_types, streams.repeats = device, items, event_types, repeats
        streams._offsets = tensors["_offsets"].numpy()
        for name in OF_EVENTS:
            setattr(streams, name, tensors[name].to(device) if name in tensors else None)
        for name in ("_users", "_contexts"):
            parts = (f"{name}.{part}" for part in Bags._fields)
            there = f"{name}.offsets" in tensors
            setattr(streams, name, Bags(*(tensors[part].to(device) for part in parts)) if there else None)
        return streams

    def windows(
        self, users: npt.NDArray[np.int64], *, streams: int, steps: int, rng: np.random.Generator
    ) -> Iterator[Window]:
        """One epoch over ``users``: every event is a target once. ``window_count`` says how many there are."""
        users = rng.permutation(users)
        lengths = self._offsets[users + 1] - self._offsets[users]
        total = int(lengths.sum())
        # The last stream is filled up with events of the first users, which are no targets a second time.
        length = math.ceil(total / streams)
        events_BL = np.resize(ranges(self._offsets[users], lengths), (streams, length))
        for begin in range(0, length, steps):
            events_TB = np.ascontiguousarray(events_BL[:, begin : begin + steps].T)
            places_TB = np.arange(begin, begin + len(events_TB))[:, None] + np.arange(streams) * length
            yield Window(torch.from_numpy(events_TB), torch.from_numpy(places_TB < total))

    def window_count(self, users: npt.NDArray[np.int64], *, streams: int, steps: int) -> int:
        total = int((self._offsets[users + 1] - self._offsets[users]).sum())
        return math.ceil(math.ceil(total / streams) / steps)

    def positions(self, events_Q: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """How many events the user of each event had before it."""
        return self._position_E[torch.from_numpy(events_Q).to(self.device)].cpu().numpy().astype(np.int64)

    def read(self, events_TB: Tensor) -> Events:
        """What the network reads to foretell these events: the user's event before, or START."""
        begins_TB = self._position_E[events_TB] == 0
        before_TB = torch.where(begins_TB, events_TB, events_TB - 1)
        return Events(
            items=torch.where(begins_TB, self._items, self.items_E[before_TB].long()),
            before=torch.where(begins_TB, 0, self._before_E[before_TB]),
            begins=begins_TB,
            types=None if self._types_E is None else torch.where(begins_TB, 0, self._types_E[before_TB].long()),
            users=self._users and self._users.of(self._user_E[events_TB.flatten()].long()),  # type: ignore[index]
        )

    def queries(self, events_N: Tensor, remembered: int | None = None) -> Queries:
        """What is asked before these events. ``remembered`` limits the events back that the history reaches."""
        contexts = None if self._contexts is None else self._contexts.of(events_N)
        return Queries(self._before_E[events_N], self._pairs(events_N, remembered), contexts)

    def queries_of_streams(self, events_BT: Tensor, remembered: int) -> Queries:
        """The same before the events of a window, stream by stream, with what it says of histories mostly in spans.

        On a CPU, and not where the age of an item in the history acts.
        """
        events_N = events_BT.flatten()
        contexts = None if self._contexts is None else self._contexts.of(events_N)
        pairs, spans = self._spans(events_BT, remembered)
        return Queries(self._before_E[events_N], pairs, contexts, spans)

    def _pairs(self, events_N: Tensor, remembered: int | None) -> Pairs:
        """The items of each user's events before, each where it stands last."""
        counts_N = self._position_E[events_N].long()
        if remembered is not None:
            counts_N = counts_N.clamp(max=remembered)
        rows_S = torch.arange(len(events_N), device=self.device).repeat_interleave(counts_N)
        seen_S = torch.arange(len(rows_S), device=self.device)
        seen_S += (events_N - counts_N.cumsum(0)).repeat_interleave(counts_N)
        if self._next_E is not None:
            last_S = self._next_E[seen_S] >= events_N[rows_S]
            rows_S, seen_S = rows_S[last_S], seen_S[last_S]
        items_S = self.items_E[seen_S].long()
        if self._times_E is None or self._count_E is None:
            return Pairs(rows_S, items_S)
        events_S = events_N[rows_S]
        codes_S = pair_codes(
            self.event_types,
            events_S - seen_S,
            self._times_E[events_S] - self._times_E[seen_S],
            self._count_E[seen_S],
            None if self._types_E is None else self._types_E[seen_S],
        )
        return Pairs(rows_S, items_S, codes_S)

    def _spans(self, events_BT: Tensor, remembered: int) -> tuple[Pairs, Spans]:
        from shared.recipes.hrnn.cpu.histories import pairs_and_spans

        return pairs_and_spans(events_BT, self._position_E, self.items_E, self._next_E, self._items, remembered)


def pair_codes(
    event_types: int, distance_S: Tensor, seconds_S: Tensor, count_S: Tensor, type_S: Tensor | None
) -> Tensor:
    """Places in ``Network.age_table``: an item last taken so many events (from 1) and seconds ago, taken so often
    (from 1), last with this type (0: none)."""
    distance_S = torch.log2(distance_S.float()).long().clamp_(max=DISTANCE_BUCKETS - 1)
    codes_S = distance_S.mul_(GAP_BUCKETS).add_(gap_buckets(seconds_S)).mul_(COUNT_BUCKETS)
    codes_S += torch.log2(count_S.float()).long().clamp_(max=COUNT_BUCKETS - 1)
    if event_types:
        codes_S.mul_(event_types + 1)
        if type_S is not None:
            codes_S += type_S
    return codes_S


def bags(features: Features | None, device: torch.device | str = "cpu") -> Bags | None:
    """The same on the device; None where there is nothing to learn from."""
    if features is None or features.size == 0:
        return None
    return Bags(
        _tensor(features.offsets).to(device),
        _tensor(features.values.astype(np.int64)).to(device),
        _tensor(features.weights).to(device),
    )


def _tensor(array: npt.NDArray[Any]) -> Tensor:
    with warnings.catch_warnings():
        # Mapped files are read-only, and nothing here writes.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def _repeats(histories: Histories, on_block: Callable[[], None]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int16]]:
    """For each event the user's next with the same item (NEVER: none), and how many there were up to it."""
    next_E = np.full(len(histories.items), NEVER, np.int32)
    count_E = np.ones(len(histories.items), np.int16)
    offsets, items = histories.offsets, len(histories.item_ids)
    user = 0
    while user < len(offsets) - 1:
        on_block()
        last = max(int(np.searchsorted(offsets, offsets[user] + EVENTS_AT_ONCE, side="right")) - 1, user + 1)
        begin, end = int(offsets[user]), int(offsets[last])
        users = np.repeat(np.arange(user, last), np.diff(offsets[user : last + 1]))
        keys = users * items + histories.items[begin:end]
        order = np.argsort(keys, kind="stable")
        again = np.concatenate([[False], np.diff(keys[order]) == 0])
        next_E[begin + order[:-1][again[1:]]] = begin + order[1:][again[1:]]
        places = np.arange(len(order))
        firsts = np.maximum.accumulate(np.where(again, 0, places))
        count_E[begin + order] = np.minimum(places - firsts + 1, np.iinfo(np.int16).max)
        user = last
    return next_E, count_E
