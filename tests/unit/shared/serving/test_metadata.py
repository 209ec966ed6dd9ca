"""Metadata in answers: the columns of the items, as text."""

from __future__ import annotations

from typing import Any

import pytest

from shared.aws.errors import InvalidInput
from tests.unit.services.runtime_world import Runtime
from tests.unit.shared.serving.filter_world import (
    RANKING,
    SECOND,
    TOP_PICKS,
    UP,
)


def test_metadata_is_text_by_the_columns_names_in_lower_case(runtime: Runtime) -> None:
    arn = runtime.serving(UP, enableMetadataWithRecommendations=True)
    columns = {"ITEMS": ["PRICE", "genre", "TITLE", "STORY", "ITEM_ID"]}
    rows = {row["itemId"]: row for row in runtime.answered(arn, userId="u", metadataColumns=columns)}
    assert rows["a"]["metadata"] == {
        "price": "9.99", "genre": "Drama|War", "title": "The A", "story": "long", "item_id": "a"
    }  # fmt: skip
    assert rows["c"]["metadata"] == {"price": "20.0", "genre": "Comedy", "item_id": "c"}
    assert "metadata" not in rows["h"]
    ranking = runtime.serving(RANKING, enableMetadataWithRecommendations=True)
    answer = runtime.asked(
        "GetPersonalizedRanking",
        campaignArn=ranking,
        userId="u",
        inputList=["?", "z", "b"],
        metadataColumns={"ITEMS": ["PRICE"]},
    )
    assert [row.get("metadata") for row in answer["personalizedRanking"]] == [{"price": "5.0"}, None, {"price": "1.0"}]


def test_metadata_is_refused_where_it_is_not_enabled_or_not_there(runtime: Runtime) -> None:
    price = {"ITEMS": ["PRICE"]}
    with pytest.raises(InvalidInput, match="set enableMetadataWithRecommendations to true"):
        runtime.answered(runtime.serving(UP), userId="u", metadataColumns=price)
    assert runtime.answered(runtime.serving(SECOND), userId="u", metadataColumns=price)[0]["metadata"] == {
        "price": "9.99"
    }
    arn = runtime.serving(TOP_PICKS, enableMetadataWithRecommendations=True)
    refusals: dict[str, dict[str, Any]] = {
        "numResults is 51; at most 50 are answered with metadata": {"metadataColumns": price, "numResults": 51},
        "names 11 columns; at most 10": {"metadataColumns": {"ITEMS": [f"C{n}" for n in range(11)]}},
        "names COLOUR; the columns of ITEMS are ITEM_ID, GENRE": {"metadataColumns": {"ITEMS": ["COLOUR", "PRICE"]}},
        "names USERS; only columns of ITEMS": {"metadataColumns": {"USERS": ["AGE"]}},
    }
    for message, request in refusals.items():
        with pytest.raises(InvalidInput, match=message):
            runtime.answered(arn, userId="u", **request)
    assert len(runtime.answered(arn, userId="new", numResults=51, metadataColumns={"ITEMS": []})) == 5
    ranking = runtime.serving(RANKING, enableMetadataWithRecommendations=True)
    with pytest.raises(InvalidInput, match="inputList has 51 items; at most 50 are ranked with metadata"):
        runtime.asked(
            "GetPersonalizedRanking", campaignArn=ranking, userId="u", inputList=["a"] * 51, metadataColumns=price
        )
