"""Reasons of GetRecommendations: what is there by exploration, by popularity and by a promotion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.recipes import RECIPES
from tests.unit.services.runtime_world import Echo, Runtime
from tests.unit.shared.data import parquet_files

FIRST, SECOND = (RECIPES[f"aws-user-personalization{version}"] for version in ("", "-v2"))
EXPLORED, POPULAR = ["Exploration"], ["Popular item"]


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    """e and c have gained by exploration: without it the order is a, b, c, d, e."""
    made = Runtime(tmp_path)
    made.scorer = Echo("abcde", (0.3, 0.15, 0.2, 0.1, 0.25))
    made.scorer.unexplored = (0.4, 0.2, 0.18, 0.12, 0.1)
    items = ("ITEM_ID string", "PRICE float")
    made.filled("Items", items, [(item, float(price)) for price, item in enumerate("abcde")])
    made.filled("Interactions", parquet_files.INTERACTIONS, [("u", "b", 5)])
    return made


def reasons(rows: list[Any]) -> list[tuple[str, list[str] | None]]:
    return [(row["itemId"], row.get("reason")) for row in rows]


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (1, [("a", None)]),
        (2, [("a", None), ("e", EXPLORED)]),
        (3, [("a", None), ("e", EXPLORED), ("c", None)]),
        (5, [("a", None), ("e", None), ("c", None), ("b", None), ("d", None)]),
        (0, []),
    ],
)
def test_explored_is_what_a_list_of_that_length_would_not_hold_without_it(
    runtime: Runtime, wanted: int, told: list[tuple[str, list[str] | None]]
) -> None:
    rows = runtime.answered(runtime.serving(SECOND), userId="u", numResults=wanted)
    assert reasons(rows) == told
    assert all("score" in row for row in rows)


def test_what_a_filter_takes_away_makes_room_with_and_without_exploration(runtime: Runtime) -> None:
    some = runtime.filter("EXCLUDE ItemID WHERE Items.PRICE < 2")
    rows = runtime.answered(runtime.serving(SECOND), userId="u", numResults=2, filterArn=some)
    assert reasons(rows) == [("e", EXPLORED), ("c", None)]
    rows = runtime.answered(runtime.serving(SECOND), userId="u", numResults=3, filterArn=some)
    assert [reason for _, reason in reasons(rows)] == [None, None, None]


def test_who_is_unknown_is_shown_popular_items_which_have_no_score(runtime: Runtime) -> None:
    rows = runtime.answered(runtime.serving(SECOND), userId="stranger", numResults=3)
    assert rows == [
        {"itemId": "a", "reason": POPULAR},
        {"itemId": "e", "reason": EXPLORED},
        {"itemId": "c", "reason": POPULAR},
    ]


def test_a_promoted_item_is_promoted_whatever_else_it_is(runtime: Runtime) -> None:
    dear = runtime.filter("INCLUDE ItemID WHERE Items.PRICE > 3")
    promotions = [{"name": "p", "percentPromotedItems": 25, "filterArn": dear}]
    rows = runtime.answered(runtime.serving(SECOND), userId="stranger", numResults=4, promotions=promotions)
    assert sorted(reasons(rows)) == [("a", POPULAR), ("b", POPULAR), ("c", POPULAR), ("e", ["Promoted item"])]


def test_other_recipes_tell_none(runtime: Runtime) -> None:
    for user in ("u", "stranger"):
        rows = runtime.answered(runtime.serving(FIRST), userId=user, numResults=2)
        assert reasons(rows) == [("a", None), ("e", None)]
        np.testing.assert_allclose([row["score"] for row in rows], [0.3, 0.25], rtol=1e-6)
