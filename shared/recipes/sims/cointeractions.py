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

from shared.data.arrays.npy_files import expand_ranges
from shared.recipes.baskets import Baskets
from shared.recipes.distribution import hide_items, rank_weighted_first

PAIRS_AT_ONCE = 2**21

DENSE = 4
"""Up to so many cells a pair, counting into an array of all cells is faster than sorting the pairs."""

SAMPLED = 400
"""Items by which ``doubt`` looks how much the others hang on what was taken."""

LEAST_DOUBT, MOST_DOUBT = 3.0, 50.0
"""In users. Below, a few who took two rare items beat what everybody takes; above, there is hardly but popularity."""

MOST_DISCOUNT = 0.99
"""Of popularity, so that it decides between items that are alike in all else."""


@dataclass(frozen=True, eq=False)
class ItemNeighbors:
    """Item i's neighbours are ``items[offsets[i]:offsets[i + 1]]``, by falling weight; behind is what the rest weigh.

    Older models hold the first three alone: their neighbours stand ahead of all else.
    """

    offsets: npt.NDArray[np.int64]
    """[I + 1]"""
    items: npt.NDArray[np.int32]
    """[N]"""
    weights: npt.NDArray[np.float32]
    """[N] above 0"""
    prior: npt.NDArray[np.float32] | None = None
    """[I] What an item weighs beside one that tells nothing of it."""
    rows: npt.NDArray[np.float32] | None = None
    """[I]"""
    columns: npt.NDArray[np.float32] | None = None
    """[I] rows[i] * columns[j]: how many users are expected to take j with i, in units of the doubt."""

    def get_neighbors(self, item: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """Its neighbours and their weights."""
        begin, end = self.offsets[item : item + 2].tolist()
        return self.items[begin:end], self.weights[begin:end]

    def score_all(self, item: int, popularity_I: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
        """float32[I] of which the order counts."""
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
    """float32[I]: a distribution, of what is taken with the item; None, an unknown item: of what is popular."""
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
    """Up to ``most`` neighbours of each item, of those that at least ``fewest`` (and one) users took with it.

    The weight of j to i is p_j^(1 - discount) * (n_ij + k) / (e_ij + k): the popularity p_j; the users n_ij of both,
    among the takers ``seeds_P`` of i; their number e_ij if what these took beside i were what everybody takes; and the
    doubt k. The fraction is how much likelier j is than by popularity: the mean of a gamma distribution around 1, given
    a Poisson count (DuMouchel, Bayesian Data Mining in Large Frequency Tables, The American Statistician 53, 1999). At
    a discount of 0 the weight is the probability of j where i was taken, at 1 what i's users took and others did not.
    Where fewer than ``fewest`` took both, n_ij is 0.
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
    """How many users' worth of doubt there is that two items have to do with each other.

    By how much n varies beyond chance: with a variance of e + e^2 / k, looked at in SAMPLED items, and each pair by the
    weight 1 / (1 + e). A quarter of this k does best. Where n varies by chance alone it is MOST_DOUBT.
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
    """bool[P]: up to ``most`` takers of each item, those of its users who came last."""
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
    """Of each item in turn: (i, the items that users of i took, i among them; how many of these users took each).

    ``seeds_P``: the users of an item are only those of these pairs.
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
    """The cells below ``size`` that are met, ascending, and how often: ``more``, and those counted before."""
    if size <= DENSE * len(more):
        counts_C = np.bincount(more, minlength=size)
        counts_C[cells] += counts
        met = np.flatnonzero(counts_C)
        return met, counts_C[met]
    met, places = np.unique(np.concatenate([cells, more]), return_inverse=True)
    weights = np.concatenate([counts, np.ones(len(more), np.int64)])
    return met, np.bincount(places, weights, minlength=len(met)).astype(np.int64)


def _iter_slices(lengths: npt.NDArray[np.int64]) -> Iterator[slice]:
    """Slices of about PAIRS_AT_ONCE in sum: one item may have millions of users."""
    sums = np.cumsum(lengths)
    first = 0
    while first < len(lengths):
        before = int(sums[first - 1]) if first else 0
        last = max(int(np.searchsorted(sums, before + PAIRS_AT_ONCE, side="right")), first + 1)
        yield slice(first, last)
        first = last
