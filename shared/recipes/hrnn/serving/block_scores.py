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
from shared.recipes.hrnn.serving.item_scan import ScanErrorBounds
from shared.recipes.hrnn.serving.numpy_network import RepeatScores
from shared.recipes.hrnn.serving.shared_pass import SETTLED
from shared.recipes.scoring_api import ApproximateScores

SMALLEST = 1e-37
"""Below this, float32 loses digits of a score, and its order is no longer that of the logits."""


class PlaceScores(NamedTuple):
    """Some items, ascending by place, and their scores."""

    places: Places
    scores: Floats


class BlockScores:
    """The scores of one query of a block."""

    def __init__(
        self, query: SearchedQuery, found: FoundLogits, again: RepeatScores | None, rough: ScanErrorBounds | None = None
    ) -> None:
        """``rough`` has the error bounds of the logits; None: they are exact."""
        self.query = query
        self.rough = rough
        self.found = found if rough is None else _settle_logits(found, query.apart, rough)
        self._factor = 0.0
        #: float32[S]: the probabilities of the history's items.
        self.had: Floats = np.zeros(len(query.had), np.float32)
        if found.total > 0 and math.isfinite(found.total):
            self._divide(again)

    def select_bounds(self, places_K: Places) -> ApproximateScores | None:
        """Return the error bounds of these items alone, as if there were no other ones."""
        return None if self.rough is None else _SelectedBounds(self.rough, places_K)

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


class _SelectedBounds:
    """``ApproximateScores`` of some items of a catalogue."""

    def __init__(self, rough: ScanErrorBounds, places_K: Places) -> None:
        self._rough, self._places_K = rough, places_K
        self.greatest_bound = rough.greatest_bound

    def get_bounds(self, places_K: Places) -> npt.NDArray[np.float64]:
        return self._rough.get_bounds(self._places_K[places_K])

    def compute_corrections(self, places_K: Places) -> npt.NDArray[np.float64]:
        return self._rough.compute_corrections(self._places_K[places_K])


def _settle_logits(found: FoundLogits, apart: Places, rough: ScanErrorBounds) -> FoundLogits:
    """Return the logits with the best of them exact, as ``ScanErrorBounds.settle_best`` has them."""
    places = np.concatenate([found.places, apart])
    logits = np.concatenate([found.logits, found.apart])
    (open_,) = (logits > -np.inf).nonzero()
    before = logits[open_]
    exact = before.copy()
    settled = rough.settle_some(places[open_], exact, SETTLED)
    logits[open_] = exact
    most = max(found.most, float(exact.max(initial=-np.inf)))
    total = found.total * math.exp(found.most - most) if found.total > 0 else 0.0
    now, then = (np.exp(each[settled].astype(np.float64) - most).sum() for each in (exact, before))
    return found._replace(
        logits=logits[: len(found.logits)],
        apart=logits[len(found.logits) :],
        most=most,
        total=total + float(now - then),
    )


def _sum_exp(x: Floats) -> float:
    most = float(np.maximum.reduce(x))
    return most + math.log(float(np.add.reduce(np.exp(x - most))))
