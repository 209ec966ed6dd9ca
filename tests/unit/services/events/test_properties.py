"""What a property may be: what a cell of an imported file may be, and no more."""

from __future__ import annotations

from typing import Any

import pytest

from services.events.properties import convert_properties, convert_value, parse_properties
from shared.aws.errors import InvalidInput
from shared.data.schemas import Field


def field(kind: str = "string", name: str = "NUM_RATINGS", **more: Any) -> Field:
    return Field(name=name, type=kind, **more)


@pytest.mark.parametrize("key", ["numRatings", "NUM_RATINGS", "num_ratings", "NumRatings"])
def test_a_key_is_its_column_however_it_is_written(key: str) -> None:
    assert convert_properties({key: "x", "unknown": [1], "": {}}, [field()], "here") == {"NUM_RATINGS": "x"}


@pytest.mark.parametrize("text", [None, "", "  ", "{}"])
def test_no_properties_are_none(text: str | None) -> None:
    assert parse_properties(text, "here") == {}


@pytest.mark.parametrize("text", ["{", "[]", "3", '"x"', '{"a": NaN}', '{"a": "\\ud800"}', "{'a': 1}"])
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"Error parsing properties json: here\.properties"):
        parse_properties(text, "here")


@pytest.mark.parametrize(
    ("kind", "sent", "kept"),
    [
        ("string", "Horror|Action", "Horror|Action"),
        ("string", "日" * 1000, "日" * 1000),
        ("int", 2**31 - 1, 2**31 - 1),
        ("int", "12", 12),
        ("long", "-7", -7),
        ("long", -(2**63), -(2**63)),
        ("float", "2.5", 2.5),
        ("float", 3, 3.0),
        ("double", 1e300, 1e300),
        ("double", "1e-3", 0.001),
        ("boolean", True, True),
        ("boolean", "false", False),
    ],
)
def test_what_fits_is_kept(kind: str, sent: Any, kept: Any) -> None:
    found = convert_value(sent, field(kind), "here")
    assert (found, type(found)) == (kept, type(kept))


@pytest.mark.parametrize(
    ("kind", "sent"),
    [
        ("string", 3), ("string", ["a"]), ("string", True), ("string", "a\0b"), ("string", "x" * 1001),
        ("int", 2**31), ("int", 1.0), ("int", "1.5"), ("int", "1e3"), ("int", True), ("int", "9" * 5000),
        ("long", 2**63), ("long", "१"), ("float", 1e39), ("float", "NaN"), ("float", "inf"), ("float", "1_000"),
        ("float", "high"), ("float", {}), ("double", 10**400), ("boolean", "True"), ("boolean", 1), ("boolean", []),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_its_place(kind: str, sent: Any) -> None:
    with pytest.raises(InvalidInput, match="here"):
        convert_value(sent, field(kind), "here")


@pytest.mark.parametrize("sent", [None, ""])
@pytest.mark.parametrize("kind", ["string", "int", "float", "boolean"])
def test_what_is_empty_is_null(kind: str, sent: Any) -> None:
    assert convert_value(sent, field(kind, nullable=True), "here") is None
    with pytest.raises(InvalidInput, match="here is empty, but the schema does not allow null"):
        convert_value(sent, field(kind), "here")


def test_a_text_is_as_long_as_it_likes() -> None:
    assert convert_value("x" * 30_000, field(textual=True), "here") == "x" * 30_000


@pytest.mark.parametrize("sent", [0, 11, "11"])
def test_the_value_of_an_action_is_1_to_10(sent: Any) -> None:
    with pytest.raises(InvalidInput, match="here must be 1 to 10"):
        convert_value(sent, field("long", "VALUE", limits=(1, 10)), "here")


def test_a_time_in_milliseconds_is_pointed_out() -> None:
    with pytest.raises(InvalidInput, match="It looks like milliseconds; divide by 1000"):
        convert_value(1_700_000_000_000, field("long", "CREATION_TIMESTAMP"), "here")
    assert convert_value(1_700_000_000_000, field("long", "PRICE"), "here") == 1_700_000_000_000
