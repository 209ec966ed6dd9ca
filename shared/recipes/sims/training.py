"""Leaves out what the percentiles say, and keeps for each item those that its users took as well."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from shared.data.histories import Histories, TooLittleData
from shared.data.training_data import TrainingData
from shared.recipes.artifact import WEIGHTS
from shared.recipes.baskets import Baskets
from shared.recipes.course import OnBlock, counted
from shared.recipes.evaluation import related
from shared.recipes.sims.cointeractions import Neighbours, neighbours, related_scores

MOST_NEIGHBOURS = 500
"""As many as a request may ask for."""

EVENTS_READ = 1000
"""The newest of a user's events: the pairs of a user grow with the square."""


class Similarities:
    """What is learnt: neighbours, and how to recommend by them."""

    def __init__(self, near: Neighbours, popularity: npt.NDArray[np.float64], histories: Histories) -> None:
        self.near = near
        self.popularity = popularity
        self._histories = histories

    def recommend(self, events_Q: npt.NDArray[np.int64], count: int, on_block: OnBlock) -> npt.NDArray[np.int64]:
        """``shared.recipes.evaluation.Recommend``: what is related to the item taken last."""

        def scores(item: int) -> npt.NDArray[np.float32]:
            on_block()
            return related_scores(self.near, self.popularity, item)

        return related(scores, self._histories, events_Q, count)

    def save(self, artifact: Path) -> None:
        """What ``scoring`` reads."""
        save_file(vars(self.near), artifact / WEIGHTS)


def learn(
    data: TrainingData, parameters: Mapping[str, str], users: npt.NDArray[np.int64], on_block: OnBlock
) -> Similarities:
    """``shared.recipes.course.Learn``."""
    baskets = within(Baskets.of(data.histories, users, on_block, newest=EVENTS_READ), parameters)
    near = neighbours(
        baskets,
        discount=float(parameters["popularity_discount_factor"]),
        fewest=int(parameters["min_cointeraction_count"]),
        most=MOST_NEIGHBOURS,
        on_block=on_block,
    )
    return Similarities(near, baskets.takers / baskets.takers.sum(), data.histories)


train, validate = counted(learn)


def within(baskets: Baskets, parameters: Mapping[str, str]) -> Baskets:
    """Without the items that too few or too many users took, by the percentiles of those that were taken at all.

    Raises TooLittleData where no item is left.
    """
    low, high = (float(parameters[f"{bound}_item_interaction_count_percentile"]) for bound in ("min", "max"))
    takers_I = baskets.takers
    least, most = np.quantile(takers_I[takers_I > 0], [low, high])
    kept_P = ((takers_I >= least) & (takers_I <= most))[baskets.items]
    if not kept_P.any():
        raise TooLittleData(f"No item is left between the interaction count percentiles {low:g} and {high:g}.")
    ends = np.concatenate([[0], np.cumsum(kept_P)])
    return dataclasses.replace(baskets, offsets=ends[baskets.offsets], items=baskets.items[kept_P])
