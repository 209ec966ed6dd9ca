"""The pipeline's pure parts: one history of two sources, and the ranking of scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.runtime.recommend import merged, ranked
from shared.recipes.contract import Past
from shared.store import Interaction


def event(item: str | None, at: float, event_type: str = "Watch") -> Interaction:
    return Interaction(user_id="u", session_id="s", item_id=item, event_type=event_type, event_value=None, sent_at=at)


def past(item: str, at: float) -> Past:
    return Past(item, at, "watch")


def test_live_events_go_where_their_time_puts_them() -> None:
    history = merged([past("a", 10), past("c", 30)], [event("d", 40.5), event("b", 20.0)])
    assert history == [past("a", 10), past("b", 20.0), past("c", 30), past("d", 40.5)]


def test_an_event_that_was_trained_on_counts_once() -> None:
    """Training keeps whole seconds of what was sent with fractions, and event types in lower case."""
    live = [event("a", 10.7), event("a", 11.2)]
    assert merged([past("a", 10)], live) == [past("a", 10), past("a", 11.2)]
    untyped = Past("a", 10)
    assert merged([untyped], live) == [untyped, past("a", 11.2)]


def test_events_of_two_types_are_two() -> None:
    history = merged([past("a", 10)], [event("a", 10.0, "Buy")])
    assert history == [past("a", 10), Past("a", 10.0, "buy")]


def test_events_without_an_item_are_passed_over_and_ties_stay_in_order() -> None:
    history = merged([past("b", 10)], [event(None, 5.0), event("a", 10.0), event("c", 10.0)])
    assert history == [past("b", 10), past("a", 10.0), past("c", 10.0)]


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=30), st.integers(0, 40))
def test_the_best_items_come_first_and_ties_by_id(scores: list[float], wanted: int) -> None:
    ids = [f"i{number:02}" for number in range(len(scores))][::-1]
    listed = ranked(ids, np.array(scores, np.float32), wanted)
    assert len(listed) == min(wanted, len(scores))
    assert [row["score"] for row in listed] == sorted((row["score"] for row in listed), reverse=True)
    best = sorted(scores, reverse=True)[: len(listed)]
    assert [row["score"] for row in listed] == pytest.approx(best, abs=1e-7)
    if wanted >= len(scores):
        order = sorted(zip((-score for score in scores), ids, strict=True))
        assert [row["itemId"] for row in listed] == [item for _, item in order]
