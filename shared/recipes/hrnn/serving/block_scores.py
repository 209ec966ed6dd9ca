"""From the logits that a search has found for one query of a block to the scores of its candidates.

The formulas are those of ``NumpyNetwork.share_out``; ``FoundLogits`` has what they need of all other items. Shapes: K
candidates, S items of a history, A items kept apart.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from shared.recipes.hrnn.serving.block_search import FoundLogits, Places, SearchedQuery
from shared.recipes.hrnn.serving.file_rows import Floats
from shared.recipes.hrnn.serving.numpy_network import RepeatScores

SMALLEST = 1e-37
"""Below this, float32 loses digits of a score, and its order is no longer that of the logits."""


class PlaceScores(NamedTuple):
    """Some items, ascending by place, and their scores."""

    places: Places
    scores: Floats


class BlockScores:
    """The scores of one query of a block."""

    def __init__(self, query: SearchedQuery, found: FoundLogits, again: RepeatScores | None) -> None:
        self.query, self.found = query, found
        self._factor = 0.0
        #: float32[S]: the probabilities of the history's items.
        self.had: Floats = np.zeros(len(query.had), np.float32)
        if found.total > 0 and math.isfinite(found.total):
            self._divide(again)

    def _divide(self, again: RepeatScores | None) -> None:
        """Divide the probability between new items and those of the history."""
        found = self.found
        if again is None:
            self._factor = 1 / found.total
            return
        logit = again.logit
        if again.evidence:
            logit += again.evidence * (_sum_exp(found.fits) - found.most - math.log(found.total))
        share = 0.5 + 0.5 * math.tanh(0.5 * logit)
        self._factor = (1 - share) / found.total
        self.had = np.float32(share) * again.shares

    def score_candidates(self) -> PlaceScores | None:
        """Return the candidates and the items that were asked for; None where float32 is too coarse to order them.

        Neither are there candidates where no item is new to the user.
        """
        scores_K = self.compute_probabilities(self.found.logits)
        if scores_K.min(initial=self._factor) < SMALLEST:
            return None
        of_asked = self.compute_probabilities(self.found.asked)
        places, first = np.unique(
            np.concatenate([self.query.had, self.found.places, self.query.asked]), return_index=True
        )
        return PlaceScores(places, np.concatenate([self.had, scores_K, of_asked])[first])

    def compute_probabilities(self, logits_K: Floats) -> Floats:
        """float32[K]: return the probabilities of new items with these logits."""
        scores_K: npt.NDArray[np.float64] = np.exp(logits_K.astype(np.float64) - self.found.most)
        scores_K *= self._factor
        return scores_K.astype(np.float32)

    def find_least(self) -> float:
        """Return the least probability above 0 of all items; 0 where float32 is too coarse for it."""
        least = float(self.compute_probabilities(np.array([self.found.least], np.float32))[0])
        of_had = float(self.had[self.had > 0].min(initial=1.0))
        return min(least, of_had) if min(least, of_had) >= SMALLEST else 0.0


def _sum_exp(x: Floats) -> float:
    most = float(np.maximum.reduce(x))
    return most + math.log(float(np.add.reduce(np.exp(x - most))))
