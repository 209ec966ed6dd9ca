"""The evaluation of Next-Best-Action, by the actions that test users took within the period. Needs no torch.

The split is that of ``shared.recipes.evaluation``: a tenth of the users is not trained on. The newest tenth of such a
user's actions taken is to be found, as far as they lie within the period from the first of these; all earlier events of
the user are the input. Source: the developer guide, Evaluating a solution version, which gives
precision by action and no reciprocal rank. Q queries, I actions, K places.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from shared.data.arrays.histories import Histories
from shared.recipes import ranking_metrics
from shared.recipes.evaluation import TEST_SHARE, Recommend, Split


def evaluate_actions(
    recommend: Recommend, histories: Histories, split: Split, targets_E: npt.NDArray[np.bool_], period: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the metrics of ``recommend``, and of the actions taken most by users not tested; all 0 without a query.

    ``targets_E`` marks the actions taken that count; ``period`` is in seconds.
    """
    events_Q, wanted = find_queries(histories, split.test, targets_E, period)
    known_U = np.ones(len(histories.user_ids), np.bool_)
    known_U[split.test] = False
    known_E = np.repeat(known_U, histories.lengths) & targets_E
    counts_I = np.bincount(histories.items[known_E], minlength=len(histories.item_ids))
    popular_K = np.argsort(-counts_I, kind="stable")[: ranking_metrics.LONGEST]
    count = len(popular_K)
    recommended_QK = recommend(events_Q, count) if len(events_Q) else np.zeros((0, count), np.int64)
    popular_QK = np.broadcast_to(popular_K, recommended_QK.shape)
    return _compute_metrics(recommended_QK, wanted, len(counts_I)), _compute_metrics(popular_QK, wanted, len(counts_I))


def find_queries(
    histories: Histories, users: npt.NDArray[np.int64], targets_E: npt.NDArray[np.bool_], period: int
) -> tuple[npt.NDArray[np.int64], list[npt.NDArray[np.int32]]]:
    """int64[Q], the event at which each user is asked about, and the actions to be found; some users have no query."""
    events, wanted = [], []
    for user in users.tolist():
        begin, end = histories.offsets[user : user + 2].tolist()
        # The first event of a user has no earlier event as its input.
        own = np.flatnonzero(targets_E[begin + 1 : end]) + begin + 1
        if not len(own):
            continue
        held_out = own[-int(np.ceil(TEST_SHARE * len(own))) :]
        times = histories.timestamps[held_out]
        events.append(held_out[0])
        wanted.append(np.unique(histories.items[held_out[times <= times[0] + period]]))
    return np.array(events, np.int64), wanted


def _compute_metrics(
    recommended_QK: npt.NDArray[np.int64], wanted: list[npt.NDArray[np.int32]], actions: int
) -> dict[str, float]:
    if not wanted:
        recommended_QK, hits_QK, relevant_Q = np.zeros((1, 0), np.int64), np.zeros((1, 0), np.bool_), np.ones(1, int)
    else:
        hits_QK = np.array([np.isin(row_K, found) for row_K, found in zip(recommended_QK, wanted, strict=True)])
        relevant_Q = np.array([len(found) for found in wanted])
    wanted_I = np.bincount(np.concatenate([np.zeros(0, np.int32), *wanted]), minlength=actions)
    found = {"coverage": ranking_metrics.compute_coverage(recommended_QK, actions)}
    for k in (5, 10, 25):
        precision, recall = ranking_metrics.compute_precision_and_recall_by_item(hits_QK, recommended_QK, wanted_I, k)
        found[f"precision_at_{k}"] = precision
        found[f"recall_at_{k}"] = recall
        found[f"normalized_discounted_cumulative_gain_at_{k}"] = ranking_metrics.compute_ndcg(hits_QK, relevant_Q, k)
    return {key: round(value, 4) for key, value in sorted(found.items())}
