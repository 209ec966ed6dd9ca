"""Which expressions are filters, what they are read as, and what the others are told."""

from __future__ import annotations

import re
import string
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.filters import (
    Condition,
    Expression,
    Filter,
    FilterError,
    TooManyFields,
    ValueKind,
    check_filter,
    parse_filter,
)
from shared.filters.expressions import CurrentItem, Operator, Placeholder
from tests.unit.shared.filters.examples import ACCEPTED, REFUSED, SCHEMAS


def checked(text: str) -> Filter:
    return check_filter(parse_filter(text), SCHEMAS)


@pytest.mark.parametrize("text", ACCEPTED.values(), ids=list(ACCEPTED))
def test_it_is_accepted(text: str) -> None:
    filter_ = checked(text)
    assert filter_.target in ("ITEMS", "USERS", "ACTIONS")
    assert {column.partition(".")[0] for column in filter_.columns} <= SCHEMAS.keys()


@pytest.mark.parametrize(("text", "problem"), REFUSED.items(), ids=list(REFUSED))
def test_it_is_refused_with_its_place(text: str, problem: str) -> None:
    with pytest.raises(FilterError) as refusal:
        checked(text)
    assert re.search(problem, str(refusal.value)), str(refusal.value)


def test_too_many_fields_are_told_from_other_faults() -> None:
    with pytest.raises(TooManyFields):
        checked(
            "INCLUDE ItemID WHERE "
            + " OR ".join(f"Items.{name} = 1" for name in [*"ABCDEFG", "YEAR"])
            + " OR Items.PRICE = CurrentItem.DOWNLOAD_COUNT IF CurrentUser.AGE > 1"
        )


def test_the_tree_is_in_the_names_and_types_of_the_schemas() -> None:
    assert checked(
        "include itemid where items.price <= $P and items.Genre in CurrentItem.genre or items.title != 'x'"
        " if currentuser.gender not in ('F', \"M\")"
    ) == Filter(
        (
            Expression(
                include=True,
                target="ITEMS",
                groups=(
                    (
                        Condition(
                            dataset="ITEMS",
                            column="PRICE",
                            operator=Operator.AT_MOST,
                            operands=(Placeholder("P"),),
                            kind=ValueKind.NUMBER,
                            single=True,
                        ),
                        Condition(
                            dataset="ITEMS",
                            column="GENRE",
                            operator=Operator.IN,
                            operands=(CurrentItem("GENRE", categorical=True),),
                            categorical=True,
                        ),
                    ),
                    (Condition(dataset="ITEMS", column="TITLE", operator=Operator.UNEQUAL, operands=("x",)),),
                ),
                user=(
                    Condition(
                        dataset="USERS",
                        column="GENDER",
                        operator=Operator.NOT_IN,
                        operands=("F", "M"),
                        categorical=True,
                    ),
                ),
            ),
        )
    )


def test_what_a_request_must_bring_is_known() -> None:
    filter_ = checked(
        "EXCLUDE ItemID WHERE Items.GENRE IN ($G) AND Items.YEAR = $Y | "
        "EXCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ($g, $G)"
    )
    assert filter_.placeholders == {
        "G": {ValueKind.TEXT, ValueKind.EVENT_TYPE},
        "Y": {ValueKind.NUMBER},
        "g": {ValueKind.EVENT_TYPE},
    }
    assert filter_.columns == {"ITEMS.GENRE", "ITEMS.YEAR", "INTERACTIONS.EVENT_TYPE"}


@pytest.mark.parametrize(
    ("text", "user", "item"),
    [
        ("EXCLUDE ItemID WHERE Items.YEAR = 1", False, False),
        ("EXCLUDE ItemID WHERE Items.YEAR = 1 IF CurrentUser.AGE = 1", True, False),
        ('EXCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("a")', True, False),
        ('EXCLUDE UserID WHERE Interactions.EVENT_TYPE IN ("a")', False, False),
        ("EXCLUDE ItemID WHERE Items.YEAR = CurrentItem.YEAR", False, True),
    ],
)
def test_whether_it_needs_a_user_or_an_item_is_known(text: str, user: bool, item: bool) -> None:
    filter_ = checked(text)
    assert (filter_.needs_user, filter_.needs_current_item) == (user, item)


def test_a_dataset_that_the_group_lacks_is_named() -> None:
    with pytest.raises(FilterError, match=r"Items.PRICE at line 1, column 22 names a dataset .* Create the dataset"):
        check_filter(parse_filter("INCLUDE ItemID WHERE Items.PRICE > 1"), {})


@pytest.mark.parametrize(
    "text",
    [
        "{} WHERE",
        'INCLUDE ItemID WHERE Items.YEAR = "{}"',
        "INCLUDE ItemID WHERE Items.TITLE = {}",
        'INCLUDE ItemID WHERE Items.TITLE < "{}"',
        'INCLUDE ItemID WHERE Items.TITLE IN ("{}',
    ],
)
def test_a_refusal_repeats_no_value(text: str) -> None:
    """AWS marks expressions as sensitive."""
    with pytest.raises(FilterError) as refusal:
        checked(text.format("secret"))
    assert "secret" not in str(refusal.value)


WORDS = ["INCLUDE", "EXCLUDE", "ItemID", "WHERE", "Items.PRICE", "CurrentUser.AGE", "AND", "OR", "IF", "NOT", "IN", "(",
         ")", '"a"', "'", "5", "$P", "*", "|", "=", "<", "CurrentItem.PRICE", "\n", "ü"]  # fmt: skip


@given(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join) | st.text(string.printable, max_size=40))
def test_no_text_ends_in_another_error(text: str) -> None:
    try:
        read = checked(text)
    except FilterError:
        return
    assert read.expressions


def test_reading_filters_is_cheap_to_import() -> None:
    """The API process checks filters; it does not need what evaluates them."""
    code = "import sys, shared.filters; print({'numpy', 'duckdb', 'torch'} & sys.modules.keys())"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"
