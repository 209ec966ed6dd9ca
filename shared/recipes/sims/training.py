"""Training of SIMS: applies the percentiles, and finds the neighbors of each item by co-interactions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from shared.data.arrays.histories import Histories
from shared.data.training.training_data import TrainingData
from shared.recipes.artifact import WEIGHTS
from shared.recipes.baskets import Baskets
from shared.recipes.evaluation import count_interactions, recommend_related
from shared.recipes.sims.cointeractions import (
    ItemNeighbors,
    compute_related_scores,
    discount_popularity,
    find_neighbors,
    select_newest_takers,
)
from shared.recipes.single_pass_training import OnBlock, create_train_and_validate

MOST_NEIGHBOURS = 500
"""As many neighbors as a request may ask for."""

EVENTS_READ = 1000
"""Newest events that are read of each user: the pairs of a user grow with the square."""


class SimsModel:
    """A learnt model: the neighbors of each item, and recommendations by them."""

    def __init__(self, near: ItemNeighbors, popularity: npt.NDArray[np.float64], histories: Histories) -> None:
        self.near = near
        self.popularity = popularity
        self._histories = histories

    def recommend(self, events_Q: npt.NDArray[np.int64], count: int, on_block: OnBlock) -> npt.NDArray[np.int64]:
        """``shared.recipes.evaluation.Recommend``: the items related to the item taken last."""

        def scores(item: int) -> npt.NDArray[np.float32]:
            on_block()
            return compute_related_scores(self.near, self.popularity, item)

        return recommend_related(scores, self._histories, events_Q, count)

    def save(self, artifact: Path) -> None:
        """Write the weights that ``scoring`` reads."""
        save_file(vars(self.near), artifact / WEIGHTS)


def learn_neighbors(
    data: TrainingData, parameters: Mapping[str, str], users: npt.NDArray[np.int64], on_block: OnBlock
) -> SimsModel:
    """``shared.recipes.single_pass_training.LearnUsers``."""
    histories = data.histories
    popularity_I = count_interactions(histories, users)
    baskets = Baskets.collect(histories, users, on_block, newest=EVENTS_READ)
    least, most = find_taker_bounds(baskets.takers, parameters)
    baskets = remove_rare_items(baskets, least)
    near = find_neighbors(
        baskets,
        discount_popularity(popularity_I / popularity_I.sum(), float(parameters["popularity_discount_factor"])),
        select_newest_takers(baskets, histories.timestamps[histories.offsets[1:] - 1], most),
        fewest=int(parameters["min_cointeraction_count"]),
        most=MOST_NEIGHBOURS,
        on_block=on_block,
    )
    return SimsModel(near, popularity_I / popularity_I.sum(), histories)


train, validate = create_train_and_validate(learn_neighbors)


def find_taker_bounds(takers_I: npt.NDArray[np.int64], parameters: Mapping[str, str]) -> tuple[int, int]:
    """Return the least and the greatest number of takers of an item within the percentiles.

    The percentiles order interactions by the number of takers of their items: at a percentile of 0.9, nine tenths of
    all interactions are with items of as many takers, or fewer.
    """
    low, high = (float(parameters[f"{bound}_item_interaction_count_percentile"]) for bound in ("min", "max"))
    rising = np.sort(takers_I[takers_I > 0])
    sums = np.cumsum(rising)
    least, most = rising[np.searchsorted(sums, np.array([low, high]) * sums[-1])].tolist()
    return least, most


def remove_rare_items(baskets: Baskets, least: int) -> Baskets:
    """Remove the items that fewer than ``least`` users took."""
    kept_P = (baskets.takers >= least)[baskets.items]
    ends = np.concatenate([[0], np.cumsum(kept_P)])
    return dataclasses.replace(baskets, offsets=ends[baskets.offsets], items=baskets.items[kept_P])
