"""reason: why an item is in a list of recommendations, in AWS's words, for the recipes that give reasons.

A promoted item has this reason alone. An item is explored if a list of the same length without exploration would not
hold it. For a user without history all other items are popular items: AWS's name for items that fill a list and have no
relevance to the user.
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
    """Return the rows of the listed items with their reasons. ``best`` lists the items by other scores."""
    explored = _find_explored(listed, found, best)
    if not explored and not found.popular:
        return rows
    unexplored = {"reason": [POPULAR]} if found.popular else {}
    return [
        {**row, **({"reason": [EXPLORED]} if item in explored else unexplored)}
        for row, item in zip(rows, listed.tolist(), strict=True)
    ]


def _find_explored(
    listed: ItemPlaces, found: ExplainedScores, best: Callable[[npt.NDArray[np.float32]], ItemPlaces]
) -> frozenset[int]:
    if found.unexplored is found.scores:
        return frozenset()
    # Most lists hold no item that exploration has raised: they need no second list to compare with.
    if not (found.scores[listed] > found.unexplored[listed]).any():
        return frozenset()
    return frozenset(listed.tolist()) - frozenset(best(found.unexplored).tolist())
