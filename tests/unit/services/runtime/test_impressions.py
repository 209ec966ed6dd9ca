"""What GetRecommendations keeps of its lists, for the events that will name them."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.runtime.recommend import MOST_SHOWN
from shared.recipes import RECIPES
from tests.unit.services.runtime_world import Echo, Runtime, dataset


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    made = Runtime(tmp_path)
    made.filled("Items", ("ITEM_ID string", "PRICE float"), [("a", 1.0)])
    return made


def kept(runtime: Runtime, arn: str, **request: object) -> str | None:
    member = "recommenderArn" if ":recommender/" in arn else "campaignArn"
    answer = runtime.asked("GetRecommendations", **{member: arn}, userId="u", **request)
    shown = runtime.store.get_impressions(dataset("INTERACTIONS"), [answer["recommendationId"]])
    return shown.get(answer["recommendationId"])


@pytest.mark.parametrize(
    ("name", "listed"),
    [
        ("aws-user-personalization", "b|c|a"),
        ("aws-user-personalization-v2", "b|c|a"),
        ("aws-vod-top-picks", "b|c|a"),
        ("aws-hrnn-metadata", None),
        ("aws-popularity-count", None),
    ],
)
def test_lists_of_recipes_that_explore_are_known_by_their_recommendation(
    runtime: Runtime, name: str, listed: str | None
) -> None:
    assert kept(runtime, runtime.serving(RECIPES[name])) == listed


def test_so_much_is_kept_as_an_event_may_tell(runtime: Runtime) -> None:
    items = [f"{place:03}" for place in range(60)]
    arn = runtime.serving(RECIPES["aws-user-personalization"], scorer=Echo(items, [1.0]))
    assert kept(runtime, arn, numResults=50) == "|".join(items[:MOST_SHOWN])
    nothing = runtime.filter("INCLUDE ItemID WHERE Items.PRICE > 900")
    assert kept(runtime, arn, filterArn=nothing) is None
