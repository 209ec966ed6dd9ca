"""Scores of the items similar to an item, by item vectors. Needs no torch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from shared.recipes.distribution import hide_items


class ItemVectors:
    """x_I and b_I of ``network``. A ``discount`` of 0 keeps the popularity as learnt, 1 removes it."""

    def __init__(self, vectors_ID: npt.NDArray[np.float32], discount: float) -> None:
        self._x_ID = np.ascontiguousarray(vectors_ID[:, :-1])
        self._b_I = (1 - discount) * vectors_ID[:, -1]

    def compute_scores(self, item: int) -> npt.NDArray[np.float32]:
        """float32[I]: p(j | item), a softmax over all other items; the item itself is hidden."""
        logits_I = self._x_ID @ self._x_ID[item] + self._b_I
        logits_I[item] = -np.inf
        weights_I = np.exp(logits_I - logits_I.max(initial=-1e30))
        # All weights are 0 where the item is the only one.
        return hide_items((weights_I / max(weights_I.sum(), 1e-30)).astype(np.float32), item)
