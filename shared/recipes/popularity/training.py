"""Counts who took what. Nothing to tune."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.data.training_data import TrainingData
from shared.recipes.baskets import Baskets
from shared.recipes.contract import Options, Progress, Recipe, Trained
from shared.recipes.course import OnBlock, follow
from shared.recipes.distribution import best


class OneList:
    """The same answer to everybody: a distribution over the items."""

    def __init__(self, popularity: npt.NDArray[np.floating[Any]]) -> None:
        self.popularity = popularity

    def recommend(self, events_Q: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
        """``shared.recipes.evaluation.Recommend``."""
        best_K = best(self.popularity.astype(np.float32), count)
        return np.broadcast_to(best_K, (len(events_Q), len(best_K)))

    def save(self, artifact: Path) -> None:
        """It has nothing that every artifact does not have."""


def train(
    data: TrainingData,
    recipe: Recipe,
    parameters: Mapping[str, str],
    *,
    workspace: Path,  # noqa: ARG001 - it is over before there was anything to keep
    artifact: Path,
    progress: Callable[[Progress], None],
    should_stop: Callable[[], bool],
    options: Options,
    seed: int = 0,
) -> Trained:
    """``shared.recipes.contract.Train``."""

    def learn(users: npt.NDArray[np.int64], on_block: OnBlock) -> OneList:
        takers_I = Baskets.of(data.histories, users, on_block).takers
        return OneList(takers_I / takers_I.sum())

    return follow(
        learn,
        data,
        recipe,
        parameters,
        artifact=artifact,
        progress=progress,
        should_stop=should_stop,
        options=options,
        seed=seed,
    )
