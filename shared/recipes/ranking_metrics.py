"""precision@k, NDCG@k, mean reciprocal rank and coverage by AWS's definitions: functions of arrays.

Q queries (one per test user), K positions of the longest list. ``hits_QK`` is true where the item at this position is
one of the items held out. Positions count from 1.
Source: the developer guide's page on evaluating a solution version.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Hits = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.integer[Any]]
Gains = npt.NDArray[np.floating[Any]]

LONGEST = 25
"""Positions that AWS's metrics count, at most."""


def compute_precision(hits_QK: Hits, k: int) -> float:
    """Return the relevant items in the top k divided by k, even where the list is shorter; the mean over queries."""
    return float(hits_QK[:, :k].sum() / (len(hits_QK) * k))


def compute_mean_reciprocal_rank(hits_QK: Hits, k: int = LONGEST) -> float:
    """Return the mean over queries of 1 / position of the first hit in the top k; 0 where there is none."""
    top_QK = hits_QK[:, :k]
    # The lists are empty where the catalogue has one item, which is related to no other.
    return float((top_QK / np.arange(1, top_QK.shape[1] + 1)).max(axis=1, initial=0.0).mean())


def compute_ndcg(hits_QK: Hits, relevant_Q: Counts, k: int) -> float:
    """Return the mean over queries of DCG / ideal DCG, with DCG = sum over hits of 1 / log2(1 + position).

    ``relevant_Q`` counts all held-out items of a query, found or not: the ideal has min(relevant, k) hits.
    """
    discounts_K = 1.0 / np.log2(np.arange(2, k + 2))
    top_QK = hits_QK[:, :k]
    gains_Q = top_QK @ discounts_K[: top_QK.shape[1]]
    ideals_Q = np.cumsum(discounts_K)[np.minimum(relevant_Q, k) - 1]
    return float((gains_Q / ideals_Q).mean())


def compute_single_target_ndcg(rank_Q: Counts, k: int = LONGEST) -> npt.NDArray[np.float64]:
    """float64[Q]: the NDCG of queries with one relevant item, which has this rank."""
    return np.where(rank_Q <= k, 1.0 / np.log2(1.0 + rank_Q), 0.0)


def compute_coverage(recommended: npt.NDArray[np.integer[Any]], items: int) -> float:
    """Return the distinct items of all lists divided by the number of items."""
    return float(len(np.unique(recommended)) / items)


def compute_precision_and_recall_by_item(
    hits_QK: Hits, recommended_QK: npt.NDArray[np.integer[Any]], wanted_I: Counts, k: int
) -> tuple[float, float]:
    """Return the mean precision of the items that were shown, and the mean recall of the items held out; 0 of none.

    An item in the top k of 100 queries that was a hit in 60 of them has a precision of 0.6. ``wanted_I`` counts the
    queries in which each item was held out.
    """
    top_QK, hits_QK = recommended_QK[:, :k], hits_QK[:, :k]
    shown_I = np.bincount(top_QK.ravel(), minlength=len(wanted_I))
    found_I = np.bincount(top_QK[hits_QK], minlength=len(wanted_I))
    precision, recall = (
        float((found_I[of_I > 0] / of_I[of_I > 0]).mean()) if of_I.any() else 0.0 for of_I in (shown_I, wanted_I)
    )
    return precision, recall


def compute_segment_metrics(
    users_IN: npt.NDArray[np.integer[Any]], taken: npt.NDArray[np.integer[Any]], users: int
) -> dict[str, float]:
    """Return AWS's metrics of user segments. ``users_IN`` holds the N users predicted for each item, out of ``users``.

    ``taken`` is int64[P,2], the pairs (item, user) held out, each once. Hits are the users of a segment that took its
    item; recall divides them by all users that took it; both are means over the items with a taker. AWS does not
    define coverage here: we return the share of the users that are in a segment.
    """
    codes_IN = np.arange(len(users_IN))[:, None] * users + users_IN
    hits_I = np.isin(codes_IN, taken[:, 0] * users + taken[:, 1]).sum(axis=1)
    takers_I = np.bincount(taken[:, 0], minlength=len(users_IN))
    wanted_I = takers_I > 0
    found = {
        "coverage": compute_coverage(users_IN, users),
        "hits_at_1_percent": float(hits_I[wanted_I].mean()),
        "recall_at_1_percent": float((hits_I[wanted_I] / takers_I[wanted_I]).mean()),
    }
    return {key: round(value, 4) for key, value in found.items()}


def compute_average_rewards(gains_QK: Gains, possible_QK: Gains) -> float:
    """Return the rewards of the hits divided by the greatest rewards that a list could have; the mean over queries.

    ``gains_QK`` is the reward of the item at each position, 0 where it is no hit; ``possible_QK`` holds the greatest
    rewards of all held-out items of a query, in falling order and padded with 0. AWS divides by the rewards of the
    interactions with recommendations, and does not say how many these are.
    """
    return _compute_share_of_ideal(gains_QK, possible_QK, np.ones(possible_QK.shape[1]))


def compute_weighted_ndcg(gains_QK: Gains, possible_QK: Gains) -> float:
    """``compute_ndcg`` in which a hit counts as much as its event weighs; arguments as of ``compute_average_rewards``.

    Only the ratios of the weights matter.
    """
    return _compute_share_of_ideal(gains_QK, possible_QK, 1.0 / np.log2(np.arange(2, possible_QK.shape[1] + 2)))


def _compute_share_of_ideal(gains_QK: Gains, possible_QK: Gains, discounts_K: Gains) -> float:
    """Return the mean over the queries with anything to gain; 0 where there are none."""
    ideals_Q = possible_QK @ discounts_K
    gained_Q = gains_QK @ discounts_K[: gains_QK.shape[1]]
    counted = ideals_Q > 0
    return float((gained_Q[counted] / ideals_Q[counted]).mean()) if counted.any() else 0.0


def compute_metrics(
    hits_QK: Hits, relevant_Q: Counts, recommended_QK: npt.NDArray[np.integer[Any]], items: int
) -> dict[str, float]:
    """Return AWS's eight metrics under AWS's keys, rounded to 4 decimals as GetSolutionMetrics answers them.

    ``recommended_QK`` holds the item numbers of the top 25 (fewer only where the catalogue has fewer), ``relevant_Q``
    counts the items held out (at least 1), ``items`` is the size of the catalogue.
    """
    metrics = {
        "coverage": compute_coverage(recommended_QK, items),
        "mean_reciprocal_rank_at_25": compute_mean_reciprocal_rank(hits_QK, 25),
    }
    for k in (5, 10, 25):
        metrics[f"normalized_discounted_cumulative_gain_at_{k}"] = compute_ndcg(hits_QK, relevant_Q, k)
        metrics[f"precision_at_{k}"] = compute_precision(hits_QK, k)
    return {key: round(value, 4) for key, value in sorted(metrics.items())}


def compute_next_item_metrics(
    rank_Q: Counts, user_Q: Counts, *, shown: int, items: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Return AWS's eight metrics of queries with one relevant item each, and their standard errors.

    ``rank_Q`` is the position of that item, any number above 25 where it is not in the list. ``user_Q`` is the user of
    each query: the queries of one user are not independent, so the errors are those of means over users. ``shown``
    counts the distinct items of all lists. The error of coverage is given as 0.
    """
    values = {
        "mean_reciprocal_rank_at_25": np.where(rank_Q <= LONGEST, 1.0 / rank_Q, 0.0),
        **{
            key: value_Q
            for k in (5, 10, 25)
            for key, value_Q in (
                (f"normalized_discounted_cumulative_gain_at_{k}", compute_single_target_ndcg(rank_Q, k)),
                (f"precision_at_{k}", (rank_Q <= k) / k),
            )
        },
    }
    found = {"coverage": shown / items, **{key: float(value_Q.mean()) for key, value_Q in values.items()}}
    errors = {"coverage": 0.0}
    for key, value_Q in values.items():
        by_user = np.bincount(user_Q, value_Q - found[key])
        errors[key] = float(np.sqrt((by_user**2).sum()) / len(value_Q))
    return dict(sorted(found.items())), dict(sorted(errors.items()))
