"""Rules for showing an action: until it expires, and not again too soon after it was taken. I actions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from shared.data.training.training_data import TrainingData

DAY_SECONDS = 86_400


@dataclass(frozen=True, eq=False)
class ActionRules:
    """EXPIRATION_TIMESTAMP and REPEAT_FREQUENCY of the Actions dataset, in seconds."""

    expires: npt.NDArray[np.float64]
    """float64[I]: seconds since the epoch; inf for an action that never expires."""
    repeats: npt.NDArray[np.float64]
    """float64[I]: seconds from the time at which it was taken; 0 where it may be shown again at once."""

    @classmethod
    def from_data(cls, data: TrainingData) -> Self:
        actions = len(data.histories.item_ids)
        expires_I, repeats_I = np.full(actions, np.inf), np.zeros(actions)
        if data.item_expires is not None:
            expires_I = np.where(data.item_expires >= 0, data.item_expires, np.inf)
        if data.item_repeats is not None:
            repeats_I = np.nan_to_num(data.item_repeats) * DAY_SECONDS
        return cls(expires_I, repeats_I)

    def save(self, folder: Path) -> None:
        np.save(folder / "expires.npy", self.expires)
        np.save(folder / "repeats.npy", self.repeats)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Raises OSError and ValueError."""
        return cls(np.load(folder / "expires.npy"), np.load(folder / "repeats.npy"))

    def find_hidden(self, now: float, taken: Iterable[tuple[int, float]]) -> npt.NDArray[np.bool_]:
        """bool[I]: actions hidden at ``now`` from a user that has ``taken`` these, at these times (epoch seconds)."""
        hidden_I: npt.NDArray[np.bool_] = self.expires <= now
        for action, at in taken:
            hidden_I[action] |= now - at < self.repeats[action]
        return hidden_I
