"""Promotions in GetRecommendations: their share, their places, and their filters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from shared.aws.errors import InvalidInput
from shared.serving.promotions import Promotion, interleave_promotions
from tests.unit.services.runtime_world import Runtime
from tests.unit.shared.serving.filter_world import (
    DRAMA,
    SECOND,
    TOP_PICKS,
    UP,
)


def promotion(runtime: Runtime, expression: str, percent: int, **values: str) -> list[dict[str, Any]]:
    filter_arn = runtime.filter(expression)
    return [{"name": "p", "percentPromotedItems": percent, "filterArn": filter_arn, "filterValues": values}]


def test_promoted_items_have_their_share_in_order_and_stand_once(runtime: Runtime) -> None:
    arn = runtime.serving(UP)
    war = promotion(runtime, "INCLUDE ItemID WHERE Items.GENRE IN ($G)", 50, G='"War","Comedy"')
    for _ in range(20):
        rows = runtime.answered(arn, userId="u", numResults=4, promotions=war)
        promoted = [row["itemId"] for row in rows if row.get("promotionName") == "p"]
        others = [row["itemId"] for row in rows if "promotionName" not in row]
        assert (promoted, others) == (["a", "b"], ["c", "d"])
        assert all("score" in row and "reason" not in row for row in rows)
    few = runtime.answered(arn, userId="u", numResults=5, promotions=promotion(runtime, DRAMA, 60))
    assert sorted(row["itemId"] for row in few) == [*"abcdh"]
    assert [row["itemId"] for row in few if "promotionName" in row] == ["a"]


def test_the_requests_filter_is_for_the_others_alone(runtime: Runtime) -> None:
    arn = runtime.serving(UP)
    request = {
        "userId": "u",
        "numResults": 4,
        "filterArn": runtime.filter('EXCLUDE ItemID WHERE Items.GENRE IN ("War")'),
    }
    rows = runtime.answered(arn, **request, promotions=promotion(runtime, "INCLUDE ItemID WHERE Items.PRICE < 10", 25))
    assert [row["itemId"] for row in rows if "promotionName" in row] == ["a"]
    assert [row["itemId"] for row in rows if "promotionName" not in row] == ["c", "d", "h"]


def test_promotions_of_use_cases_hide_what_these_hide_and_the_second_version_tells_the_reason(runtime: Runtime) -> None:
    war = promotion(runtime, 'INCLUDE ItemID WHERE Items.GENRE IN ("War")', 100)
    listed = runtime.recommended(runtime.serving(TOP_PICKS), userId="u", numResults=3, promotions=war)
    assert listed in ("acd", "cad", "cda")
    rows = runtime.answered(runtime.serving(SECOND), userId="u", numResults=2, promotions=war)
    assert [(row["itemId"], row["reason"]) for row in rows] == [("a", ["Promoted item"]), ("b", ["Promoted item"])]


@pytest.mark.parametrize(
    ("promoted", "message"),
    [
        ({"filterArn": None}, "filterArn is required of a promotion"),
        ({"percentPromotedItems": None}, "percentPromotedItems is required of a promotion"),
        ({"filterValues": {}}, "has no value for G"),
    ],
)
def test_a_promotion_without_what_it_needs_is_refused(runtime: Runtime, promoted: dict[str, Any], message: str) -> None:
    [whole] = promotion(runtime, "INCLUDE ItemID WHERE Items.GENRE IN ($G)", 50, G="War")
    with pytest.raises(InvalidInput, match=message):
        runtime.answered(runtime.serving(UP), userId="u", promotions=[{**whole, **promoted}])


@pytest.mark.parametrize(
    ("percent", "wanted", "places"), [(60, 5, 3), (50, 25, 13), (1, 25, 0), (100, 7, 7), (2, 25, 1)]
)
def test_a_share_is_rounded(percent: int, wanted: int, places: int) -> None:
    assert Promotion("p", percent, np.ones(1, np.bool_)).count_places(wanted) == places


def test_places_are_of_chance() -> None:
    rows = [{"itemId": item} for item in "abcdef"]
    rng = np.random.default_rng(7)
    seen = {"".join(row["itemId"] for row in interleave_promotions(rows[:2], rows[2:4], rng)) for _ in range(200)}
    assert seen == {"abcd", "acbd", "acdb", "cabd", "cadb", "cdab"}
    assert interleave_promotions([], rows, rng) == interleave_promotions(rows, [], rng) == rows
