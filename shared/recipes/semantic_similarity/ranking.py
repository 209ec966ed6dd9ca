"""From similarities to a ranking: a distribution over the items, with the influence of freshness and popularity.

A campaign's rankingInfluence orders the NEIGHBORHOOD items that are most similar to the requested one; all other items
follow by similarity. With f for FRESHNESS and p for POPULARITY, each from 0 to 1, an item of the neighbourhood ranks by

    (1 - max(f, p)) similarity + f freshness + p popularity,    divided by the sum of the three weights

where similarity runs from 0 (the last of the neighbourhood) to 1 (its first). So 0.5 gives an influence as much weight
as the similarity, and at 1 similarity only decides between equals. Freshness and popularity run from 0 to 1 over the
whole catalogue (``compute_freshness``, ``compute_popularity``). Shapes: I items, K of them. Needs no torch.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from shared.recipes.distribution import find_best_items, hide_items
from shared.recipes.scoring_api import RankingInfluence

NEIGHBORHOOD = 500
"""As many items as a list may have."""
SHARPNESS = 20.0
"""The logit of a similarity of 1. Scores are not shown; any sharpness gives the same order."""
_BETWEEN_EQUALS = 1e-3


def compute_freshness(created_I: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """float32[I]: the share of the other items that are older; 1 for the newest item, 0 for the oldest ones."""
    older_I = np.searchsorted(np.sort(created_I), created_I, side="left")
    freshness_I: npt.NDArray[np.float32] = (older_I / max(len(created_I) - 1, 1)).astype(np.float32)
    return freshness_I


def compute_popularity(counts_I: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """float32[I]: log(1 + interactions), divided by that of the most popular item; 0 where there are none at all."""
    logs_I = np.log1p(counts_I)
    popularity_I: npt.NDArray[np.float32] = (logs_I / max(logs_I.max(initial=0.0), 1.0)).astype(np.float32)
    return popularity_I


def rank_similar(
    similarities_I: npt.NDArray[np.float32],
    item: int,
    influence: RankingInfluence | None,
    freshness_I: npt.NDArray[np.float32],
    popularity_I: npt.NDArray[np.float32],
) -> npt.NDArray[np.float32]:
    """float32[I]: the distribution of the items by similarity and influence; ``item`` itself is hidden."""
    similarities_I[item] = -np.inf
    logits_I = SHARPNESS * similarities_I
    if influence is not None and (influence.freshness or influence.popularity):
        best_K = find_best_items(similarities_I, min(NEIGHBORHOOD, len(similarities_I) - 1))
        mixed_K = mix_influence(similarities_I[best_K], influence, freshness_I[best_K], popularity_I[best_K])
        logits_I[best_K] = SHARPNESS * (similarities_I[best_K].min(initial=np.inf) + mixed_K)
    weights_I = np.exp(logits_I - logits_I.max(initial=-1e30))
    # All weights are 0 where the item is the only one.
    return hide_items((weights_I / max(weights_I.sum(dtype=np.float64), 1e-30)).astype(np.float32), item)


def mix_influence(
    similarities_K: npt.NDArray[np.float32],
    influence: RankingInfluence,
    freshness_K: npt.NDArray[np.float32],
    popularity_K: npt.NDArray[np.float32],
) -> npt.NDArray[np.float32]:
    """float32[K], from 0 to about 1: the rank value of each item of a neighbourhood."""
    least, most = similarities_K.min(initial=1.0), similarities_K.max(initial=-1.0)
    similarity_K = (similarities_K - least) / max(most - least, 1e-6)
    similarity = 1 - max(influence.freshness, influence.popularity)
    total = similarity + influence.freshness + influence.popularity
    mixed_K = (
        similarity * similarity_K + influence.freshness * freshness_K + influence.popularity * popularity_K
    ) / total
    ordered_K: npt.NDArray[np.float32] = (mixed_K + _BETWEEN_EQUALS * similarity_K).astype(np.float32)
    return ordered_K
