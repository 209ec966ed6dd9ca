"""Masks over columns find what looking at row after row finds, for any filter and any request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.filters import FilterValueError, check_filter, parse_filter
from shared.filters.evaluation import FilterContext, compile_filter
from tests.unit.shared.filters.examples import SCHEMAS
from tests.unit.shared.filters.row_by_row import COMPARISONS, Check, Given, Part, Seed, World, let_through, written
from tests.unit.shared.filters.tables import table

WORDS = st.sampled_from(["Drama", "drama", "x"])
NUMBERS = st.sampled_from([0, 2, 9.99])
KINDS = st.sampled_from(["click", "Click", "buy"])
CELLS = {
    "GENRE": st.none() | st.lists(WORDS, min_size=1, max_size=3).map("|".join),
    "TITLE": st.none() | WORDS,
    "PRICE": st.none() | NUMBERS,
    "YEAR": st.none() | st.sampled_from([0, 2, 10]),
}
USERS = {"GENDER": CELLS["GENRE"], "MEMBERSHIP": CELLS["TITLE"], "AGE": CELLS["YEAR"]}
COMPARING = st.sampled_from(list(COMPARISONS))


def some(operands: st.SearchStrategy[Any], most: int = 3) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(operands, min_size=1, max_size=most).map(tuple)


def checks(
    dataset: str, columns: list[str], operators: st.SearchStrategy[str], operands: st.SearchStrategy[tuple[Any, ...]]
) -> st.SearchStrategy[Check]:
    return st.builds(Check, st.just(dataset), st.sampled_from(columns), operators, operands)


def of_words(dataset: str, columns: list[str]) -> st.SearchStrategy[Check]:
    words_or_given = WORDS | st.sampled_from([Given("S"), Given("T")])
    return (
        checks(dataset, columns, st.just("IN"), some(words_or_given))
        | checks(dataset, columns, st.just("NOT IN"), some(WORDS))
        | checks(dataset, columns, st.sampled_from(["=", "!="]), some(words_or_given, 1))
    )


def of_numbers(dataset: str, columns: list[str]) -> st.SearchStrategy[Check]:
    return checks(dataset, columns, COMPARING, some(NUMBERS | st.sampled_from([Given("M"), Given("N")]), 1))


OF_ITEMS = (
    of_words("Items", ["GENRE", "TITLE"])
    | of_numbers("Items", ["PRICE", "YEAR"])
    | checks("Items", ["GENRE", "TITLE"], st.just("IN"), some(st.sampled_from([Seed("GENRE"), Seed("TITLE")]), 1))
    | checks("Items", ["PRICE", "YEAR"], COMPARING, some(st.sampled_from([Seed("PRICE"), Seed("YEAR")]), 1))
)
OF_EVENTS = checks(
    "Interactions", ["EVENT_TYPE"], st.just("IN"), some(KINDS | st.just("*") | st.just(Given("E")))
) | checks("Interactions", ["EVENT_TYPE"], st.just("NOT IN"), some(KINDS | st.just("*")))
OF_USERS = of_words("CurrentUser", ["GENDER", "MEMBERSHIP"]) | of_numbers("CurrentUser", ["AGE"])
GROUPS = some(some(OF_ITEMS, 2), 2) | some(some(OF_EVENTS, 2), 2)
PARTS = some(st.builds(Part, st.booleans(), GROUPS, st.lists(OF_USERS, max_size=1).map(tuple)), 2)
ONE_CHECK = st.builds(Part, st.booleans(), some(some(OF_ITEMS | OF_EVENTS, 1), 1), st.just(()))

SOME_WORDS = st.lists(WORDS, min_size=1, max_size=2)
VALUES = {"S": SOME_WORDS, "T": SOME_WORDS, "M": NUMBERS, "N": NUMBERS, "E": st.lists(KINDS, min_size=1, max_size=2)}
WORLDS = st.builds(
    World,
    st.lists(st.none() | st.fixed_dictionaries(CELLS), min_size=3, max_size=8).map(tuple),
    st.fixed_dictionaries(VALUES) | st.fixed_dictionaries({}, optional=VALUES),
    st.fixed_dictionaries(USERS) | st.just({}),
    st.dictionaries(st.sampled_from(["click", "BUY", "watch"]), st.frozensets(st.integers(0, 2), min_size=1)),
    st.fixed_dictionaries(CELLS) | st.just({}),
)


@given(ONE_CHECK, WORLDS)
def test_a_condition_holds_for_the_same_rows(part: Part, world: World) -> None:
    assert_same([part], world)


@given(PARTS, WORLDS)
def test_a_filter_lets_the_same_rows_through(parts: tuple[Part, ...], world: World) -> None:
    assert_same(parts, world)


def assert_same(parts: Sequence[Part], world: World) -> None:
    applied = compile_filter(check_filter(parse_filter(written(parts)), SCHEMAS), table(world.rows))
    expected = let_through(parts, world)
    if expected is None:
        with pytest.raises(FilterValueError):
            applied(context(world))
    else:
        assert applied(context(world)).tolist() == expected


def context(world: World) -> FilterContext:
    return FilterContext(
        values={
            name: ",".join(f'"{each}"' for each in value) if isinstance(value, list) else str(value)
            for name, value in world.values.items()
        },
        user=world.user,
        events={event_type: np.array(sorted(rows)) for event_type, rows in world.events.items()},
        current_item=world.current_item,
    )
