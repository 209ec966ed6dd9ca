"""precision@k, NDCG@k, mean reciprocal rank and coverage by AWS's definitions: functions of arrays.

Q queries (one per test user), K positions of the longest list. ``hits_QK`` is bool: was the item at this position one
of those held out? Positions count from 1.
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
"""Positions that the longest of AWS's metrics looks at."""


def compute_precision(hits_QK: Hits, k: int) -> float:
    """Relevant items in the top k over k, never over the length of the list; the mean over queries."""
    return float(hits_QK[:, :k].sum() / (len(hits_QK) * k))


def compute_mean_reciprocal_rank(hits_QK: Hits, k: int = LONGEST) -> float:
    """The mean over queries of 1 / position of the first hit in the top k; 0 where there is none."""
    top_QK = hits_QK[:, :k]
    # The lists may be empty: nothing is related to an item that is the only one.
    return float((top_QK / np.arange(1, top_QK.shape[1] + 1)).max(axis=1, initial=0.0).mean())


def compute_ndcg(hits_QK: Hits, relevant_Q: Counts, k: int) -> float:
    """DCG / ideal DCG, DCG = sum over hits of 1 / log2(1 + position); the mean over queries.

    ``relevant_Q`` counts all held-out items of a query, found or not: the ideal has min(relevant, k) hits.
    """
    discounts_K = 1.0 / np.log2(np.arange(2, k + 2))
    top_QK = hits_QK[:, :k]
    gains_Q = top_QK @ discounts_K[: top_QK.shape[1]]
    ideals_Q = np.cumsum(discounts_K)[np.minimum(relevant_Q, k) - 1]
    return float((gains_Q / ideals_Q).mean())


def compute_single_target_ndcg(rank_Q: Counts, k: int = LONGEST) -> npt.NDArray[np.float64]:
    """[Q] ``normalized_discounted_cumulative_gain`` where a query wants one item, which has this rank."""
    return np.where(rank_Q <= k, 1.0 / np.log2(1.0 + rank_Q), 0.0)


def compute_coverage(recommended: npt.NDArray[np.integer[Any]], items: int) -> float:
    """Distinct items over all lists, over the number of items there are."""
    return float(len(np.unique(recommended)) / items)


def compute_precision_and_recall_by_item(
    hits_QK: Hits, recommended_QK: npt.NDArray[np.integer[Any]], wanted_I: Counts, k: int
) -> tuple[float, float]:
    """Precision and recall of each item, as the mean over the items that were shown, and over those wanted; 0 of none.

    An item that the top k of 100 queries showed and that was a hit in 60 of them has a precision of 0.6. ``wanted_I``
    is in how many queries each item was held out.
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
    """AWS's metrics of user segments: ``users_IN`` are the N users, of so many, to whom each item is foretold.

    ``taken`` are the pairs (item, user) held out, each once: int64[P,2]. Hits are the users of a segment that took its
    item, and recall is these over all that took it; both are means over the items that somebody took. AWS does not
    say what coverage is of: here it is the share of the users that are in a segment.
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
    """What the items of the lists that were taken bring in, over what those held out could; the mean over queries.

    ``gains_QK`` is the reward of the item at each position, 0 where it is no hit; ``possible_QK`` are the greatest
    rewards of all held-out items of a query, falling, and filled up with 0. AWS divides by the rewards of the
    interactions with recommendations, without telling how many these are; here by the most that a list could bring.
    """
    return _compute_share_of_ideal(gains_QK, possible_QK, np.ones(possible_QK.shape[1]))


def compute_weighted_ndcg(gains_QK: Gains, possible_QK: Gains) -> float:
    """``normalized_discounted_cumulative_gain`` where a hit counts what its event is worth, as in ``average_rewards``.

    Only the ratio of the gains acts.
    """
    return _compute_share_of_ideal(gains_QK, possible_QK, 1.0 / np.log2(np.arange(2, possible_QK.shape[1] + 2)))


def _compute_share_of_ideal(gains_QK: Gains, possible_QK: Gains, discounts_K: Gains) -> float:
    """The mean over the queries where there is something to gain; 0 where there are none."""
    ideals_Q = possible_QK @ discounts_K
    gained_Q = gains_QK @ discounts_K[: gains_QK.shape[1]]
    counted = ideals_Q > 0
    return float((gained_Q[counted] / ideals_Q[counted]).mean()) if counted.any() else 0.0


def compute_metrics(
    hits_QK: Hits, relevant_Q: Counts, recommended_QK: npt.NDArray[np.integer[Any]], items: int
) -> dict[str, float]:
    """AWS's eight metrics under AWS's keys, rounded to 4 decimals as GetSolutionMetrics answers them.

    ``recommended_QK`` are the item numbers of the top 25 (fewer only where the catalogue has fewer),
    ``relevant_Q`` how many items were held out (at least 1), ``items`` the size of the catalogue.
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
    """AWS's eight metrics where each query wants one item, and their standard errors.

    ``rank_Q`` is the place of that item, anything above 25 where it is not in the list; ``user_Q`` whose query it is:
    the queries of one user are not independent, so the errors are those of means over users. ``shown`` are the
    distinct items of all lists. Coverage has no error to tell: 0.
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
