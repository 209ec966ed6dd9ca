"""Which rows a filter lets through, by examples that can be read."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from shared.filters import FilterValueError, check_filter, parse_filter
from shared.filters.evaluation import FilterContext, compile_filter
from tests.unit.shared.filters.examples import SCHEMAS
from tests.unit.shared.filters.tables import Row, table

#: By their names; d has nulls, and of e only interactions know.
ITEMS: Mapping[str, Row | None] = {
    "a": {"ITEM_ID": "a", "GENRE": "Comedy|Drama", "TITLE": "x|y", "PRICE": 9.99, "YEAR": 1999},
    "b": {"ITEM_ID": "b", "GENRE": "Drama", "TITLE": "x", "PRICE": 5.0, "YEAR": 2001},
    "c": {"ITEM_ID": "c", "GENRE": "comedy", "TITLE": "y", "PRICE": 20.0, "YEAR": 2010},
    "d": {"ITEM_ID": "d", "GENRE": None, "TITLE": None, "PRICE": None, "YEAR": None},
    "e": None,
}


NOTHING = FilterContext()


def through(text: str, context: FilterContext = NOTHING) -> str:
    """The names of the rows that are let through."""
    mask = compile_filter(check_filter(parse_filter(text), SCHEMAS), table(list(ITEMS.values())))(context)
    return "".join(name for name, one in zip(ITEMS, mask.tolist(), strict=True) if one)


@pytest.mark.parametrize(
    ("conditions", "kept"),
    [
        ('Items.GENRE IN ("Drama")', "ab"),
        ('Items.GENRE IN ("Comedy", "comedy")', "ac"),
        ('Items.GENRE = "Drama"', "ab"),
        # Null is nothing that is asked for, and none of what is not.
        ('Items.GENRE NOT IN ("Drama")', "cd"),
        ('Items.GENRE != "Drama"', "cd"),
        # Only a categorical column holds several values.
        ('Items.TITLE IN ("x")', "b"),
        ('Items.TITLE IN ("x|y")', "a"),
        ("Items.PRICE < 9.99", "b"),
        # What a float of 32 bits is nearest to is what it is equal to.
        ("Items.PRICE = 9.99", "a"),
        ("Items.PRICE != 9.99", "bcd"),
        ("Items.PRICE <= 1e300", "abc"),
        ("Items.YEAR >= 2001 AND Items.PRICE > 5", "c"),
        ("Items.YEAR = 1999 OR Items.YEAR > 2001 AND Items.PRICE < 5", "a"),
        ('Items.ITEM_ID IN ("a", "e")', "a"),
        ('Items.GENRE IN ("Horror")', ""),
    ],
)
def test_a_condition_holds_for(conditions: str, kept: str) -> None:
    assert through(f"INCLUDE ItemID WHERE {conditions}") == kept
    assert through(f"EXCLUDE ItemID WHERE {conditions}") == "".join(name for name in "abcde" if name not in kept)


EVENTS = FilterContext(events={"Click": np.array([0, 4]), "buy": np.array([4]), "watch": np.array([1])})


@pytest.mark.parametrize(
    ("conditions", "kept"),
    [
        ('IN ("click")', "ae"),
        ('= "CLICK"', "ae"),
        ('IN ("BUY", "watch")', "be"),
        ('IN ("*")', "abe"),
        ("IN (*)", "abe"),
        ('NOT IN ("click")', "bcd"),
        ('NOT IN ("*")', "cd"),
        ('IN ("click") AND Interactions.EVENT_TYPE IN ("buy")', "e"),
        ('IN ("sell")', ""),
    ],
)
def test_interactions_are_those_of_the_user(conditions: str, kept: str) -> None:
    assert through(f"INCLUDE ItemID WHERE Interactions.EVENT_TYPE {conditions}", EVENTS) == kept


def test_who_has_no_events_is_included_nothing() -> None:
    assert through('INCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("*")') == ""
    assert through('EXCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("*")') == "abcde"


def test_event_types_come_with_the_request() -> None:
    text = "EXCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ($TYPES)"
    for values, kept in (({}, "abcde"), ({"TYPES": '"click","watch"'}, "cd"), ({"TYPES": '"*"'}, "cd")):
        assert through(text, FilterContext(values=values, events=EVENTS.events)) == kept


def test_expressions_are_joined_whatever_their_order() -> None:
    parts = [
        'INCLUDE ItemID WHERE Items.GENRE IN ("Drama")',
        'INCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("buy")',
        'EXCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("watch")',
        "EXCLUDE ItemID WHERE Items.YEAR > 2005",
    ]
    assert through("|".join(parts), EVENTS) == "ae"
    assert through("|".join(reversed(parts)), EVENTS) == "ae"
    assert through("|".join(parts[:2]), EVENTS) == "abe"
    assert through("|".join(parts[2:]), EVENTS) == "ade"


@pytest.mark.parametrize(
    ("condition", "user", "holds"),
    [
        ("AGE > 18", {"AGE": 19}, True),
        ("AGE > 18", {"AGE": 18}, False),
        ("AGE > 18", {}, False),
        ("AGE != 18", {"AGE": None}, True),
        ('GENDER IN ("F")', {"GENDER": "X|F"}, True),
        ('GENDER NOT IN ("F")', {"GENDER": "X|F"}, False),
        ('GENDER NOT IN ("F")', {}, True),
        ('MEMBERSHIP = "gold"', {"MEMBERSHIP": "gold"}, True),
        ('AGE > 18 AND CurrentUser.GENDER IN ("F")', {"AGE": 19, "GENDER": "M"}, False),
        ("AGE = $AGE", {"AGE": 19}, True),
    ],
)
def test_an_expression_whose_if_fails_is_as_if_it_were_not_written(condition: str, user: Row, holds: bool) -> None:
    context = FilterContext(user=user, values={"AGE": "19"})
    end = f"WHERE Items.YEAR = 1999 IF CurrentUser.{condition}"
    assert through(f"INCLUDE ItemID {end}", context) == ("a" if holds else "abcde")
    assert through(f"EXCLUDE ItemID {end}", context) == ("bcde" if holds else "abcde")
    other = "INCLUDE ItemID WHERE Items.YEAR = 2001"
    assert through(f"INCLUDE ItemID {end} | {other}", context) == ("ab" if holds else "b")


@pytest.mark.parametrize(
    ("condition", "item", "kept"),
    [
        ("PRICE < CurrentItem.PRICE", {"PRICE": 9.99}, "b"),
        ("PRICE >= CurrentItem.YEAR", {"YEAR": 10}, "c"),
        ("GENRE IN CurrentItem.GENRE", {"GENRE": "comedy|Drama"}, "abc"),
        ("TITLE IN CurrentItem.TITLE", {"TITLE": "x|y"}, "a"),
        ("GENRE IN CurrentItem.TITLE", {"TITLE": "comedy|Drama"}, ""),
        ("TITLE IN CurrentItem.GENRE", {"GENRE": "x|y"}, "bc"),
        ("PRICE < CurrentItem.PRICE", {}, ""),
        ("GENRE IN CurrentItem.GENRE", {"GENRE": None}, ""),
        ("PRICE != CurrentItem.PRICE", {}, "abcd"),
    ],
)
def test_the_current_item_is_compared_with(condition: str, item: Row, kept: str) -> None:
    assert through(f"INCLUDE ItemID WHERE Items.{condition}", FilterContext(current_item=item)) == kept


def test_an_answer_is_the_callers_own() -> None:
    """What is the same for every request is computed once, and must not be changed by who was given it."""
    for text in ("INCLUDE ItemID WHERE Items.YEAR = 1999", "EXCLUDE ItemID WHERE Items.YEAR = $Y"):
        applied = compile_filter(check_filter(parse_filter(text), SCHEMAS), table(list(ITEMS.values())))
        first = applied(FilterContext())
        expected = first.copy()
        first[:] = ~first
        assert np.array_equal(applied(FilterContext()), expected)


@pytest.mark.parametrize(
    ("conditions", "kept"),
    [
        ("Items.GENRE IN ('comedy', $G)", "abc"),
        ("Items.GENRE = $G", "ab"),
        ("Items.GENRE IN ($G) AND Items.PRICE < $P", "b"),
        ("Items.PRICE >= $P OR Items.TITLE != $T", "acd"),
        ("Items.GENRE IN ($G) IF CurrentUser.AGE = $A AND CurrentUser.GENDER IN ($G)", "ab"),
        ("Items.GENRE IN ($G) IF CurrentUser.AGE > $A", "abcde"),
    ],
)
def test_values_of_the_request_stand_for_placeholders(conditions: str, kept: str) -> None:
    values = {"G": '"Drama","Comedy"', "P": '"9.99"', "T": "x", "A": " 18 "}
    context = FilterContext(values=values, user={"AGE": 18, "GENDER": "Comedy"})
    assert through(f"INCLUDE ItemID WHERE {conditions}", context) == kept


def test_an_exclusion_does_without_values_that_are_missing() -> None:
    text = "EXCLUDE ItemID WHERE Items.GENRE IN ('Drama', $G) AND Items.PRICE < $P"
    assert through(text) == "cde"
    assert through(text, FilterContext(values={"G": "comedy"})) == "de"


def test_a_missing_value_of_include_is_refused() -> None:
    with pytest.raises(FilterValueError):
        through("INCLUDE ItemID WHERE Items.GENRE IN ($G)")
