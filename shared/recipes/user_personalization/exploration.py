"""Exploration: new items are shown more than the model alone would show them, the less is known of them the more.

AWS publishes no formula, but that the bonus falls with an item's interactions and impressions, that a little chance is
in it, and that an age, counted back from the newest interaction of all, ends it. Here the bonus of an upper confidence
bound (Auer et al., Finite-time Analysis of the Multiarmed Bandit Problem, 2002) is added to the logits of new items:

    p'_i ~ p_i * exp(weight * (MOST / sqrt(1 + n_i) + NOISE * e))      e: a standard normal

so that what is shown stays what the user may like. n_i are the events in which the item was taken, or shown while
another one was taken: an arm that is pulled in vain has been pulled too. Shapes: I items.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from shared.data.training.training_data import TrainingData
from shared.recipes.scoring_api import Exploration

MOST = math.log(100)
"""At weight 1 an item that nobody has taken counts so many times as much."""

NOISE = 0.3
DAY_SECONDS = 86_400


@dataclass(frozen=True, eq=False)
class ItemNovelty:
    """How old items are, and how little is known of them."""

    days: npt.NDArray[np.float32]
    """float32[I]: the age, counted back from the newest interaction of all; 0 for what was created later."""
    counts: npt.NDArray[np.int32]
    """int32[I]: the events trained on in which an item was taken or shown."""

    @classmethod
    def from_data(cls, data: TrainingData) -> Self:
        """An item's age is that of its CREATION_TIMESTAMP, else of its first interaction, else none."""
        histories = data.histories
        newest = int(histories.timestamps.max())
        born_I = np.full(len(histories.item_ids), newest)
        np.minimum.at(born_I, histories.items, histories.timestamps)
        if data.item_created is not None:
            born_I = np.where(data.item_created >= 0, data.item_created, born_I)
        counts_I = np.bincount(histories.items, minlength=len(born_I))
        if data.item_impressions is not None:
            counts_I = counts_I + data.item_impressions
        age_I = np.maximum(newest - born_I, 0) / DAY_SECONDS
        return cls(age_I.astype(np.float32), counts_I.astype(np.int32))

    def save(self, folder: Path) -> None:
        np.save(folder / "age.npy", self.days)
        np.save(folder / "interactions.npy", self.counts)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Raises OSError and ValueError."""
        return cls(np.load(folder / "age.npy"), np.load(folder / "interactions.npy"))

    def explore_scores(
        self, p_I: npt.NDArray[np.float32], exploration: Exploration, rng: np.random.Generator
    ) -> npt.NDArray[np.float32]:
        """The distribution with the bonus of new items; with weight 0 the very same."""
        new = np.flatnonzero(self.days <= exploration.age_cut_off_days)
        if exploration.weight == 0 or not len(new):
            return p_I
        bonus = MOST / np.sqrt(1 + self.counts[new]) + NOISE * rng.standard_normal(len(new))
        explored_I = p_I.astype(np.float64)
        # Among what is popular, which strangers are shown, the new have no share at all.
        explored_I[new] = np.maximum(p_I[new], p_I[p_I > 0].min()) * np.exp(exploration.weight * bonus)
        explored_I /= explored_I.sum()
        return explored_I.astype(np.float32)
