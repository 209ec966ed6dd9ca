"""One history of two sources: the events trained on and the live ones."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shared.recipes.scoring_api import Past
from shared.serving.newest_events import merge_newest
from shared.serving.user_history import merge_history
from tests.unit.services.runtime_world import event


def past(item: str, at: float) -> Past:
    return Past(item, at, "watch")


def test_live_events_go_where_their_time_puts_them() -> None:
    history = merge_history([past("a", 10), past("c", 30)], [event("d", 40.5), event("b", 20.0)])
    assert history == [past("a", 10), past("b", 20.0), past("c", 30), past("d", 40.5)]


def test_an_event_that_was_trained_on_counts_once() -> None:
    """Training keeps whole seconds of what was sent with fractions, and event types in lower case."""
    live = [event("a", 10.7), event("a", 11.2)]
    assert merge_history([past("a", 10)], live) == [past("a", 10), past("a", 11.2)]
    untyped = Past("a", 10)
    assert merge_history([untyped], live) == [untyped, past("a", 11.2)]


def test_events_of_two_types_are_two() -> None:
    history = merge_history([past("a", 10)], [event("a", 10.0, "Buy")])
    assert history == [past("a", 10), Past("a", 10.0, "buy")]


def test_of_two_sources_the_newest_items_of_each_type_are_known() -> None:
    bulk = {"watch": {"a": 5.0, "b": 1.0}, "buy": {"c": 9.0}}
    live = {"watch": {"b": 7.0, "d": 6.0}}
    assert merge_newest(bulk, live, 3) == {"watch": {"a": 5.0, "b": 7.0, "d": 6.0}, "buy": {"c": 9.0}}
    assert merge_newest(bulk, live, 2) == {"watch": {"b": 7.0, "d": 6.0}, "buy": {"c": 9.0}}
    assert merge_newest({}, {}, 2) == {}


def test_events_without_an_item_are_passed_over_and_ties_stay_in_order() -> None:
    history = merge_history([past("b", 10)], [event(None, 5.0), event("a", 10.0), event("c", 10.0)])
    assert history == [past("b", 10), past("a", 10.0), past("c", 10.0)]


EVENTS = st.tuples(
    st.sampled_from("ab"), st.sampled_from([8.0, 9.5, 10.0, 10.4, 11.0]), st.sampled_from(["Watch", "Buy"])
)


@given(st.lists(EVENTS, max_size=6), st.lists(EVENTS, max_size=6))
def test_histories_are_joined_as_if_all_of_both_were_looked_at(
    bulk: list[tuple[str, float, str]], live: list[tuple[str, float, str]]
) -> None:
    trained = sorted((Past(item, int(at), type_.lower()) for item, at, type_ in bulk), key=lambda one: one.timestamp)
    sent = [event(item, at, type_) for item, at, type_ in live]
    plain = [
        Past(item, at, type_.lower()) for item, at, type_ in live if Past(item, int(at), type_.lower()) not in trained
    ]
    assert merge_history(trained, sent) == sorted([*trained, *plain], key=lambda one: one.timestamp)
