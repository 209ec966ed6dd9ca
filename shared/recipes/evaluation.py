"""AWS's evaluation protocol, the same for every recipe that answers a user: who tests, on what, against what.

A tenth of the users is not trained on. Of each of these the oldest 90 % of the interactions are the input and the
newest 10 % are to be found; items of the input may be recommended again, as in serving. Source: the developer
guide, Evaluating a solution version. AWS does not publish roundings and seeds: here the held-out part is rounded
up, and at least one interaction is held out and at least one is input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from shared import metrics
from shared.data.histories import Histories, TooLittleData
from shared.recipes.distribution import best

TEST_SHARE = 0.1

VALIDATION_SHARE = 0.05
MOST_VALIDATION_USERS = 2000
LEAST_VALIDATION_USERS = 5
"""Of the users that are not tested: they tell when to stop. With fewer there is no telling, and all are trained on."""

Recommend = Callable[[npt.NDArray[np.int64], int], npt.NDArray[np.int64]]
"""(events_Q, count) -> items_QK: what the user of each event is shown, best first, in the moment of that event."""


@dataclass(frozen=True)
class Split:
    """Numbers of the users to train on, to validate with and to test on. Those outside the percentiles are in none."""

    train: npt.NDArray[np.int64]
    validation: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]

    @classmethod
    def of(cls, histories: Histories, seed: int) -> Self:
        """Raises TooLittleData where there is nobody to test on, or nobody left to learn from."""
        users = np.flatnonzero(histories.in_training)
        eligible = users[histories.lengths[users] >= 2]
        if len(eligible) < 2:
            raise TooLittleData("Fewer than 2 users with at least 2 interactions are left to train and test on.")
        rng = np.random.default_rng(seed)
        size = min(max(round(TEST_SHARE * len(users)), 1), len(eligible) - 1)
        test = np.sort(rng.choice(eligible, size=size, replace=False))
        train, validation = without_validation(np.setdiff1d(users, test), rng)
        return cls(train=train, validation=validation, test=test)


def without_validation(
    users: npt.NDArray[np.int64], rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Some of the users, drawn, as validation users: (the others, these)."""
    size = min(round(VALIDATION_SHARE * len(users)), MOST_VALIDATION_USERS)
    if size < LEAST_VALIDATION_USERS:
        return users, users[:0]
    validation = np.sort(rng.choice(users, size=size, replace=False))
    return np.setdiff1d(users, validation), validation


MOST_FORETOLD = 20_000
"""Events that validation foretells at most: their mean gain is then known to about a hundredth of itself."""


def comparing(split: Split, histories: Histories) -> tuple[Split, npt.NDArray[np.int64]]:
    """The split that trials learn by, and the users that they are compared by: drawn, with about MOST_FORETOLD events.

    The split is another only where no validation user has an event to foretell: others are then not trained on.
    Raises TooLittleData.
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
    many = np.searchsorted(np.cumsum(histories.lengths[shuffled]), MOST_FORETOLD)
    return split, np.sort(shuffled[: int(many) + 1])


def foretold(
    recommend: Recommend, histories: Histories, users: npt.NDArray[np.int64]
) -> tuple[dict[str, float], dict[str, float]]:
    """(metrics, their standard errors): how well each event of these users is foretold from those before it.

    AWS's keys, but of every event and not of the newest tenth alone, so that a few users tell much.
    """
    first_U = histories.offsets[users]
    events_Q = np.concatenate(
        [np.arange(first + 1, end) for first, end in zip(first_U, histories.offsets[users + 1], strict=True)]
    )
    recommended_QK = recommend(events_Q, metrics.LONGEST)
    hits_QK = recommended_QK == histories.items[events_Q][:, None]
    # The lists may be empty: nothing is related to an item that is the only one.
    ranks_K = np.arange(1, hits_QK.shape[1] + 1)
    rank_Q = np.where(hits_QK, ranks_K, metrics.LONGEST + 1).min(axis=1, initial=metrics.LONGEST + 1)
    user_Q = np.repeat(np.arange(len(users)), histories.offsets[users + 1] - first_U - 1)
    return metrics.foretelling(rank_Q, user_Q, shown=len(np.unique(recommended_QK)), items=len(histories.item_ids))


def popularity(histories: Histories, users: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """int64[I]: interactions of these users with each item."""
    of_users = np.zeros(len(histories.user_ids), np.bool_)
    of_users[users] = True
    items = histories.items[np.repeat(of_users, histories.lengths)]
    return np.bincount(items, minlength=len(histories.item_ids))


def related(
    scores: Callable[[int], npt.NDArray[np.float32]], histories: Histories, events_Q: npt.NDArray[np.int64], count: int
) -> npt.NDArray[np.int64]:
    """``Recommend`` by recipes of related items: the item that the user of each event took before it is asked about.

    ``scores`` is float32[I] of such an item, which is not shown itself.
    """
    items, asked_Q = np.unique(histories.items[events_Q - 1], return_inverse=True)
    count = min(count, len(histories.item_ids) - 1)
    return np.stack([best(scores(item), count) for item in items.tolist()])[asked_Q]


def evaluate(
    recommend: Recommend,
    histories: Histories,
    split: Split,
    *,
    rewards_I: npt.NDArray[np.float32] | None = None,
    weights_E: npt.NDArray[np.float32] | None = None,
    newest_U: npt.NDArray[np.int64] | None = None,
) -> tuple[dict[str, float], dict[str, float]]:
    """AWS's eight metrics of ``recommend``, and of plain popularity among the users not tested.

    The moment of each request is that of the first interaction held out. With rewards, of an optimization objective,
    there is average_rewards_at_k as well, and with weights of events, of an eventsConfig, the gain that counts them.
    ``newest_U`` limits how many interactions of each user are held out, where only the newest are new to the model.
    """
    counts_I = popularity(histories, np.union1d(split.train, split.validation))
    popular_I = np.argsort(-counts_I, kind="stable")

    def recommend_popular(events_Q: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
        return np.broadcast_to(popular_I[:count], (len(events_Q), min(count, len(popular_I))))

    found, popular = (
        _evaluate(by, histories, split.test, rewards_I, weights_E, newest_U) for by in (recommend, recommend_popular)
    )
    return found, popular


def _evaluate(
    recommend: Recommend,
    histories: Histories,
    users: npt.NDArray[np.int64],
    rewards_I: npt.NDArray[np.float32] | None,
    weights_E: npt.NDArray[np.float32] | None,
    newest_U: npt.NDArray[np.int64] | None,
) -> dict[str, float]:
    begins, ends = histories.offsets[users], histories.offsets[users + 1]
    held_out = np.minimum(np.ceil(TEST_SHARE * (ends - begins)).astype(np.int64), ends - begins - 1)
    if newest_U is not None:
        held_out = np.minimum(held_out, newest_U[users])
    recommended_QK = recommend(ends - held_out, metrics.LONGEST)
    wanted = [np.unique(histories.items[end - count : end]) for end, count in zip(ends, held_out, strict=True)]
    hits_QK = np.array([np.isin(row_K, items) for row_K, items in zip(recommended_QK, wanted, strict=True)])
    relevant_Q = np.array([len(items) for items in wanted])
    found = metrics.evaluate(hits_QK, relevant_Q, recommended_QK, len(histories.item_ids))
    if rewards_I is not None:
        possible = [rewards_I[items] for items in wanted]
        gains_QK = np.where(hits_QK, rewards_I[recommended_QK], 0.0)
        found["average_rewards_at_k"] = round(metrics.average_rewards(gains_QK, _greatest(possible)), 4)
    if weights_E is not None:
        worth = [
            _worth(histories.items[end - count : end], weights_E[end - count : end], items)
            for end, count, items in zip(ends, held_out, wanted, strict=True)
        ]
        gains_QK = np.zeros(recommended_QK.shape)
        for gains_K, hits_K, recommended_K, items, worths in zip(
            gains_QK, hits_QK, recommended_QK, wanted, worth, strict=True
        ):
            gains_K[hits_K] = worths[np.searchsorted(items, recommended_K[hits_K])]
        found["normalized_discounted_cumulative_gain_with_event_weights_at_k"] = round(
            metrics.weighted_gain(gains_QK, _greatest(worth)), 4
        )
    return dict(sorted(found.items()))


def _worth(
    items_T: npt.NDArray[np.int32], weights_T: npt.NDArray[np.float32], items: npt.NDArray[np.int32]
) -> npt.NDArray[np.float64]:
    """Of each of ``items``, which rise, the greatest weight that an event with it has."""
    worth = np.zeros(len(items))
    np.maximum.at(worth, np.searchsorted(items, items_T), weights_T)
    return worth


def _greatest(gains: Sequence[npt.NDArray[np.floating[Any]]]) -> npt.NDArray[np.float64]:
    """float64[Q,LONGEST]: the greatest of each, falling, filled up with 0."""
    greatest_QK = np.zeros((len(gains), metrics.LONGEST))
    for row_K, of_query in zip(greatest_QK, gains, strict=True):
        falling = -np.sort(-of_query)[: metrics.LONGEST]
        row_K[: len(falling)] = falling
    return greatest_QK
