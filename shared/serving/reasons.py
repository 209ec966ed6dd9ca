"""reason: why an item is in a list of recommendations, in AWS's words, where a recipe tells it.

A promoted item is there as such, whatever else could be said of it. An item is explored if it would not stand in a list
of that length without exploration. To a user of whom nothing is known all others are popular items: AWS calls so what
fills a list and has no relevance to the user.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.recipes.scoring_api import ExplainedScores

ItemPlaces = npt.NDArray[np.int64]

PROMOTED = "Promoted item"
EXPLORED = "Exploration"
POPULAR = "Popular item"


def with_reasons(
    rows: list[dict[str, Any]],
    listed: ItemPlaces,
    found: ExplainedScores,
    best: Callable[[npt.NDArray[np.float32]], ItemPlaces],
) -> list[dict[str, Any]]:
    """The rows of the items that are listed, with their reasons. ``best``: what would be listed by other scores."""
    explored = _find_explored(listed, found, best)
    if not explored and not found.popular:
        return rows
    others = {"reason": [POPULAR]} if found.popular else {}
    return [
        {**row, **({"reason": [EXPLORED]} if item in explored else others)}
        for row, item in zip(rows, listed.tolist(), strict=True)
    ]


def _find_explored(
    listed: ItemPlaces, found: ExplainedScores, best: Callable[[npt.NDArray[np.float32]], ItemPlaces]
) -> frozenset[int]:
    if found.unexplored is found.scores:
        return frozenset()
    # Most lists hold no item that has gained, and need no second one to compare.
    if not (found.scores[listed] > found.unexplored[listed]).any():
        return frozenset()
    return frozenset(listed.tolist()) - frozenset(best(found.unexplored).tolist())
