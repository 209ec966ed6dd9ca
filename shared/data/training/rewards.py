"""Rewards of items: the column of Items that an optimization objective names, and its effect on scores.

AWS publishes no formula. Here a score is p_i * r_i ** emphasis, so that MEDIUM, which AWS calls equal emphasis on both,
is the expected reward. Shapes: I items.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from shared.data.arrays import npy_files

Sensitivity = Literal["OFF", "LOW", "MEDIUM", "HIGH"]
EMPHASIS: Mapping[Sensitivity, float] = {"OFF": 0.0, "LOW": 0.5, "MEDIUM": 1.0, "HIGH": 2.0}

MIN_SHARE = 0.01
"""The smallest reward counts as this share of the largest, so that the objective alone excludes no item."""

MAX_VALUE = 1e30
"""Values of larger size are clipped to it, with their sign."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """solutionConfig.optimizationObjective."""

    column: str
    """Numeric, of Items."""
    sensitivity: Sensitivity = "OFF"


@dataclass(frozen=True, kw_only=True, eq=False)
class Rewards:
    values: npt.NDArray[np.float32]
    """[I] at least 0; the mean where an item has no value."""
    sensitivity: Sensitivity

    @classmethod
    def from_numbers(cls, numbers: npt.NDArray[np.float64], sensitivity: Sensitivity) -> Self:
        """Build rewards of ``numbers``, NaN where an item has none.

        If some are negative, all are raised until the smallest is 0.
        """
        known = np.isfinite(numbers)
        if not known.any():
            return cls(values=np.ones(len(numbers), np.float32), sensitivity=sensitivity)
        # A DOUBLE may exceed the range of float32.
        numbers = np.clip(numbers, -MAX_VALUE, MAX_VALUE)
        filled = np.where(known, numbers, numbers[known].mean())
        return cls(values=(filled - min(filled.min(), 0.0)).astype(np.float32), sensitivity=sensitivity)

    def compute_log_factors(self) -> npt.NDArray[np.float32]:
        """Return float32[I]: the log of each item's factor. The factors use rewards scaled to MIN_SHARE ... 1."""
        least, most = float(self.values.min()), float(self.values.max())
        shares = (self.values - least) / max(most - least, 1e-30)
        factors: npt.NDArray[np.float32] = EMPHASIS[self.sensitivity] * np.log(MIN_SHARE + (1 - MIN_SHARE) * shares)
        return factors

    def scale_probabilities(self, p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the distribution ``p`` over the items, weighted by the rewards; with OFF it stays the same."""
        weighed = p * np.exp(self.compute_log_factors())
        return weighed / max(float(weighed.sum()), 1e-30)

    def save(self, folder: Path) -> None:
        """Write the rewards to a new folder."""
        folder.mkdir()
        np.save(folder / "values.npy", self.values)
        (folder / "sensitivity.json").write_text(json.dumps(self.sensitivity))

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Map a folder that ``save`` wrote. Raises OSError and ValueError where it is missing or damaged."""
        sensitivity = json.loads((folder / "sensitivity.json").read_bytes())
        return cls(values=npy_files.map_npy(folder / "values.npy"), sensitivity=sensitivity)
