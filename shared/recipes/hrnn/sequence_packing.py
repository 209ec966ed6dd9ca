"""Histories packed into streams: the windows that the network reads in an epoch. Nothing is padded or copied twice.

All histories of an epoch are concatenated in a random order, cut into B streams of equal length, and these into windows
of T steps. A window names the events to predict. The inputs before each of them are gathered on the device, where the
arrays are: on a CPU these are the mapped files themselves.

Shapes: E events of all users, U users, T steps, B streams, N = T x B, S pairs of a query and an item of its history.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Self, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from shared.data.arrays.features import Features
from shared.data.arrays.histories import Histories
from shared.data.arrays.npy_files import expand_ranges
from shared.data.training.training_data import TrainingData
from shared.recipes.hrnn.config import GAP_BUCKETS, HrnnConfig
from shared.recipes.hrnn.network import HrnnNetwork
from shared.recipes.hrnn.ops.history_walk import find_pairs_and_spans
from shared.recipes.hrnn.repeat_features import (
    HALF_LIVES,
    LastInteractions,
    compute_repeat_features,
    compute_user_activity,
)
from shared.recipes.hrnn.time_buckets import bucket_gaps, find_known_buckets
from shared.recipes.hrnn.types import Events, FeatureBags, HistorySpans, Pairs, Queries, Window
from shared.recipes.request_time import is_new_visit

EVENTS_AT_ONCE = 2**20

REMEMBERED = 1024
"""Events of a history that training searches for items. Serving searches all."""

REPEATS = 0.01
"""Repeats are modelled if at least this share of the events are of items that the user had before."""

NO_EVENT = np.iinfo(np.int32).max
"""The number of a next event that does not exist."""

SAMPLED_QUERIES = 2000
"""Queries from which the range of the repeat features is computed."""


class RepeatColumns(NamedTuple):
    """Columns of each event if repeats are modelled: see ``EventStatistics``."""

    times: Tensor  # [E] seconds since the epoch
    visits: Tensor
    counts: Tensor
    interval: Tensor
    faded: Tensor
    distinct: Tensor


TENSOR_FIELDS = (
    *("items_E", "new_E", "weights_E", "_position_E", "_before_E", "_start_E", "_end_E"),
    *("_next_E", "_types_E", "_user_E"),
)
TUPLE_FIELDS: dict[str, type[FeatureBags] | type[RepeatColumns]] = {
    "_users": FeatureBags,
    "_contexts": FeatureBags,
    "_repeats": RepeatColumns,
}
"""The attributes of ``Streams`` that are tensors, and those that are tuples of tensors."""


class Streams:
    """The events of all users on the device: items, times, moments, features, and the places of earlier items."""

    def __init__(
        self,
        data: TrainingData,
        weights_E: npt.NDArray[np.float32],
        on_block: Callable[[], None] = lambda: None,
        device: torch.device | str = "cpu",
        repeats: bool | None = None,
    ) -> None:
        """``weights_E`` are the events' weights as targets. ``on_block`` is called every million events.
        ``repeats``: whether repeats are modelled; None: decided by the data (REPEATS).
        """
        histories = data.histories
        offsets, lengths = histories.offsets, histories.lengths
        self._offsets = offsets
        self.items = len(histories.item_ids)
        position_E = np.arange(len(histories.items), dtype=np.int32) - np.repeat(offsets[:-1], lengths).astype(np.int32)
        gaps_E = np.diff(histories.timestamps, prepend=0).clip(0, np.iinfo(np.int32).max).astype(np.int32)
        gaps_E[position_E == 0] = 0
        start_E, end_E = find_moments(position_E, gaps_E)
        takings = compute_event_statistics(histories, position_E, gaps_E, start_E, on_block)
        repeated = int((takings.next != NO_EVENT).sum())
        types = len(histories.event_type_names)
        self.event_types = types if types > 1 else 0
        # A robot outside the percentiles may have most of the events.
        told_E = np.repeat(histories.in_training, lengths)
        again = int((takings.next[told_E] != NO_EVENT).sum())
        self.repeats = again >= REPEATS * int(told_E.sum()) if repeats is None else repeats

        def tensor(array: npt.NDArray[Any]) -> Tensor:
            return _wrap_array(array).to(device)

        self.device = torch.device(device)
        self.items_E = tensor(histories.items)
        self.new_E = tensor(takings.new)
        self.weights_E = tensor(weights_E)
        self._position_E = tensor(position_E)
        self._before_E = tensor(gaps_E)
        self._start_E, self._end_E = tensor(start_E), tensor(end_E)
        self._stamps_E = histories.timestamps
        self._next_E = tensor(takings.next) if repeated else None
        of_repeats: list[npt.NDArray[Any]] = [histories.timestamps, takings.visits, takings.counts]
        of_repeats += [takings.interval, takings.faded, takings.distinct]
        self._repeats = RepeatColumns(*(tensor(each) for each in of_repeats)) if self.repeats else None
        self._types_E = tensor(histories.event_types + np.int16(1)) if self.event_types else None
        of_users = data.users is not None and data.users.size > 0
        self._user_E = tensor(np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)) if of_users else None
        self._users = load_bags(data.users, device)
        self._contexts = load_bags(data.contexts, device)

    def get_tensors(self) -> dict[str, Tensor]:
        """Return all tensors, for ``from_tensors``, without those that only rank zero needs."""
        arrays = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        for name in TUPLE_FIELDS:
            if (of := getattr(self, name)) is not None:
                arrays |= {f"{name}.{part}": tensor for part, tensor in of._asdict().items()}
        return arrays | {"_offsets": _wrap_array(self._offsets)}

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], *, items: int, event_types: int, repeats: bool, device: torch.device
    ) -> Self:
        """Build from ``get_tensors()``, on the device."""
        streams = cls.__new__(cls)
        streams.device, streams.items, streams.event_types, streams.repeats = device, items, event_types, repeats
        streams._offsets, streams._stamps_E = tensors["_offsets"].numpy(), np.zeros(0, np.int64)
        for name in TENSOR_FIELDS:
            setattr(streams, name, tensors[name].to(device) if name in tensors else None)
        for name, kind in TUPLE_FIELDS.items():
            parts = [f"{name}.{part}" for part in kind._fields]
            there = parts[0] in tensors
            setattr(streams, name, kind(*(tensors[part].to(device) for part in parts)) if there else None)
        return streams

    def iter_windows(
        self, users: npt.NDArray[np.int64], *, streams: int, steps: int, rng: np.random.Generator
    ) -> Iterator[Window]:
        """Yield the ``count_windows`` windows of an epoch over ``users``, in which every event is a target once."""
        users = rng.permutation(users)
        lengths = self._offsets[users + 1] - self._offsets[users]
        total = int(lengths.sum())
        # The last stream is filled up with events of the first users, which do not count as targets again.
        length = math.ceil(total / streams)
        places_E = expand_ranges(self._offsets[users], lengths)
        events_E = self._shuffle_ties(places_E, rng)
        each_BL = [np.resize(each_E, (streams, length)) for each_E in (events_E, places_E, np.roll(events_E, 1))]
        for begin in range(0, length, steps):
            events_TB, places_TB, before_TB = (
                torch.from_numpy(np.ascontiguousarray(of_BL[:, begin : begin + steps].T)) for of_BL in each_BL
            )
            number_TB = np.arange(begin, begin + len(events_TB))[:, None] + np.arange(streams) * length
            yield Window(events_TB, torch.from_numpy(number_TB < total), places_TB, before_TB)

    def _shuffle_ties(self, places_E: npt.NDArray[np.int64], rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Return the events with those of each moment in a random order."""
        start_E = self._start_E.cpu().numpy()[places_E]
        tied = np.flatnonzero(self._end_E.cpu().numpy()[places_E] - start_E > 1)
        if not len(tied):
            return places_E
        events_E = places_E.copy()
        order = np.lexsort((rng.random(len(tied)), np.cumsum(np.diff(start_E[tied], prepend=-1) != 0)))
        events_E[tied] = places_E[tied[order]]
        return events_E

    def count_windows(self, users: npt.NDArray[np.int64], *, streams: int, steps: int) -> int:
        total = int((self._offsets[users + 1] - self._offsets[users]).sum())
        return math.ceil(math.ceil(total / streams) / steps)

    def get_positions(self, events_Q: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return how many events the user of each event had before it."""
        return self._position_E[torch.from_numpy(events_Q).to(self.device)].cpu().numpy().astype(np.int64)

    def find_users(self, places_N: Tensor) -> Tensor:
        """[N] Return the number of the user of each event."""
        return torch.from_numpy(np.searchsorted(self._offsets, places_N.cpu().numpy(), side="right") - 1)

    def read_events(self, places_TB: Tensor, before_TB: Tensor) -> Events:
        """Return the network's inputs at these places: the user's previous event, or START."""
        begins_TB = self._position_E[places_TB] == 0
        return Events(
            items=torch.where(begins_TB, self.items, self.items_E[before_TB].long()),
            before=torch.where(begins_TB, 0, self._before_E[(places_TB - 1).clamp(min=0)]),
            begins=begins_TB,
            types=None if self._types_E is None else torch.where(begins_TB, 0, self._types_E[before_TB].long()),
            users=self._users and self._users.select_rows(self._user_E[places_TB.flatten()].long()),  # type: ignore[index]
        )

    def prepare_network(self, network: HrnnNetwork, users: npt.NDArray[np.int64], seed: int) -> None:
        """Initialize a network from statistics of these users, before it is trained on them."""
        places = torch.from_numpy(expand_ranges(self._offsets[users], self._offsets[users + 1] - self._offsets[users]))
        places = places.to(self.device)
        taken_I = torch.bincount(self.items_E[places[self.new_E[places]]], minlength=self.items).float() + 1
        with torch.no_grad():
            network.bias[:-1] = torch.log(taken_I / taken_I.sum())
        if network.again is not None:
            drawn = np.random.default_rng(seed).choice(len(places), min(SAMPLED_QUERIES, len(places)), replace=False)
            some = places[torch.from_numpy(np.sort(drawn))]
            network.again.set_feature_range(self.build_queries(self.find_moment_starts(some), REMEMBERED).pairs)
        after = self._compute_request_gaps(self.find_moment_starts(places))
        network.request_gaps_G = torch.bincount(bucket_gaps(after), minlength=GAP_BUCKETS)
        network.event_gaps_G = torch.bincount(bucket_gaps(self._before_E[places]), minlength=GAP_BUCKETS)
        longest = 2.0 ** (int(find_known_buckets(network.request_gaps_G)[-1]) + 1) - 1
        instead = float(np.quantile(after.cpu().numpy(), 0.5, method="lower"))
        network.config = dataclasses.replace(network.config, longest=longest, instead=instead)

    def iter_newest(
        self, places_N: Tensor, count: int
    ) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], float]]:
        """Yield for each place (items of the user's ``count`` newest events before it, numbers of their moments, the
        query's time in seconds since the epoch)."""
        start_E, items_E = self._start_E.cpu().numpy(), self.items_E.cpu().numpy()
        position_E = self._position_E.cpu().numpy()
        after_N = self._compute_request_gaps(places_N).cpu().numpy()
        for place, after in zip(places_N.cpu().numpy().tolist(), after_N.tolist(), strict=True):
            events = slice(place - min(int(position_E[place]), count), place)
            moments = np.cumsum(np.diff(start_E[events], prepend=-1) != 0)
            at = float(self._stamps_E[place - 1] + after if events.start < place else self._stamps_E[place])
            yield items_E[events].astype(np.int64), moments, at

    def compute_recency(self, places: Tensor, half_life: float) -> Tensor:
        """Return weights of events: 1 at the end of the data, halved for each share ``half_life`` of the data's time
        span before it."""
        times = self._stamps_E[places.cpu().numpy()]
        first, last = int(self._stamps_E.min()), int(self._stamps_E.max())
        return torch.from_numpy(0.5 ** ((last - times) / max(last - first, 1) / half_life)).to(places.device).float()

    def find_moment_starts(self, places: Tensor) -> Tensor:
        """Return the first place of each place's moment, before which its events are predicted."""
        return self._start_E[places].long()

    def build_queries(
        self, places_N: Tensor, remembered: int | None = None, config: HrnnConfig | None = None
    ) -> Queries:
        """Return the queries before these places.

        ``remembered`` limits the events of the histories; ``form`` replaces gaps longer than training has met.
        """
        contexts = None if self._contexts is None else self._contexts.select_rows(places_N)
        after_N = self._compute_request_gaps(places_N)
        if config is not None:
            after_N = torch.where(after_N >= config.longest, int(config.instead), after_N)
        return Queries(
            after_N, self._find_pairs(places_N, after_N, remembered), contexts, self._compute_user_activity(places_N)
        )

    def build_stream_queries(self, places_BT: Tensor, remembered: int) -> Queries:
        """Return the queries before the events of a window, stream by stream, with the histories mostly as spans.

        Only on a CPU and without repeats.
        """
        places_N = places_BT.flatten()
        contexts = None if self._contexts is None else self._contexts.select_rows(places_N)
        pairs, spans = self._find_spans(places_BT, remembered)
        return Queries(
            self._compute_request_gaps(places_N), pairs, contexts, self._compute_user_activity(places_N), spans
        )

    def _compute_request_gaps(self, places_N: Tensor) -> Tensor:
        gap_N = self._before_E[places_N]
        return torch.where(is_new_visit(gap_N), gap_N, 0)

    def _compute_user_activity(self, places_N: Tensor) -> Tensor:
        events_N = self._position_E[places_N].float()
        if self._repeats is None:
            return events_N.new_zeros(len(events_N), 3)
        known_N3: Tensor = compute_user_activity(events_N, self._repeats.distinct[places_N].float(), torch)
        return known_N3

    def _find_pairs(self, places_N: Tensor, after_N: Tensor, remembered: int | None) -> Pairs:
        """Return the histories: the items of each user's earlier events, each at its last place."""
        counts_N = self._position_E[places_N].long()
        if remembered is not None:
            counts_N = counts_N.clamp(max=remembered)
        rows_S = torch.arange(len(places_N), device=self.device).repeat_interleave(counts_N)
        seen_S = torch.arange(len(rows_S), device=self.device)
        seen_S += (places_N - counts_N.cumsum(0)).repeat_interleave(counts_N)
        if self._next_E is not None:
            last_S = self._next_E[seen_S] >= places_N[rows_S]
            rows_S, seen_S = rows_S[last_S], seen_S[last_S]
        items_S = self.items_E[seen_S].long()
        if not self.repeats:
            return Pairs(rows_S, items_S)
        types_S = None if self._types_E is None else self._types_E[seen_S].long()
        return Pairs(
            rows_S,
            items_S,
            compute_repeat_features(self._gather_last_interactions(places_N, after_N, rows_S, seen_S), torch),
            types_S,
        )

    def _gather_last_interactions(
        self, places_N: Tensor, after_N: Tensor, rows_S: Tensor, seen_S: Tensor
    ) -> LastInteractions:
        """Return the statistics of these events as seen by the queries ``rows``."""
        of = cast(RepeatColumns, self._repeats)
        # A query within a visit is asked at the time of the previous event.
        before_N = (places_N - 1).clamp(min=0)
        at_N = of.times[before_N] + after_N
        visit_N = of.visits[before_N] + (after_N > 0)
        return LastInteractions(
            distance=(places_N[rows_S] - seen_S).float(),
            visits=(visit_N[rows_S] - of.visits[seen_S]).float(),
            seconds=(at_N[rows_S] - of.times[seen_S]).clamp(min=0).float(),
            counts=of.counts[seen_S].float(),
            interval=of.interval[seen_S],
            faded=of.faded[seen_S],
            events=self._position_E[places_N][rows_S].float(),
        )

    def _find_spans(self, places_BT: Tensor, remembered: int) -> tuple[Pairs, HistorySpans]:
        return find_pairs_and_spans(
            places_BT, self._position_E, self._end_E, self.items_E, self._next_E, self.items, remembered
        )


def find_moments(
    position_E: npt.NDArray[np.int32], gaps_E: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return for each event the user's first event at the same time, and the first after it."""
    begins_E = (position_E == 0) | (gaps_E > 0)
    begins = np.flatnonzero(begins_E)
    number_E = np.cumsum(begins_E) - 1
    return begins[number_E], np.append(begins[1:], len(position_E))[number_E]


def load_bags(features: Features | None, device: torch.device | str = "cpu") -> FeatureBags | None:
    """Return the features on the device; None if there are none."""
    if features is None or features.size == 0:
        return None
    return FeatureBags(
        _wrap_array(features.offsets).to(device),
        _wrap_array(features.values.astype(np.int64)).to(device),
        _wrap_array(features.weights).to(device),
    )


def _wrap_array(array: npt.NDArray[Any]) -> Tensor:
    with warnings.catch_warnings():
        # Mapped files are read-only, and the tensors are never written.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


class EventStatistics(NamedTuple):
    """Statistics of each event, of its item and its user."""

    next: npt.NDArray[np.int32]  # [E] the user's next event with the item; NO_EVENT: none
    counts: npt.NDArray[np.int16]  # [E] the user's events with the item up to it
    interval: npt.NDArray[np.float32]  # [E] mean seconds between these
    faded: npt.NDArray[np.float32]  # [E,D] log of the sum of these, each faded by HALF_LIVES
    visits: npt.NDArray[np.int32]  # [E] number of the user's visit, from 0
    distinct: npt.NDArray[np.int32]  # [E] distinct items of the user before the event
    new: npt.NDArray[np.bool_]  # [E] True if the user had not had the item before this moment


def compute_event_statistics(
    histories: Histories,
    position_E: npt.NDArray[np.int32],
    gaps_E: npt.NDArray[np.int32],
    start_E: npt.NDArray[np.int64],
    on_block: Callable[[], None],
) -> EventStatistics:
    events = len(histories.items)
    next_E, count_E = np.full(events, NO_EVENT, np.int32), np.ones(events, np.int16)
    interval_E, faded_ED = np.zeros(events, np.float32), np.zeros((events, len(HALF_LIVES)), np.float32)
    visits_E = np.cumsum((position_E > 0) & is_new_visit(gaps_E))
    firsts = histories.offsets[:-1].clip(max=max(events - 1, 0))
    visit_E = (visits_E - np.repeat(visits_E[firsts], histories.lengths)).astype(np.int32)
    first_E = np.zeros(events, np.int64)
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
        first_of = np.maximum.accumulate(np.where(again, 0, places))
        rank = places - first_of
        first_E[begin + order] = begin + order[first_of]
        count_E[begin + order] = np.minimum(rank + 1, np.iinfo(np.int16).max)
        times = histories.timestamps[begin:end][order]
        interval_E[begin + order] = (times - times[first_of]) / np.maximum(rank, 1)
        faded_ED[begin + order] = _compute_faded_counts(rank, visit_E[begin:end][order])
        user = last
    is_first_E = first_E == np.arange(events)
    distinct_E = np.cumsum(is_first_E) - is_first_E
    distinct_E -= np.repeat(distinct_E[firsts], histories.lengths)
    return EventStatistics(
        next_E, count_E, interval_E, faded_ED, visit_E, distinct_E.astype(np.int32), first_E >= start_E
    )


def _compute_faded_counts(rank_S: npt.NDArray[np.int64], visit_S: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
    """float32[S,D] Compute ``faded`` of events that are sorted by user and item, and numbered from 0 within these."""
    sums_SD = np.ones((len(rank_S), len(HALF_LIVES)))
    by_rank = np.argsort(rank_S, kind="stable")
    ends = np.cumsum(np.bincount(rank_S))
    for first, last in itertools.pairwise(ends.tolist()):
        here = by_rank[first:last]
        passed = (visit_S[here] - visit_S[here - 1])[:, None] / np.array(HALF_LIVES)
        sums_SD[here] += sums_SD[here - 1] * 0.5**passed
    return np.log(sums_SD).astype(np.float32)
