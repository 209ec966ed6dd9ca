"""Exploration shows new items more than the model alone would, and the more the fewer events an item has.

AWS publishes no formula. It says that the bonus falls with an item's interactions and impressions, that it has a random
part, and that it ends at an age, counted back from the newest interaction of all. Here the bonus of an upper confidence
bound (Auer et al., Finite-time Analysis of the Multiarmed Bandit Problem, 2002) is added to the logits of new items:

    p'_i ~ p_i * exp(weight * (MOST / sqrt(1 + n_i) + NOISE * e))      e: a standard normal

so that the items shown remain items that the user may like. n_i counts the events in which the item was taken, or was
shown while another item was taken: both are pulls of the bandit's arm. Shapes: I items.
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
"""The bonus, at weight 1, of an item without events: its probability is multiplied by 100."""

NOISE = 0.3
DAY_SECONDS = 86_400


@dataclass(frozen=True, eq=False)
class ItemNovelty:
    """The ages of the items, and their numbers of events."""

    days: npt.NDArray[np.float32]
    """float32[I]: the age, counted back from the newest interaction of all; 0 for items created after that."""
    counts: npt.NDArray[np.int32]
    """int32[I]: the events trained on in which an item was taken or shown."""

    @classmethod
    def from_data(cls, data: TrainingData) -> Self:
        """Measure the age of an item from its CREATION_TIMESTAMP, else its first interaction; else the age is 0."""
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
        """Return the distribution with the bonus of new items; the same array at weight 0."""
        new = self.find_new(exploration)
        if not len(new):
            return p_I
        explored_I = p_I.astype(np.float64)
        # In the popularity, the answer to unknown users, new items have a share of 0.
        explored_I[new] = self.raise_new(new, p_I[new], float(p_I[p_I > 0].min()), exploration, rng)
        explored_I /= explored_I.sum()
        return explored_I.astype(np.float32)

    def find_new(self, exploration: Exploration) -> npt.NDArray[np.int64]:
        """int64[N]: the items that are explored, ascending; none at weight 0."""
        if exploration.weight == 0:
            return np.zeros(0, np.int64)
        return np.flatnonzero(self.days <= exploration.age_cut_off_days)

    def raise_new(
        self,
        new_N: npt.NDArray[np.int64],
        p_N: npt.NDArray[np.float32],
        least: float,
        exploration: Exploration,
        rng: np.random.Generator,
    ) -> npt.NDArray[np.float64]:
        """float64[N]: the bonus times the probabilities of new items, of which none counts as less than ``least``."""
        bonus = MOST / np.sqrt(1 + self.counts[new_N]) + NOISE * rng.standard_normal(len(new_N))
        raised: npt.NDArray[np.float64] = np.maximum(p_N, np.float32(least)) * np.exp(exploration.weight * bonus)
        return raised
