"""Counts the users of both of two items, and ranks for each item the items taken with it. Needs no torch.

The items of each item's users are counted, block by block. The time is the sum of the squares of the users' numbers of
items, and the memory that of a few blocks: the whole matrix is never built.

Shapes: U users, P pairs of a user and an item, I items, N neighbors in all.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.data.arrays.npy_files import expand_ranges
from shared.recipes.baskets import Baskets
from shared.recipes.distribution import hide_items, rank_weighted_first

PAIRS_AT_ONCE = 2**21

DENSE = 4
"""With up to this many cells a pair, counting into an array of all cells is faster than sorting the pairs."""

SAMPLED = 400
"""Items from which ``estimate_doubt`` estimates how much co-interactions vary."""

LEAST_DOUBT, MOST_DOUBT = 3.0, 50.0
"""In users. With less, a few users of two rare items outweigh popular items; with more, popularity decides alone."""

MOST_DISCOUNT = 0.99
"""The greatest discount of popularity, so that popularity still breaks ties."""


@dataclass(frozen=True, eq=False)
class ItemNeighbors:
    """Item i's neighbors ``items[offsets[i]:offsets[i + 1]]`` by falling weight, and the weights of all other items.

    Older models hold the first three arrays alone: their neighbors rank before all other items.
    """

    offsets: npt.NDArray[np.int64]
    """[I + 1]"""
    items: npt.NDArray[np.int32]
    """[N]"""
    weights: npt.NDArray[np.float32]
    """[N] above 0"""
    prior: npt.NDArray[np.float32] | None = None
    """[I] The weight of an item for an item that says nothing about it: its discounted popularity."""
    rows: npt.NDArray[np.float32] | None = None
    """[I]"""
    columns: npt.NDArray[np.float32] | None = None
    """[I] rows[i] * columns[j] is the expected number of users of both i and j, in units of the doubt."""

    def get_neighbors(self, item: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """Return the neighbors of an item and their weights."""
        begin, end = self.offsets[item : item + 2].tolist()
        return self.items[begin:end], self.weights[begin:end]

    def score_all(self, item: int, popularity_I: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
        """float32[I]: weights of all items for this item; only their order matters."""
        items, weights = self.get_neighbors(item)
        if self.prior is None or self.rows is None or self.columns is None:
            weights_I = np.zeros(len(popularity_I))
            weights_I[items] = weights
            return rank_weighted_first(weights_I, popularity_I)
        scores_I: npt.NDArray[np.float32] = self.prior / (1 + self.rows[item] * self.columns)
        scores_I[items] = weights
        return scores_I


def compute_related_scores(
    near: ItemNeighbors, popularity_I: npt.NDArray[np.floating[Any]], item: int | None
) -> npt.NDArray[np.float32]:
    """float32[I]: the distribution of the items taken with ``item``; popularity for None, an unknown item."""
    if item is None:
        return popularity_I.astype(np.float32)
    return hide_items(near.score_all(item, popularity_I), item)


def discount_popularity(popularity_I: npt.NDArray[np.floating[Any]], discount: float) -> npt.NDArray[np.float64]:
    """float64[I]: popularity ** (1 - discount), the weight of an item of which no neighbor tells anything."""
    prior_I: npt.NDArray[np.float64] = np.where(popularity_I > 0, popularity_I, 0.0) ** (
        1 - min(discount, MOST_DISCOUNT)
    )
    return prior_I


def find_neighbors(
    baskets: Baskets,
    prior_I: npt.NDArray[np.float64],
    seeds_P: npt.NDArray[np.bool_],
    *,
    fewest: int,
    most: int,
    on_block: Callable[[], None] = lambda: None,
) -> ItemNeighbors:
    """Find up to ``most`` neighbors of each item, which at least ``fewest`` (and one) users took with it.

    The weight of j for i is prior_j * (n_ij + k) / (e_ij + k), where prior_j is p_j^(1 - discount) of the popularity
    p_j; n_ij counts the users of both among the takers ``seeds_P`` of i; e_ij is that count if these users took all
    other items by popularity; and k is the doubt. The fraction says how much likelier j is than by popularity: it is
    the mean of a gamma distribution around 1, given a Poisson count (DuMouchel, Bayesian Data Mining in Large Frequency
    Tables, The American Statistician 53, 1999). With a discount of 0 the weight is the probability of j given i, with 1
    the lift of j among i's users. Where fewer than ``fewest`` users took both, n_ij counts as 0.
    """
    k = estimate_doubt(baskets, seeds_P, on_block)
    takers_I = baskets.takers
    total = int(takers_I.sum())
    rows_I = np.zeros(baskets.item_count)
    sizes, items, weights = [0], [np.zeros(0, np.int32)], [np.zeros(0, np.float32)]
    for item, near, counts in iter_cointeractions(baskets, on_block, seeds_P):
        others = near != item
        near, counts = near[others], counts[others]
        rows_I[item] = counts.sum() / max(total - takers_I[item], 1)
        enough = counts >= fewest
        near, counts = near[enough], counts[enough]
        weights_N = prior_I[near] * (counts + k) / (rows_I[item] * takers_I[near] + k)
        nearest = np.argsort(-weights_N, kind="stable")[:most]
        sizes.append(len(nearest))
        items.append(near[nearest].astype(np.int32))
        weights.append(weights_N[nearest].astype(np.float32))
    return ItemNeighbors(
        np.cumsum(sizes),
        np.concatenate(items),
        np.concatenate(weights),
        prior_I.astype(np.float32),
        (rows_I / k).astype(np.float32),
        takers_I.astype(np.float32),
    )


def estimate_doubt(
    baskets: Baskets, seeds_P: npt.NDArray[np.bool_], on_block: Callable[[], None] = lambda: None
) -> float:
    """Estimate the doubt k of ``find_neighbors``, in users: how strongly the prior pulls the counts n towards e.

    The estimate assumes that n has a variance of e + e^2 / k, in SAMPLED items, each pair with the weight 1 / (1 + e).
    A quarter of that k ranks best. If n varies by chance alone, the doubt is MOST_DOUBT.
    """
    takers_I = baskets.takers
    of_sample_I = np.zeros(baskets.item_count, np.bool_)
    of_sample_I[np.random.default_rng(0).permutation(np.flatnonzero(takers_I))[:SAMPLED]] = True
    expected, beyond = 0.0, 0.0
    for item, near, counts in iter_cointeractions(baskets, on_block, seeds_P & of_sample_I[baskets.items]):
        if not of_sample_I[item]:
            continue
        n_I, others_I = np.zeros(baskets.item_count), takers_I.astype(np.float64)
        n_I[near] = counts
        n_I[item] = others_I[item] = 0.0
        e_I = others_I * (n_I.sum() / max(others_I.sum(), 1.0))
        expected += float((e_I**2 / (1 + e_I)).sum())
        beyond += float((((n_I - e_I) ** 2 - e_I) / (1 + e_I)).sum())
    if beyond <= 0:
        return MOST_DOUBT
    return float(np.clip(expected / beyond / 4, LEAST_DOUBT, MOST_DOUBT))


def select_newest_takers(baskets: Baskets, came_U: npt.NDArray[np.integer[Any]], most: int) -> npt.NDArray[np.bool_]:
    """bool[P]: select up to ``most`` takers of each item, those with the newest events."""
    takers_I = baskets.takers
    if takers_I.max(initial=0) <= most:
        return np.ones(len(baskets.items), np.bool_)
    users_P = np.repeat(np.arange(len(came_U)), np.diff(baskets.offsets))
    by_item_P = np.lexsort((-came_U[users_P], baskets.items))
    first_I = np.cumsum(takers_I) - takers_I
    kept_P = np.zeros(len(by_item_P), np.bool_)
    kept_P[by_item_P] = np.arange(len(by_item_P)) - first_I[baskets.items[by_item_P]] < most
    return kept_P


def iter_cointeractions(
    baskets: Baskets, on_block: Callable[[], None] = lambda: None, seeds_P: npt.NDArray[np.bool_] | None = None
) -> Iterator[tuple[int, npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Yield for each item i: (i, the items that users of i took, i among them, the number of these users of each).

    With ``seeds_P`` only the users of these pairs count as users of an item.
    """
    item_count = baskets.item_count
    lengths_U = np.diff(baskets.offsets)
    by_item_P = np.argsort(baskets.items, kind="stable")
    if seeds_P is not None:
        by_item_P = by_item_P[seeds_P[by_item_P]]
    users_P = np.repeat(np.arange(len(lengths_U)), lengths_U)[by_item_P]
    starts_I = np.searchsorted(baskets.items[by_item_P], np.arange(item_count + 1))
    pairs_I = np.concatenate([[0], np.cumsum(lengths_U[users_P])])[starts_I]
    first = 0
    while first < item_count:
        last = int(np.searchsorted(pairs_I, pairs_I[first] + PAIRS_AT_ONCE, side="right")) - 1
        last = max(last, first + 1)
        rows = np.repeat(np.arange(last - first), np.diff(starts_I[first : last + 1]))
        users = users_P[starts_I[first] : starts_I[last]]
        cells = counts = np.zeros(0, np.int64)
        for some in _iter_slices(lengths_U[users]):
            on_block()
            taken = baskets.items[expand_ranges(baskets.offsets[users[some]], lengths_U[users[some]])]
            more = np.repeat(rows[some], lengths_U[users[some]]) * item_count + taken
            cells, counts = _count_cells(more, (last - first) * item_count, cells, counts)
        edges = np.searchsorted(cells, np.arange(last - first + 1) * item_count)
        for row, (begin, end) in enumerate(itertools.pairwise(edges.tolist())):
            yield first + row, cells[begin:end] - row * item_count, counts[begin:end]
        first = last


def _count_cells(
    more: npt.NDArray[np.int64], size: int, cells: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Add the cells ``more``, all below ``size``, to the counts; return the cells, ascending, and their counts."""
    if size <= DENSE * len(more):
        counts_C = np.bincount(more, minlength=size)
        counts_C[cells] += counts
        met = np.flatnonzero(counts_C)
        return met, counts_C[met]
    met, places = np.unique(np.concatenate([cells, more]), return_inverse=True)
    weights = np.concatenate([counts, np.ones(len(more), np.int64)])
    return met, np.bincount(places, weights, minlength=len(met)).astype(np.int64)


def _iter_slices(lengths: npt.NDArray[np.int64]) -> Iterator[slice]:
    """Yield slices of about PAIRS_AT_ONCE pairs, since one item may have millions of users."""
    sums = np.cumsum(lengths)
    first = 0
    while first < len(lengths):
        before = int(sums[first - 1]) if first else 0
        last = max(int(np.searchsorted(sums, before + PAIRS_AT_ONCE, side="right")), first + 1)
        yield slice(first, last)
        first = last
