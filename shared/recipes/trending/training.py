"""Training of Trending-Now: finds the items whose interactions grow over the newest intervals."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from shared.data.arrays.histories import Histories
from shared.data.training.training_data import TrainingData
from shared.recipes.distribution import find_best_items, rank_weighted_first
from shared.recipes.popularity.training import PopularityList
from shared.recipes.single_pass_training import OnBlock, create_train_and_validate

INTERVALS = 5
"""Newest intervals that are compared, each with the one before; a rise counts half as much as the next one."""

TOP = 25
"""Items in AWS's trend prediction accuracy."""

_MINUTES = {"30 minutes": 30, "1 hour": 60, "2 hours": 120, "3 hours": 180, "1 day": 1440}


def measure_trend(
    data: TrainingData, parameters: Mapping[str, str], users: npt.NDArray[np.int64], on_block: OnBlock
) -> PopularityList:
    """``shared.recipes.single_pass_training.LearnUsers``."""
    on_block()
    return PopularityList(
        compute_trend(data.histories, users, find_newest_time(data.histories), get_interval_seconds(parameters))
    )


def measure_accuracy(data: TrainingData, parameters: Mapping[str, str], on_block: OnBlock) -> dict[str, float]:
    """``shared.recipes.single_pass_training.MoreMetrics``: ``trend_prediction_accuracy``."""
    on_block()
    found = compute_trend_accuracy(data.histories, find_newest_time(data.histories), get_interval_seconds(parameters))
    return {"trend_prediction_accuracy": round(found, 4)}


train, validate = create_train_and_validate(measure_trend, measure_accuracy)


def get_interval_seconds(parameters: Mapping[str, str]) -> int:
    return 60 * _MINUTES[parameters["trend_discovery_frequency"]]


def find_newest_time(histories: Histories) -> int:
    """Return the time of the newest event in seconds since the epoch: data imported today may be a year old."""
    return int(histories.timestamps.max())


def compute_trend(
    histories: Histories, users: npt.NDArray[np.int64], newest: int, interval: int
) -> npt.NDArray[np.float32]:
    """float32[I]: a distribution, first the items that rose until the time ``newest``, then all others by popularity.

    The rise is the growth of interactions from one interval (seconds) to the next, weighted over the newest intervals.
    """
    counts_NI = count_by_interval(histories, users, newest, interval)
    rises_I = np.zeros(counts_NI.shape[1])
    for ago, (later_I, earlier_I) in enumerate(itertools.pairwise(counts_NI)):
        rises_I += 0.5**ago * (later_I - earlier_I)
    popularity_I = _count_taken(histories, users, histories.timestamps <= newest).astype(np.float64)
    return rank_weighted_first(np.maximum(rises_I, 0), popularity_I / max(popularity_I.sum(), 1))


def count_by_interval(
    histories: Histories, users: npt.NDArray[np.int64], newest: int, interval: int
) -> npt.NDArray[np.int64]:
    """int64[INTERVALS, I]: count these users' interactions with each item in each interval, the newest first.

    The first interval ends with the second ``newest``.
    """
    ages_E = newest - histories.timestamps
    rows = [(ages_E >= row * interval) & (ages_E < (row + 1) * interval) for row in range(INTERVALS)]
    return np.stack([_count_taken(histories, users, among_E) for among_E in rows])


def _count_taken(
    histories: Histories, users: npt.NDArray[np.int64], among_E: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """int64[I]: count the interactions of these users with each item among these events."""
    events_N = np.flatnonzero(among_E)
    user_N = np.searchsorted(histories.offsets, events_N, side="right") - 1
    of_users_U = np.zeros(len(histories.user_ids), np.bool_)
    of_users_U[users] = True
    return np.bincount(histories.items[events_N[of_users_U[user_N]]], minlength=len(histories.item_ids))


def compute_trend_accuracy(histories: Histories, newest: int, interval: int) -> float:
    """Return the rise of the 25 items predicted to rise most over the greatest rise of 25 items; 0 without a rise.

    The newest interval is predicted from those before it. Source: the developer guide's page on training metrics.
    """
    users = np.flatnonzero(histories.in_training)
    now_I, before_I = count_by_interval(histories, users, newest, interval)[:2]
    rises_I = (now_I - before_I).astype(np.float64)
    foretold = find_best_items(compute_trend(histories, users, newest - interval, interval), TOP)
    most = np.maximum(np.sort(rises_I)[-TOP:], 0).sum()
    return max(float(rises_I[foretold].sum() / most), 0.0) if most else 0.0
