"""AWS's evaluation protocol, the same for every recipe that answers a user: who tests, on what, against what.

A tenth of the users is not trained on. Of each of these the oldest 90 % of the interactions are the input and the
newest 10 % are to be found; items of the input may be recommended again, as in serving. Source: the developer
guide, Evaluating a solution version. AWS does not publish roundings and seeds: here the held-out part is rounded
up, and at least one interaction is held out and at least one is input.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from shared import metrics
from shared.data.histories import Histories, TooLittleData

TEST_SHARE = 0.1

Score = Callable[[npt.NDArray[np.int32], npt.NDArray[np.int64], float], npt.NDArray[Any]]
"""(items_T, timestamps_T, now) -> scores_I: what a user with this history is shown who asks now."""


@dataclass(frozen=True)
class Split:
    """Numbers of the users to train on and to test on. Those outside the percentiles are in neither."""

    train: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]

    @classmethod
    def of(cls, histories: Histories, seed: int) -> Self:
        """Raises TooLittleData where there is nobody to test on, or nobody left to learn from."""
        users = np.flatnonzero(histories.in_training)
        eligible = users[histories.lengths[users] >= 2]
        if len(eligible) < 2:
            raise TooLittleData("Fewer than 2 users with at least 2 interactions are left to train and test on.")
        size = min(max(round(TEST_SHARE * len(users)), 1), len(eligible) - 1)
        test = np.sort(np.random.default_rng(seed).choice(eligible, size=size, replace=False))
        return cls(train=np.setdiff1d(users, test), test=test)


def popularity(histories: Histories, users: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """int64[I]: interactions of these users with each item."""
    of_users = np.zeros(len(histories.user_ids), np.bool_)
    of_users[users] = True
    items = histories.items[np.repeat(of_users, histories.lengths)]
    return np.bincount(items, minlength=len(histories.item_ids))


def evaluate(
    score: Score, histories: Histories, split: Split, on_user: Callable[[], None]
) -> tuple[dict[str, float], dict[str, float]]:
    """AWS's eight metrics of ``score``, and of plain popularity among the users trained on.

    The moment of each request is that of the first interaction held out. ``on_user`` is called before each user.
    """
    counts_I = popularity(histories, split.train)
    return (
        _evaluate(score, histories, split.test, on_user),
        _evaluate(lambda *_: counts_I, histories, split.test, on_user),
    )


def _evaluate(
    score: Score, histories: Histories, test: npt.NDArray[np.int64], on_user: Callable[[], None]
) -> dict[str, float]:
    length = min(metrics.LONGEST, len(histories.item_ids))
    hits_QK = np.zeros((len(test), length), np.bool_)
    recommended_QK = np.zeros((len(test), length), np.int64)
    relevant_Q = np.zeros(len(test), np.int64)
    for query, user in enumerate(test):
        on_user()
        begin, end = histories.offsets[user : user + 2]
        held_out = end - min(math.ceil(TEST_SHARE * (end - begin)), end - begin - 1)
        scores_I = score(
            histories.items[begin:held_out],
            histories.timestamps[begin:held_out],
            float(histories.timestamps[held_out]),
        )
        recommended_QK[query] = np.argsort(-scores_I, kind="stable")[:length]
        wanted = np.unique(histories.items[held_out:end])
        hits_QK[query] = np.isin(recommended_QK[query], wanted)
        relevant_Q[query] = len(wanted)
    return metrics.evaluate(hits_QK, relevant_Q, recommended_QK, len(histories.item_ids))
