"""How many users took both of two items: for each item the others, the most similar first. No torch.

An item's users are looked up, then these users' items are counted. That costs the sum of the squares of what each user
took, and never more memory than some blocks of it: the whole matrix does not come into being.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.data.arrays import ranges
from shared.recipes.baskets import Baskets
from shared.recipes.distribution import ahead, without

PAIRS_AT_ONCE = 2**21

DENSE = 4
"""Up to so many cells a pair, counting into an array of all cells is faster than sorting the pairs."""


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Item i's neighbours are ``items[offsets[i]:offsets[i + 1]]``, by falling weight."""

    offsets: npt.NDArray[np.int64]
    """[I + 1]"""
    items: npt.NDArray[np.int32]
    """[N]"""
    weights: npt.NDArray[np.float32]
    """[N] above 0"""

    def of(self, item: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """Its neighbours and their weights."""
        begin, end = self.offsets[item : item + 2].tolist()
        return self.items[begin:end], self.weights[begin:end]


def related_scores(
    near: Neighbours, popularity_I: npt.NDArray[np.floating[Any]], item: int | None
) -> npt.NDArray[np.float32]:
    """float32[I]: a distribution, the item's neighbours first, then the rest by popularity; None: an unknown item."""
    weights_I = np.zeros(len(popularity_I))
    if item is None:
        return ahead(weights_I, popularity_I)
    items, weights = near.of(item)
    weights_I[items] = weights
    return without(ahead(weights_I, popularity_I), item)


def neighbours(
    baskets: Baskets,
    *,
    discount: float,
    fewest: int,
    most: int,
    on_block: Callable[[], None] = lambda: None,
) -> Neighbours:
    """Up to ``most`` neighbours of each item, of those that at least ``fewest`` (and one) users took with it.

    The weight of j to i is n_ij / n_j^discount, from the users n_ij of both and n_j of j. For a given i it orders like
    freq(ij) / (freq(i) * freq(j)^alpha) of Deshpande and Karypis, Item-Based Top-N Recommendation Algorithms (ACM
    TOIS 22, 2004): at 0 the popular items win, at 1 what i's users took and others did not.
    """
    against_I = np.maximum(baskets.takers, 1) ** -discount
    sizes, items, weights = [0], [np.zeros(0, np.int32)], [np.zeros(0, np.float32)]
    for item, near, counts in cointeractions(baskets, on_block):
        enough = (counts >= fewest) & (near != item)
        weights_N = counts[enough] * against_I[near[enough]]
        nearest = np.argsort(-weights_N, kind="stable")[:most]
        sizes.append(len(nearest))
        items.append(near[enough][nearest].astype(np.int32))
        weights.append(weights_N[nearest].astype(np.float32))
    return Neighbours(np.cumsum(sizes), np.concatenate(items), np.concatenate(weights))


def cointeractions(
    baskets: Baskets, on_block: Callable[[], None] = lambda: None
) -> Iterator[tuple[int, npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Of each item in turn: (i, the items that users of i took, i among them; how many of these users took each)."""
    item_count = baskets.item_count
    lengths_U = np.diff(baskets.offsets)
    by_item_P = np.argsort(baskets.items, kind="stable")
    users_P = np.repeat(np.arange(len(lengths_U)), lengths_U)[by_item_P]
    starts_I = np.concatenate([[0], np.cumsum(baskets.takers)])
    pairs_I = np.concatenate([[0], np.cumsum(lengths_U[users_P])])[starts_I]
    first = 0
    while first < item_count:
        last = int(np.searchsorted(pairs_I, pairs_I[first] + PAIRS_AT_ONCE, side="right")) - 1
        last = max(last, first + 1)
        rows = np.repeat(np.arange(last - first), np.diff(starts_I[first : last + 1]))
        users = users_P[starts_I[first] : starts_I[last]]
        cells = counts = np.zeros(0, np.int64)
        for some in _pieces(lengths_U[users]):
            on_block()
            taken = baskets.items[ranges(baskets.offsets[users[some]], lengths_U[users[some]])]
            more = np.repeat(rows[some], lengths_U[users[some]]) * item_count + taken
            cells, counts = _counted(more, (last - first) * item_count, cells, counts)
        edges = np.searchsorted(cells, np.arange(last - first + 1) * item_count)
        for row, (begin, end) in enumerate(itertools.pairwise(edges.tolist())):
            yield first + row, cells[begin:end] - row * item_count, counts[begin:end]
        first = last


def _counted(
    more: npt.NDArray[np.int64], size: int, cells: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The cells below ``size`` that are met, ascending, and how often: ``more``, and those counted before."""
    if size <= DENSE * len(more):
        counts_C = np.bincount(more, minlength=size)
        counts_C[cells] += counts
        met = np.flatnonzero(counts_C)
        return met, counts_C[met]
    met, places = np.unique(np.concatenate([cells, more]), return_inverse=True)
    weights = np.concatenate([counts, np.ones(len(more), np.int64)])
    return met, np.bincount(places, weights, minlength=len(met)).astype(np.int64)


def _pieces(lengths: npt.NDArray[np.int64]) -> Iterator[slice]:
    """Slices of about PAIRS_AT_ONCE in sum: one item may have millions of users."""
    sums = np.cumsum(lengths)
    first = 0
    while first < len(lengths):
        before = int(sums[first - 1]) if first else 0
        last = max(int(np.searchsorted(sums, before + PAIRS_AT_ONCE, side="right")), first + 1)
        yield slice(first, last)
        first = last
