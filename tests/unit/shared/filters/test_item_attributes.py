"""Attribute expressions of batch segment jobs: what they select, and what a wrong one is told."""

from __future__ import annotations

import pytest

from shared.filters import FilterError
from shared.filters.evaluation import FilterContext, compile_filter
from shared.filters.item_attributes import parse_item_attributes
from tests.unit.shared.filters.examples import SCHEMAS
from tests.unit.shared.filters.tables import table

ROWS = table(
    [
        {"GENRE": "Comedy|Action", "YEAR": 1999, "PRICE": 9.99},
        {"GENRE": "Comedy", "YEAR": 2001, "PRICE": 1.0},
        {"GENRE": "Action", "YEAR": 1999, "PRICE": None},
        None,
    ]
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('ITEMS.genre = "Comedy" AND ITEMS.genre = "Action"', [0]),
        ('ITEMS.genre = "Comedy"', [0, 1]),
        ("items.Genre='Action' and ITEMS.YEAR = 1999", [0, 2]),
        ("Items.PRICE = 9.99", [0]),
        ('Items.GENRE = "comedy"', []),
    ],
)
def test_items_with_all_attributes_are_selected(text: str, found: list[int]) -> None:
    apply = compile_filter(parse_item_attributes(text, SCHEMAS), ROWS)
    assert apply(FilterContext()).nonzero()[0].tolist() == found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it ends where there should be a dataset"),
        ('ITEMS.GENRE = "a" OR ITEMS.GENRE = "b"', "joined by AND alone, not by OR"),
        ('ITEMS.GENRE != "a"', "at line 1, column 1 must compare by ="),
        ('ITEMS.GENRE IN ("a")', "at line 1, column 1 must compare by ="),
        ('ITEMS.GENRE = "a" AND ITEMS.YEAR > 5', "at line 1, column 23 must compare by ="),
        ("ITEMS.GENRE = $GENRE", "must name the value itself"),
        ("ITEMS.GENRE = CurrentItem.GENRE", "must name the value itself"),
        ('Users.AGE = "a"', "the dataset at line 1, column 1 must be ITEMS"),
        ('ITEMS.COLOUR = "red"', "Items.COLOUR at line 1, column 1 is no field of the schema"),
        ("ITEMS.GENRE = Comedy", "a word without quotes"),
        ("ITEMS.GENRE = 5", "holds strings"),
        ('ITEMS.YEAR = "1999"', "holds numbers"),
        ('ITEMS.DESCRIPTION = "a"', "is textual"),
        ('ITEMS.GENRE = "a" ITEMS.YEAR = 5', "at line 1, column 19 there should be AND"),
        ('INCLUDE ItemID WHERE ITEMS.GENRE = "a"', "at line 1, column 9 there should be a dot"),
        ('ITEMS.GENRE = "a', "is not closed"),
    ],
)
def test_another_expression_is_refused_with_its_position(text: str, problem: str) -> None:
    with pytest.raises(FilterError) as refused:
        parse_item_attributes(text, SCHEMAS)
    assert problem in str(refused.value)


def test_a_group_without_items_is_told_to_create_the_dataset() -> None:
    with pytest.raises(FilterError, match="Create the dataset first"):
        parse_item_attributes('ITEMS.GENRE = "a"', {"INTERACTIONS": SCHEMAS["INTERACTIONS"]})
