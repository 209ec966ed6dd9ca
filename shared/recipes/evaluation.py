"""AWS's evaluation protocol for every recipe that answers a user: the split of the users, the metrics, the baselines.

A tenth of the users is held out from training. The oldest 90 % of such a user's interactions are the input and the
newest 10 % are to be found; items of the input may be recommended again, as in serving. Source: the developer
guide, Evaluating a solution version. AWS does not publish roundings and seeds: here the held-out part is rounded
up, and at least one interaction is held out and at least one is input.

Shapes: U users, E events of all users, I items, Q queries, K places of a list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from shared.data.arrays.histories import Histories, TooLittleData
from shared.recipes import ranking_metrics
from shared.recipes.distribution import find_best_items

TEST_SHARE = 0.1

VALIDATION_SHARE = 0.1
MOST_VALIDATION_USERS = 2000
LEAST_VALIDATION_USERS = 5
"""The validation users are drawn from the users that are not tested, and decide when a fit stops. If fewer than
LEAST_VALIDATION_USERS would be drawn, there are none, and all these users are trained on."""

REPORTED = ("mean_reciprocal_rank_at_25", "normalized_discounted_cumulative_gain_at_25", "precision_at_25")
"""AWS's metrics in ``compute_report``."""

CELLS_AT_ONCE = 2**22
"""Cells of the recommendation lists that ``compute_report`` holds in memory while it removes items that users had."""

Recommend = Callable[[npt.NDArray[np.int64], int], npt.NDArray[np.int64]]
"""(events_Q, count) -> items_QK: the items shown to the user of each event, best first, at the moment of that event."""


@dataclass(frozen=True)
class Split:
    """The users to train on, to validate with and to test on, by number. Users outside the percentiles are in none."""

    train: npt.NDArray[np.int64]
    validation: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]

    @classmethod
    def draw(cls, histories: Histories, seed: int) -> Self:
        """Draw the users of each part. Raises TooLittleData unless two users have at least 2 interactions."""
        users = np.flatnonzero(histories.in_training)
        eligible = users[histories.lengths[users] >= 2]
        if len(eligible) < 2:
            raise TooLittleData("Fewer than 2 users with at least 2 interactions are left to train and test on.")
        rng = np.random.default_rng(seed)
        size = min(max(round(TEST_SHARE * len(users)), 1), len(eligible) - 1)
        test = np.sort(rng.choice(eligible, size=size, replace=False))
        train, validation = split_validation(np.setdiff1d(users, test), rng)
        return cls(train=train, validation=validation, test=test)


def split_validation(
    users: npt.NDArray[np.int64], rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Draw validation users from these users; return (the users that remain, the validation users)."""
    size = min(round(VALIDATION_SHARE * len(users)), MOST_VALIDATION_USERS)
    if size < LEAST_VALIDATION_USERS:
        return users, users[:0]
    validation = np.sort(rng.choice(users, size=size, replace=False))
    return np.setdiff1d(users, validation), validation


MOST_COMPARED = 20_000
"""Events by which trials are compared, at most: enough to know their mean NDCG to about 1 %."""


def split_for_trials(split: Split, histories: Histories) -> tuple[Split, npt.NDArray[np.int64]]:
    """Return the split by which trials learn, and users to compare them by, with about MOST_COMPARED events in all.

    These users are drawn from the validation users. Only where none of these has 2 interactions, a tenth of the
    training users becomes the validation users of a new split. Raises TooLittleData.
    """
    able = split.validation[histories.lengths[split.validation] >= 2]
    if not len(able):
        learning = np.union1d(split.train, split.validation)
        eligible = learning[histories.lengths[learning] >= 2]
        if len(eligible) < 2:
            raise TooLittleData("Fewer than 3 users with at least 2 interactions are left to compare trainings by.")
        drawn = np.random.default_rng(0).choice(eligible, size=max(round(TEST_SHARE * len(eligible)), 1), replace=False)
        able = np.sort(drawn)
        split = replace(split, train=np.setdiff1d(learning, able), validation=able)
    shuffled = np.random.default_rng(0).permutation(able)
    many = np.searchsorted(np.cumsum(histories.lengths[shuffled]), MOST_COMPARED)
    return split, np.sort(shuffled[: int(many) + 1])


def measure_next_item(
    recommend: Recommend, histories: Histories, users: npt.NDArray[np.int64]
) -> tuple[dict[str, float], dict[str, float]]:
    """Measure how well each event of these users is predicted from the earlier ones; (metrics, their standard errors).

    The keys are AWS's, but every event counts and not only the newest tenth, so that a few users suffice.
    """
    first_U = histories.offsets[users]
    events_Q = np.concatenate(
        [np.arange(first + 1, end) for first, end in zip(first_U, histories.offsets[users + 1], strict=True)]
    )
    recommended_QK = recommend(events_Q, ranking_metrics.LONGEST)
    hits_QK = recommended_QK == histories.items[events_Q][:, None]
    # The lists are empty where the catalogue has one item, which is related to no other.
    ranks_K = np.arange(1, hits_QK.shape[1] + 1)
    rank_Q = np.where(hits_QK, ranks_K, ranking_metrics.LONGEST + 1).min(axis=1, initial=ranking_metrics.LONGEST + 1)
    user_Q = np.repeat(np.arange(len(users)), histories.offsets[users + 1] - first_U - 1)
    return ranking_metrics.compute_next_item_metrics(
        rank_Q, user_Q, shown=len(np.unique(recommended_QK)), items=len(histories.item_ids)
    )


def count_interactions(histories: Histories, users: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """int64[I]: count the interactions of these users with each item."""
    of_users = np.zeros(len(histories.user_ids), np.bool_)
    of_users[users] = True
    items = histories.items[np.repeat(of_users, histories.lengths)]
    return np.bincount(items, minlength=len(histories.item_ids))


def recommend_related(
    scores: Callable[[int], npt.NDArray[np.float32]], histories: Histories, events_Q: npt.NDArray[np.int64], count: int
) -> npt.NDArray[np.int64]:
    """``Recommend`` for recipes of related items: the request is for the item of the user's event before each event.

    ``scores(item)`` is float32[I], in which that item itself is hidden.
    """
    items, asked_Q = np.unique(histories.items[events_Q - 1], return_inverse=True)
    count = min(count, len(histories.item_ids) - 1)
    return np.stack([find_best_items(scores(item), count) for item in items.tolist()])[asked_Q]


def evaluate_recommender(
    recommend: Recommend,
    histories: Histories,
    split: Split,
    *,
    rewards_I: npt.NDArray[np.float32] | None = None,
    weights_E: npt.NDArray[np.float32] | None = None,
    newest_U: npt.NDArray[np.int64] | None = None,
) -> tuple[dict[str, float], dict[str, float]]:
    """Return AWS's eight metrics of ``recommend``, and of plain popularity among the users that are not tested.

    The moment of each request is that of the first interaction held out. The rewards of an optimization objective
    add ``average_rewards_at_k``, and the event weights of an eventsConfig add the NDCG that counts them.
    ``newest_U`` limits how many interactions of each user are held out, where only the newest are new to the model.
    """
    found, popular = (
        _measure_recommendations(by, histories, split.test, rewards_I, weights_E, newest_U)
        for by in (recommend, _recommend_popular(_rank_by_popularity(histories, split)))
    )
    return found, popular


def compute_report(
    recommend: Recommend,
    histories: Histories,
    split: Split,
    measured: tuple[dict[str, float], dict[str, float]],
    newest_U: npt.NDArray[np.int64] | None = None,
) -> dict[str, Any]:
    """Return ``training_api.Trained.report``: ``recommend``, popularity and personal frequency, in two views.

    ``measured`` is the result of ``evaluate_recommender`` for the same arguments: the raw view of the first two.
    """
    popular_I = _rank_by_popularity(histories, split)
    frequent = _measure_recommendations(
        _recommend_frequent(popular_I, histories), histories, split.test, None, None, newest_U
    )
    by_name = zip(("model", "popularity", "personal_frequency"), (*measured, frequent), strict=True)
    return {
        "raw": {
            "users": len(split.test),
            **{name: {key: found[key] for key in REPORTED} for name, found in by_name},
        },
        "unseen": _report_unseen(recommend, _recommend_popular(popular_I), histories, split.test, newest_U),
    }


def _rank_by_popularity(histories: Histories, split: Split) -> npt.NDArray[np.int64]:
    """int64[I]: all items, in falling order of the interactions of the users that are not tested."""
    counts_I = count_interactions(histories, np.union1d(split.train, split.validation))
    return np.argsort(-counts_I, kind="stable")


def _recommend_popular(popular_I: npt.NDArray[np.int64]) -> Recommend:
    def recommend(events_Q: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
        return np.broadcast_to(popular_I[:count], (len(events_Q), min(count, len(popular_I))))

    return recommend


def _recommend_frequent(popular_I: npt.NDArray[np.int64], histories: Histories) -> Recommend:
    """Recommend each user's own items by how often the user took them, ties by popularity; then the popular items."""
    rank_I = np.argsort(popular_I)
    begins_U = histories.offsets[:-1]

    def recommend(events_Q: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
        begins_Q = begins_U[np.searchsorted(begins_U, events_Q, side="right") - 1]
        best_QK = np.zeros((len(events_Q), min(count, len(popular_I))), np.int64)
        others_I = np.ones(len(popular_I), np.bool_)
        for best_K, begin, event in zip(best_QK, begins_Q, events_Q, strict=True):
            own, taken = np.unique(histories.items[begin:event], return_counts=True)
            others_I[own] = False
            popular_K = popular_I[:count]
            own_first = (own[np.lexsort((rank_I[own], -taken))], popular_K[others_I[popular_K]])
            best_K[:] = np.concatenate(own_first)[: len(best_K)]
            others_I[own] = True
        return best_QK

    return recommend


class UnseenQuery(NamedTuple):
    """A request at an event from which on a user takes items that are new to that user."""

    event: int
    had: npt.NDArray[np.int32]
    """The items taken before, each once."""
    wanted: npt.NDArray[np.int32]
    """The items held out that are not among these, each once."""


def _report_unseen(
    recommend: Recommend,
    recommend_popular: Recommend,
    histories: Histories,
    users: npt.NDArray[np.int64],
    newest_U: npt.NDArray[np.int64] | None,
) -> dict[str, Any] | None:
    """Return the ``unseen`` view of the report; None where no user takes a new item."""
    queries = _collect_unseen_queries(histories, users, newest_U)
    if not queries:
        return None
    relevant_Q = np.array([len(query.wanted) for query in queries])
    model, popular = (
        _compute_reported(_find_unseen_hits(by, queries, len(histories.item_ids)), relevant_Q)
        for by in (recommend, recommend_popular)
    )
    # Without the user's own items personal frequency is popularity.
    return {"users": len(queries), "model": model, "popularity": popular, "personal_frequency": popular}


def _collect_unseen_queries(
    histories: Histories, users: npt.NDArray[np.int64], newest_U: npt.NDArray[np.int64] | None
) -> list[UnseenQuery]:
    ends_U = histories.offsets[users + 1]
    events_U = ends_U - _count_held_out(histories, users, newest_U)
    queries = []
    for begin, event, end in zip(histories.offsets[users], events_U, ends_U, strict=True):
        had = np.unique(histories.items[begin:event])
        wanted = np.setdiff1d(histories.items[event:end], had)
        if len(wanted):
            queries.append(UnseenQuery(event, had, wanted))
    return queries


def _find_unseen_hits(recommend: Recommend, queries: Sequence[UnseenQuery], items: int) -> npt.NDArray[np.bool_]:
    """bool[Q,LONGEST]: hits among the new items. Longer lists are requested, by the items that are removed."""
    events_Q = np.array([query.event for query in queries])
    sizes_Q = np.array([ranking_metrics.LONGEST + len(query.had) for query in queries])
    hits_QK = np.zeros((len(queries), ranking_metrics.LONGEST), np.bool_)
    new_I, wanted_I = np.ones(items, np.bool_), np.zeros(items, np.bool_)
    for part in _iter_parts(sizes_Q):
        recommended_PK = recommend(events_Q[part], int(sizes_Q[part].max()))
        for place, row_K in zip(part, recommended_PK, strict=True):
            _, had, wanted = queries[place]
            new_I[had], wanted_I[wanted] = False, True
            shown = row_K[new_I[row_K]][: ranking_metrics.LONGEST]
            hits_QK[place, : len(shown)] = wanted_I[shown]
            new_I[had], wanted_I[wanted] = True, False
    return hits_QK


def _iter_parts(sizes_Q: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
    """Yield all places in Q in parts whose lists, each as long as the longest, have about CELLS_AT_ONCE cells."""
    order_Q = np.argsort(-sizes_Q, kind="stable")
    while len(order_Q):
        count = max(1, CELLS_AT_ONCE // int(sizes_Q[order_Q[0]]))
        yield order_Q[:count]
        order_Q = order_Q[count:]


def _compute_reported(hits_QK: npt.NDArray[np.bool_], relevant_Q: npt.NDArray[np.int64]) -> dict[str, float]:
    found = (
        ranking_metrics.compute_mean_reciprocal_rank(hits_QK),
        ranking_metrics.compute_ndcg(hits_QK, relevant_Q, ranking_metrics.LONGEST),
        ranking_metrics.compute_precision(hits_QK, ranking_metrics.LONGEST),
    )
    return {key: round(value, 4) for key, value in zip(REPORTED, found, strict=True)}


def _count_held_out(
    histories: Histories, users: npt.NDArray[np.int64], newest_U: npt.NDArray[np.int64] | None
) -> npt.NDArray[np.int64]:
    """int64[U]: count the interactions of each of these users that are held out."""
    lengths = histories.lengths[users]
    held_out: npt.NDArray[np.int64] = np.minimum(np.ceil(TEST_SHARE * lengths).astype(np.int64), lengths - 1)
    if newest_U is not None:
        held_out = np.minimum(held_out, newest_U[users])
    return held_out


def _measure_recommendations(
    recommend: Recommend,
    histories: Histories,
    users: npt.NDArray[np.int64],
    rewards_I: npt.NDArray[np.float32] | None,
    weights_E: npt.NDArray[np.float32] | None,
    newest_U: npt.NDArray[np.int64] | None,
) -> dict[str, float]:
    ends, held_out = histories.offsets[users + 1], _count_held_out(histories, users, newest_U)
    recommended_QK = recommend(ends - held_out, ranking_metrics.LONGEST)
    wanted = [np.unique(histories.items[end - count : end]) for end, count in zip(ends, held_out, strict=True)]
    hits_QK = np.array([np.isin(row_K, items) for row_K, items in zip(recommended_QK, wanted, strict=True)])
    relevant_Q = np.array([len(items) for items in wanted])
    found = ranking_metrics.compute_metrics(hits_QK, relevant_Q, recommended_QK, len(histories.item_ids))
    if rewards_I is not None:
        possible = [rewards_I[items] for items in wanted]
        gains_QK = np.where(hits_QK, rewards_I[recommended_QK], 0.0)
        found["average_rewards_at_k"] = round(
            ranking_metrics.compute_average_rewards(gains_QK, _sort_greatest(possible)), 4
        )
    if weights_E is not None:
        worth = [
            _find_greatest_weights(histories.items[end - count : end], weights_E[end - count : end], items)
            for end, count, items in zip(ends, held_out, wanted, strict=True)
        ]
        gains_QK = np.zeros(recommended_QK.shape)
        for gains_K, hits_K, recommended_K, items, worths in zip(
            gains_QK, hits_QK, recommended_QK, wanted, worth, strict=True
        ):
            gains_K[hits_K] = worths[np.searchsorted(items, recommended_K[hits_K])]
        found["normalized_discounted_cumulative_gain_with_event_weights_at_k"] = round(
            ranking_metrics.compute_weighted_ndcg(gains_QK, _sort_greatest(worth)), 4
        )
    return dict(sorted(found.items()))


def _find_greatest_weights(
    items_T: npt.NDArray[np.int32], weights_T: npt.NDArray[np.float32], items: npt.NDArray[np.int32]
) -> npt.NDArray[np.float64]:
    """Return for each of ``items``, sorted, the greatest weight of its events."""
    worth = np.zeros(len(items))
    np.maximum.at(worth, np.searchsorted(items, items_T), weights_T)
    return worth


def _sort_greatest(gains: Sequence[npt.NDArray[np.floating[Any]]]) -> npt.NDArray[np.float64]:
    """float64[Q,LONGEST]: the greatest gains of each query in falling order, padded with 0."""
    greatest_QK = np.zeros((len(gains), ranking_metrics.LONGEST))
    for row_K, of_query in zip(greatest_QK, gains, strict=True):
        falling = -np.sort(-of_query)[: ranking_metrics.LONGEST]
        row_K[: len(falling)] = falling
    return greatest_QK
