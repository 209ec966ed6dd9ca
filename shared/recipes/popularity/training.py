"""Training of Popularity-Count: counts the users of each item. It has no hyperparameters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.data.training.training_data import TrainingData
from shared.recipes.baskets import Baskets
from shared.recipes.distribution import find_best_items
from shared.recipes.single_pass_training import OnBlock, create_train_and_validate


class PopularityList:
    """One list for all users: a distribution over the items."""

    def __init__(self, popularity: npt.NDArray[np.floating[Any]]) -> None:
        self.popularity = popularity

    def recommend(self, events_Q: npt.NDArray[np.int64], count: int, on_block: OnBlock) -> npt.NDArray[np.int64]:
        """``shared.recipes.evaluation.Recommend``."""
        on_block()
        best_K = find_best_items(self.popularity.astype(np.float32), count)
        return np.broadcast_to(best_K, (len(events_Q), len(best_K)))

    def save(self, artifact: Path) -> None:
        """Write nothing: every artifact holds the popularity."""


def count_takers(
    data: TrainingData,
    parameters: Mapping[str, str],  # noqa: ARG001 - there are none
    users: npt.NDArray[np.int64],
    on_block: OnBlock,
) -> PopularityList:
    """``shared.recipes.single_pass_training.LearnUsers``."""
    takers_I = Baskets.collect(data.histories, users, on_block).takers
    return PopularityList(takers_I / takers_I.sum())


train, validate = create_train_and_validate(count_takers)
