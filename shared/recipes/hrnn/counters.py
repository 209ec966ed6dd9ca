"""Counters next to the network: items that follow each other, items of the same users, and recent popularity.

The network learns these too, and mostly better. Where it does not, on few data or on data with no other pattern, the
counters enter its logits with weights that are fitted on the validation users (``counter_blend``), so that the model is
never worse than a counter.

    last_i     log(1 + n_i / (PRIOR p_i))  n_i: how often item i came in the moment after the items of the last moment
    near_i     the same, with items within NEAR events before or after the newest, fading with distance
    lately_i   the same as near, with pairs of one visit, each fading with LATELY days until the end of the data
    like_i     log(1 + s_i / p_i)  s_i: sum over the history's items j of B_ji, B being EASE's (Steck, Embarrassingly
               Shallow Autoencoders, 2019); 0 if s_i is negative
    fashion_i  log of the share of item i, each event fading with FASHION days, over p_i, its share of all

Shapes: I items, E events, M moments at which fashion is known, N queries, L newest events, K neighbours of an item.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from shared.data.arrays.histories import Histories
from shared.data.arrays.npy_files import expand_ranges, map_npy
from shared.recipes.request_time import is_new_visit

NEAR = 10
"""Events before and after an event that ``near`` and ``lately`` pair with it."""

FADING = 0.8
"""The weight of a pair for each moment between its events."""

NEWEST = 20
"""Newest events of a history that ``last``, ``near`` and ``lately`` read."""

NEIGHBOURS, ALIKE = 100, 300
"""The most neighbours of an item: in ``last``, ``near`` and ``lately``, and in ``like``."""

PRIOR = 10.0
"""Events that weigh as much as the prior, an item's share of all."""

RIDGE = 300.0
"""EASE's lambda."""

MOST_ALIKE = 4000
"""Items that EASE covers, the most popular: its matrix is inverted as a whole."""

MOST_USERS = 20_000
MOST_EVENTS = 2**21
"""The most users and events counted. If there are more, users are sampled."""

FASHION = (7.0, 30.0, math.inf)
"""Half-lives in days. The infinite one gives an item's share until a moment. The network's biases, learnt from all of
the data, also contain later events, which a request at that moment cannot know."""

LATELY = 20.0
"""A half-life in days."""

DOUBT = 0.2
"""The share of the all-time popularity in recent popularity: an item without recent events is not gone."""

DAY_SECONDS = 86_400

STALE, MOST_STALE = 1 / 40, 30 * DAY_SECONDS
"""The greatest age of the fashion that a query is fitted with, as a share of the time that the data cover, and in
seconds: a model answers for a while after the end of its data."""

GOLDEN = (5**0.5 - 1) / 2
"""Its multiples modulo 1 are spread evenly over 0 to 1, for any number of them: Weyl's sequence."""

MOST_MOMENTS, MOST_FASHIONS = 1024, 2**22
"""The most moments at which fashion is known, and the most numbers kept of it."""

AT_ONCE = 512
"""Users in one block of the Gram matrix's product."""

INVERTED = 256
"""Rows of a matrix that are eliminated in one block."""

COUNTERS = "counters"
"""The folder of the counters in an artifact."""

NAMES = ("last", "near", "lately", "like")

DENSE = 2**17
"""Up to so many items, sums are computed in an array with a place for each."""

Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]

ItemValues = tuple[Numbers, npt.NDArray[np.float64]]
"""(items, each once; their values)."""


class ItemNeighbours(NamedTuple):
    """The neighbours of each item: of item i they are ``items[offsets[i]:offsets[i + 1]]``, with their ``weights``."""

    offsets: Numbers  # [I + 1]
    items: npt.NDArray[np.int32]
    weights: Floats

    def sum_neighbours(self, items_T: Numbers, weights_T: npt.NDArray[Any]) -> ItemValues:
        """Return the neighbours of these items, each once, and the sums of their weights times the items' weights."""
        lengths_T = self.offsets[items_T + 1] - self.offsets[items_T]
        places = expand_ranges(self.offsets[items_T], lengths_T)
        return sum_by_item(
            self.items[places], self.weights[places] * np.repeat(weights_T, lengths_T), len(self.offsets) - 1
        )

    @classmethod
    def from_pairs(cls, keys: Numbers, weights: npt.NDArray[Any], items: int, most: int = NEIGHBOURS) -> Self:
        """Keep each item's ``most`` neighbours with the greatest sums of weights.

        ``keys`` are item * items + neighbour. A key may occur several times.
        """
        keys, places = np.unique(keys, return_inverse=True)
        sums = np.bincount(places, weights, minlength=len(keys))
        rows = keys // items
        order = np.lexsort((-sums, rows))
        starts_I = np.searchsorted(rows, np.arange(items))
        rank = np.arange(len(order)) - starts_I[rows[order]]
        kept = order[rank < most]
        offsets = np.concatenate([[0], np.cumsum(np.bincount(rows[kept], minlength=items))])
        return cls(offsets.astype(np.int64), (keys[kept] % items).astype(np.int32), sums[kept].astype(np.float32))


class PairCounts:
    """Weighted pairs of an item and a neighbour, as they are counted."""

    def __init__(self, items: int) -> None:
        self._items = items
        self._keys: list[Numbers] = []
        self._weights: list[npt.NDArray[Any]] = []

    def add(self, items: Numbers, neighbours: Numbers, weights: npt.NDArray[Any]) -> None:
        self._keys.append(items * self._items + neighbours)
        self._weights.append(weights)

    @property
    def neighbours(self) -> ItemNeighbours:
        return ItemNeighbours.from_pairs(np.concatenate(self._keys), np.concatenate(self._weights), self._items)


@dataclass(frozen=True)
class BlendWeights:
    """The factors of the parts of the logits: see ``counter_blend``. The defaults leave the network's own logits."""

    dot: float = 1.0
    bias: float = 1.0
    last: float = 0.0
    near: float = 0.0
    lately: float = 0.0
    like: float = 0.0
    fashion: tuple[float, ...] = (0.0,) * len(FASHION)
    again_dot: float = 1.0
    again_known: float = 1.0
    again_count: float = 0.0
    again_last: float = 0.0
    again_near: float = 0.0
    again_lately: float = 0.0
    share: float = 1.0
    evidence: float = 0.0
    offset: float = 0.0

    @classmethod
    def from_parts(cls, new: Sequence[float], again: Sequence[float], share: Sequence[float]) -> Self:
        """Build from the weights of ``NewItemChoice``, ``RepeatChoice`` and ``RepeatShareChoice``, in their orders."""
        dot, bias, last, near, lately, like, *fashion = new
        return cls(dot, bias, last, near, lately, like, tuple(fashion), *again, *share)

    @classmethod
    def from_values(cls, weights: Sequence[float]) -> Self:
        """Build from the ``values`` of another."""
        of_new = 2 + len(NAMES) + len(FASHION)
        return cls.from_parts(weights[:of_new], weights[of_new:-3], weights[-3:])

    @property
    def values(self) -> tuple[float, ...]:
        return tuple(np.hstack(astuple(self)).tolist())


@dataclass(frozen=True, eq=False)
class Counters:
    """The counters of the users that a network is trained on."""

    prior_I: Floats
    """Each item's share of all first interactions of a user with an item."""
    last: ItemNeighbours
    near: ItemNeighbours
    lately: ItemNeighbours
    like: ItemNeighbours
    times_M: Numbers
    fashion_MFI: Floats
    """At the moments ``times``, ascending; the last is the end of the data."""

    @classmethod
    def count_events(cls, histories: Histories, users: Numbers, on_block: Callable[[], None] = lambda: None) -> Self:
        """Count the events of these users. ``on_block`` is called often, and may raise to stop."""
        items = len(histories.item_ids)
        drawn = sample_users(histories, users)
        places = expand_ranges(histories.offsets[drawn], histories.lengths[drawn])
        last, near, lately = _count_neighbours(histories, places, drawn, on_block)
        users_E = np.repeat(np.arange(len(drawn)), histories.lengths[drawn])
        pairs = np.unique(users_E * items + histories.items[places])
        counts_I = np.bincount(pairs % items, minlength=items) + 1.0
        like = _fit_ease(pairs // items, pairs % items, items, on_block)
        events = expand_ranges(histories.offsets[users], histories.lengths[users])
        times_M, fashion_MFI = _compute_fashion(histories.items[events], histories.timestamps[events], items, on_block)
        return cls((counts_I / counts_I.sum()).astype(np.float32), last, near, lately, like, times_M, fashion_MFI)

    def iter_parts(
        self, newest: Numbers, faded: npt.NDArray[Any], is_last: npt.NDArray[np.bool_], had: Numbers
    ) -> Iterator[ItemValues]:
        """Yield the values of each of NAMES after a history with items ``had`` and newest items ``newest``.

        ``faded`` and ``is_last`` are the ``compute_recency_weights`` of the newest.
        """
        of_last = self.last.sum_neighbours(newest[is_last], np.ones(int(is_last.sum())))
        for found, sums in (
            of_last,
            self.near.sum_neighbours(newest, faded),
            self.lately.sum_neighbours(newest, faded),
        ):
            yield found, np.log1p(sums / (PRIOR * self.prior_I[found]))
        found, sums = self.like.sum_neighbours(had, np.ones(len(had)))
        yield found, np.log1p(np.maximum(sums, 0) / self.prior_I[found])

    def save(self, folder: Path) -> None:
        """Write a new folder, without the fashion: it is part of a served model's biases."""
        folder.mkdir()
        np.save(folder / "prior.npy", self.prior_I)
        for name in NAMES:
            for part, array in getattr(self, name)._asdict().items():
                np.save(folder / f"{name}_{part}.npy", array)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Map the files that ``save`` wrote. Raises OSError and ValueError."""
        last, near, lately, like = (
            ItemNeighbours(*(map_npy(folder / f"{name}_{part}.npy") for part in ItemNeighbours._fields))
            for name in NAMES
        )
        nothing = np.zeros((1, len(FASHION), 0), np.float32)
        return cls(map_npy(folder / "prior.npy"), last, near, lately, like, np.zeros(1, np.int64), nothing)

    def compute_staleness(self, places: Numbers) -> npt.NDArray[np.float64]:
        """Return the age in seconds of the fashion to use at each of these places: spread evenly from 0."""
        longest = min(STALE * float(self.times_M[-1] - self.times_M[0]), MOST_STALE)
        return np.asarray(longest * (GOLDEN * places % 1), np.float64)

    def get_fashion(self, at: float) -> Floats:
        """float32[F,I] Return the fashion that was known at this moment."""
        before = max(int(np.searchsorted(self.times_M, at, side="right")) - 1, 0)
        fashion_FI: Floats = self.fashion_MFI[before]
        return fashion_FI


def sum_by_item(ids: npt.NDArray[np.integer[Any]], values: npt.NDArray[Any], items: int) -> ItemValues:
    """Return each id once, ascending, and the sum of its values. An id whose sum is 0 may be left out."""
    if items <= DENSE:
        sums_I = np.asarray(np.bincount(ids, values, minlength=items), np.float64)
        found = np.flatnonzero(sums_I).astype(np.int64)
        return found, sums_I[found]
    found, places = np.unique(ids.astype(np.int64), return_inverse=True)
    return found, np.asarray(np.bincount(places, values, minlength=len(found)), np.float64)


def sample_users(histories: Histories, users: Numbers) -> Numbers:
    """Draw at most MOST_USERS of these users, with about MOST_EVENTS events."""
    shuffled = np.random.default_rng(0).permutation(users)[:MOST_USERS]
    many = int(np.searchsorted(np.cumsum(histories.lengths[shuffled]), MOST_EVENTS)) + 1
    return np.sort(shuffled[:many])


def compute_recency_weights(moment_T: Numbers) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Return (faded weights, True for the last moment) of the newest events of a history, by their moments' numbers."""
    back_T = moment_T[-1] - moment_T if len(moment_T) else moment_T
    return FADING**back_T, back_T == 0


def _count_neighbours(
    histories: Histories, places: Numbers, users: Numbers, on_block: Callable[[], None]
) -> tuple[ItemNeighbours, ItemNeighbours, ItemNeighbours]:
    """Count last, near and lately; ``places`` are those of all events of the users."""
    items_E, times_E = histories.items[places].astype(np.int64), histories.timestamps[places]
    users_E = np.repeat(np.arange(len(users)), histories.lengths[users])
    moment_E: Numbers = np.cumsum((np.diff(users_E, prepend=-1) > 0) | (np.diff(times_E, prepend=0) > 0))
    recent_E = 0.5 ** ((times_E.max(initial=0) - times_E) / DAY_SECONDS / LATELY)
    last, near, lately = (PairCounts(len(histories.item_ids)) for _ in range(3))
    for distance in range(1, NEAR + 1):
        on_block()
        same = np.flatnonzero(users_E[distance:] == users_E[:-distance])
        before, after = items_E[same], items_E[same + distance]
        apart = moment_E[same + distance] - moment_E[same]
        next_ = apart == 1
        last.add(before[next_], after[next_], np.ones(int(next_.sum())))
        weights = FADING ** np.minimum(apart, distance)
        near.add(before, after, weights)
        near.add(after, before, weights)
        visit = ~is_new_visit(times_E[same + distance] - times_E[same])
        weights = (weights * recent_E[same + distance])[visit]
        lately.add(before[visit], after[visit], weights)
        lately.add(after[visit], before[visit], weights)
    return last.neighbours, near.neighbours, lately.neighbours


def _fit_ease(users_P: Numbers, items_P: Numbers, items: int, on_block: Callable[[], None]) -> ItemNeighbours:
    """Compute EASE's weights from pairs of a user and an item of that user, each once, users ascending."""
    takers_I = np.bincount(items_P, minlength=items)
    popular = np.sort(np.argsort(-takers_I, kind="stable")[:MOST_ALIKE])
    popular = popular[takers_I[popular] > 1]
    many = min(ALIKE, len(popular))
    if not many:
        return ItemNeighbours(np.zeros(items + 1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))
    number_I = np.full(items, -1)
    number_I[popular] = np.arange(len(popular))
    known = number_I[items_P] >= 0
    gram = _compute_gram(users_P[known], number_I[items_P[known]], len(popular), on_block)
    gram[np.diag_indices_from(gram)] += RIDGE
    weights = invert_matrix(gram, on_block)
    weights /= -np.diag(weights)
    np.fill_diagonal(weights, 0)
    on_block()
    best = np.argpartition(-np.abs(weights), many - 1, axis=1)[:, :many]
    keys = np.repeat(popular, many) * items + popular[best.ravel()]
    return ItemNeighbours.from_pairs(keys, np.take_along_axis(weights, best, 1).ravel(), items, ALIKE)


def invert_matrix(matrix: Floats, on_block: Callable[[], None]) -> Floats:
    """Invert a symmetric positive definite matrix in place, by Gauss-Jordan elimination in blocks.

    numpy's inverse takes seconds, during which ``on_block`` could not stop it.
    """
    for first in range(0, len(matrix), INVERTED):
        on_block()
        block = slice(first, first + INVERTED)
        pivot = np.linalg.inv(matrix[block, block])
        rows, columns = pivot @ matrix[block], matrix[:, block].copy()
        columns[block] = 0
        matrix -= columns @ rows
        matrix[block], matrix[:, block] = rows, columns @ -pivot
        matrix[block, block] = pivot
    return matrix


def _compute_gram(users_P: Numbers, items_P: Numbers, items: int, on_block: Callable[[], None]) -> Floats:
    """float32[I,I] Count the users that took both items; users ascend."""
    gram = np.zeros((items, items), np.float32)
    for first in range(0, int(users_P.max(initial=-1)) + 1, AT_ONCE):
        on_block()
        here = slice(*np.searchsorted(users_P, [first, first + AT_ONCE]))
        took = np.zeros((AT_ONCE, items), np.float32)
        took[users_P[here] - first, items_P[here]] = 1
        gram += took.T @ took
    return gram


def _compute_fashion(
    items_E: npt.NDArray[np.int32], times_E: npt.NDArray[np.int64], items: int, on_block: Callable[[], None]
) -> tuple[Numbers, Floats]:
    """Return (times_M, fashion_MFI) of these events. Between two consecutive times lies an M-th of the events."""
    counts_I = np.bincount(items_E, minlength=items) + 1.0
    prior_I = counts_I / counts_I.sum()
    moments = max(1, min(MOST_MOMENTS, MOST_FASHIONS // items))
    times_M = np.unique(np.quantile(times_E, np.linspace(0, 1, moments + 1)[1:], method="nearest"))
    order = np.argsort(times_E, kind="stable")
    items_E, times_E = items_E[order], times_E[order]
    found = np.zeros((len(times_M), len(FASHION), items), np.float32)
    for row, days in enumerate(FASHION):
        sums_I, before, done = np.zeros(items), int(times_E[0]), 0
        for m, at in enumerate(times_M.tolist()):
            on_block()
            until = int(np.searchsorted(times_E, at, side="right"))
            sums_I *= 0.5 ** ((at - before) / DAY_SECONDS / days)
            fading = 0.5 ** ((at - times_E[done:until]) / DAY_SECONDS / days)
            sums_I += np.bincount(items_E[done:until], fading, minlength=items)
            doubt = PRIOR + DOUBT * sums_I.sum()
            shares_I = (sums_I + doubt * prior_I) / (sums_I.sum() + doubt)
            found[m, row] = np.where(counts_I > 1, np.log(shares_I / prior_I), 0.0)
            before, done = at, until
    return times_M.astype(np.int64), found
