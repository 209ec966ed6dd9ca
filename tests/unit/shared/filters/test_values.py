"""filterValues: how a value is read, and what happens where one is missing."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.filters import Filter, FilterValueError, check_filter, parse_filter
from shared.filters.values import drop_missing_values, parse_strings
from tests.unit.shared.filters.examples import SCHEMAS


def after(text: str, values: Mapping[str, str]) -> Filter:
    return drop_missing_values(check_filter(parse_filter(text), SCHEMAS), values)


def same(text: str) -> Filter:
    return check_filter(parse_filter(text), SCHEMAS)


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ('"comedy","drama"', ["comedy", "drama"]),
        ('"comedy", "drama, black"', ["comedy", "drama, black"]),
        ("'comedy','drama'", ["comedy", "drama"]),
        ("comedy", ["comedy"]),
        (" comedy , science fiction,", ["comedy", "science fiction"]),
        ('"O\'Brien"', ["O'Brien"]),
        ("Rock 'n' Roll", ["Rock 'n' Roll"]),
        ('""', [""]),
        ("", []),
        (" , ", []),
    ],
)
def test_a_value_is_a_list_of_strings(value: str, read: list[str]) -> None:
    assert parse_strings(value) == read


@given(st.lists(st.text().filter(lambda each: '"' not in each), max_size=5))
def test_what_is_quoted_is_read_as_it_was(wanted: list[str]) -> None:
    assert parse_strings(",".join(f'"{each}"' for each in wanted)) == wanted


@given(st.text(max_size=60))
def test_no_value_ends_in_an_error(value: str) -> None:
    assert all(isinstance(each, str) for each in parse_strings(value))


@given(st.text(alphabet=" ,\t\n\"'a", max_size=6))
def test_a_value_without_strings_is_a_missing_one(value: str) -> None:
    text = "EXCLUDE ItemID WHERE Items.GENRE IN ($G)"
    assert after(text, {"G": value}).expressions == (same(text).expressions if parse_strings(value) else ())


def test_with_all_its_values_a_filter_stays_as_it_is() -> None:
    text = "INCLUDE ItemID WHERE Items.GENRE IN ('a', $G) AND Items.PRICE < $P IF CurrentUser.AGE = $A"
    assert after(text, {"G": '"b","c"', "P": '"9.5"', "A": " 18 ", "more": "x"}) == same(text)


@pytest.mark.parametrize("values", [{}, {"g": "a"}, {"G": ""}, {"G": ", "}])
def test_include_needs_every_value(values: dict[str, str]) -> None:
    for text in (
        "Items.GENRE IN ($G)",
        "Items.YEAR = 1 OR Items.GENRE IN ($G)",
        "Items.YEAR = 1 IF CurrentUser.AGE = $G",
    ):
        with pytest.raises(FilterValueError, match="no value for G"):
            after(f"INCLUDE ItemID WHERE {text}", values)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Items.GENRE IN ('a', $G)", "Items.GENRE IN ('a', $G)"),
        ("Items.GENRE IN ($G) AND Items.YEAR = 1", "Items.YEAR = 1"),
        ("Items.GENRE IN ($G) OR Items.YEAR = 1", "Items.YEAR = 1"),
        ("Items.PRICE > $G AND Items.YEAR = 1 OR Items.GENRE IN ($G)", "Items.YEAR = 1"),
    ],
)
def test_exclude_does_without_what_has_no_value(text: str, left: str) -> None:
    assert after(f"EXCLUDE ItemID WHERE {text}", {}) == same(f"EXCLUDE ItemID WHERE {left}")


def test_an_exclusion_without_conditions_left_is_gone() -> None:
    assert after("EXCLUDE ItemID WHERE Items.GENRE IN ($G)", {}).expressions == ()


def test_an_if_that_lacks_its_value_does_not_hold() -> None:
    text = "EXCLUDE ItemID WHERE Items.YEAR = 1 IF CurrentUser.AGE = $A"
    assert after(f"INCLUDE ItemID WHERE Items.YEAR = 2 | {text}", {}) == same("INCLUDE ItemID WHERE Items.YEAR = 2")


def test_in_a_mixed_filter_each_expression_has_its_own_rule() -> None:
    text = "INCLUDE ItemID WHERE Items.GENRE IN ($G) | EXCLUDE ItemID WHERE Items.YEAR = $Y"
    assert after(text, {"G": "a"}) == same("INCLUDE ItemID WHERE Items.GENRE IN ($G)")
    with pytest.raises(FilterValueError, match="no value for G"):
        after(text, {"Y": "1"})


@pytest.mark.parametrize("value", ['["comedy","drama"]', ' ["comedy"] ', "[]", "[1, 2]", '["a", ["b"]]'])
def test_a_json_list_is_told_what_a_value_is(value: str) -> None:
    for text in ("INCLUDE ItemID WHERE Items.GENRE IN ($G)", "EXCLUDE ItemID WHERE Items.PRICE > $G"):
        with pytest.raises(
            FilterValueError, match=r'The value of G .* is a JSON list. Leave out the .* "first","second"'
        ):
            after(text, {"G": value})


@pytest.mark.parametrize("value", ['"[comedy]"', "[comedy]", '"[1]"', "[", "[" * 100_000])
def test_brackets_that_are_no_json_list_are_letters(value: str) -> None:
    text = "EXCLUDE ItemID WHERE Items.GENRE IN ($G)"
    assert after(text, {"G": value}) == same(text)


@pytest.mark.parametrize("value", ["many", "1,2", '"1","2"', "nan", "inf", "1e999", "1_000", "٣"])
def test_a_number_must_be_one(value: str) -> None:
    with pytest.raises(FilterValueError, match="The value of P in filterValues must be a number") as refusal:
        after("EXCLUDE ItemID WHERE Items.PRICE > $P", {"P": value})
    assert value not in str(refusal.value).removeprefix("The value of P in filterValues must be a number")
