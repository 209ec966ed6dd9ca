"""A dataset group with a few items, users and interactions, and a runtime that serves it: for tests of filters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shared.recipes import RECIPES
from tests.unit.services.runtime_world import Echo, Runtime
from tests.unit.shared.data import parquet_files

UP, SECOND, SIMS, RANKING, TOP_PICKS, ALSO_VIEWED, ACTIONS = (
    RECIPES[f"aws-{name}"]
    for name in (
        "user-personalization",
        "user-personalization-v2",
        "sims",
        "personalized-ranking",
        "vod-top-picks",
        "ecomm-customers-who-viewed-x-also-viewed",
        "next-best-action",
    )
)
ITEMS = ("ITEM_ID string", "GENRE string categorical", "PRICE float", "TITLE string", "STORY string textual")
USERS = ("USER_ID string", "AGE int", "TEAM string categorical")
INTERACTIONS = (*parquet_files.INTERACTIONS, "EVENT_TYPE string")
#: Of h only interactions know, and of z only Items.
ROWS: list[tuple[Any, ...]] = [
    ("a", "Drama|War", 9.99, "The A", "long"),
    ("b", "War", 5.0, "B", None),
    ("c", "Comedy", 20.0, None, None),
    ("d", None, None, None, None),
    ("z", "Drama", 1.0, "Z", None),
]
DRAMA = 'INCLUDE ItemID WHERE Items.GENRE IN ("Drama")'


def create_runtime(folder: Path) -> Runtime:
    """The best items are a, b, c, d and h, in this order."""
    made = Runtime(folder)
    made.scorer = Echo("abcdh", (0.3, 0.25, 0.2, 0.15, 0.1))
    made.filled("Items", ITEMS, ROWS)
    made.filled("Users", USERS, [("u", 20, "x|y"), ("w", None, None)])
    made.filled("Interactions", INTERACTIONS, [("u", "b", 5, "Watch"), ("u", "h", 6, "Buy"), ("v", "a", 7, "Watch")])
    return made
