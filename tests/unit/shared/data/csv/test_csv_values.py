"""Cells of CSV files: how each type is read, and the values that are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.shared.data.csv.importer import HEADER, TYPED, USERS, Importer, schema


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ('"a, b"', "a, b"), ('"a\nb"', "a\nb"), ('"a\r\nb"', "a\r\nb"), ('"a\n\n\nb"', "a\n\n\nb"),
        ('"say ""hi"""', 'say "hi"'), ('""""', '"'), (r'"say \"hi\""', 'say "hi"'), (r'"a\\b"', r"a\b"),
        (r'"both ""ways"" and \"ways\", yes"', 'both "ways" and "ways", yes'), (r'"\"', None),
        (r"C:\dir", r"C:\dir"), (r'"C:\dir, x"', r"C:\dir, x"), (r'"\n"', r"\n"), (r'"\\\"x"', r"\"x"),
        ('5" pipe', '5" pipe'), ("it's", "it's"), ("a;b|c\td", "a;b|c\td"), ("#1", "#1"), ("NULL", "NULL"),
        ("null", "null"), ("NaN", "NaN"), (" x ", " x "), ("", None), ('""', None), ("日本語 👩‍👩‍👧", "日本語 👩‍👩‍👧"),
        ('"\\""', '"'), ("'", "'"), ("{x}", "{x}"), ("\x01\x7f", "\x01\x7f"),
    ],
)  # fmt: skip
def test_a_string_is_read_as_it_is_written(importer: Importer, written: str, value: str | None) -> None:
    content = f"USER_ID,NOTE\n1,{written}\n2,after\n"
    if written == r'"\"':
        # A backslash before the last quote makes it a letter: the value never ends.
        assert "a quote that is not closed" in importer.failure(content, schema=USERS)
    else:
        assert importer.rows(content, schema=USERS) == [("1", value), ("2", "after")]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", ["", "END"])
def test_line_endings_do_not_matter(importer: Importer, end: str, last: str) -> None:
    content = f"USER_ID,NOTE{end}1,a{end}{end}2,b{last and end}"
    assert importer.rows(content, schema=USERS) == [("1", "a"), ("2", "b")]


def test_line_endings_may_be_mixed(importer: Importer) -> None:
    content = 'USER_ID,NOTE\r\n1,a\n2,"b\nc"\r\n3,"d\r\ne"\n4,"f\rg"\r\n'
    assert importer.rows(content, schema=USERS) == [("1", "a"), ("2", "b\nc"), ("3", "d\r\ne"), ("4", "f\rg")]


def test_lone_carriage_returns_are_pointed_out(importer: Importer) -> None:
    assert importer.failure("USER_ID,NOTE\r1,a\r", schema=USERS).startswith(
        "The lines of data.csv end with a lone carriage return."
    )
    assert importer.failure('USER_ID,NOTE\n1,"a\rb"\n2,c\rd\n', schema=USERS) == (
        "data.csv line 3: a carriage return stands outside quotes. Remove it, or put the value in quotes."
    )


@pytest.mark.parametrize(
    ("column", "written", "value"),
    [
        ("I", "5", 5), ("I", "-5", -5), ("I", "+5", 5), ("I", "007", 7), ("I", " 5 ", 5), ("I", '"5"', 5),
        ("I", "-2147483648", -2147483648), ("L", "9223372036854775807", 9223372036854775807), ("L", "", None),
        ("F", "1.5", 1.5), ("F", ".5", 0.5), ("F", "5.", 5.0), ("F", "1e3", 1000.0), ("F", "-1E-3", -0.001),
        ("D", "0.1", 0.1), ("D", "1e308", 1e308), ("F", "3", 3.0), ("F", "", None), ("B", "true", True),
        ("B", "false", False), ("B", "", None), ("F", "1e-400", 0.0),
    ],
)  # fmt: skip
def test_numbers_and_booleans(importer: Importer, column: str, written: str, value: Any) -> None:
    cells = {"I": "", "L": "", "F": "", "D": "", "B": "", column: written}
    [row] = importer.rows("USER_ID,I,L,F,D,B\nu," + ",".join(cells.values()) + "\n", schema=TYPED)
    assert row[1 + list(cells).index(column)] == (pytest.approx(value) if column == "F" and value else value)


@pytest.mark.parametrize(
    ("column", "written", "problem"),
    [
        *[("I", each, "is not a whole number") for each in ("1.0", "1.5", "1e3", "1_000", "0x1F", "x", "--1")],
        *[("L", each, "is not a whole number") for each in ("1.0", "\u0663", " ", "1 2", "+")],
        ("I", "2147483648", "is out of the range of int"), ("L", "9223372036854775808", "is out of the range of long"),
        ("F", "x", "is not a number"), ("F", "1,5", "is not a number"), ("F", "1_0.5", "is not a number"),
        *[("F", each, "is not a finite number within the range of float") for each in ("nan", "inf", "1e39")],
        *[("D", each, "is not a finite number within the range of double") for each in ("-Infinity", "1e400")],
        ("B", "True", "is not true or false in lower case"), ("B", "1", "is not true or false in lower case"),
    ],
)  # fmt: skip
def test_what_is_no_number_or_boolean_is_refused(importer: Importer, column: str, written: str, problem: str) -> None:
    cells = {"I": "", "L": "", "F": "", "D": "", "B": "", column: f'"{written}"'}
    content = "USER_ID,I,L,F,D,B\nu,1,1,1,1,true\nv," + ",".join(cells.values()) + "\n"
    assert importer.failure(content, schema=TYPED) == (
        f"data.csv line 3, column {column}: {json.dumps(written, ensure_ascii=False)} {problem}. "
        "Correct it and create a new dataset import job."
    )


@pytest.mark.parametrize("value", ["", '""'])
def test_an_empty_cell_is_refused_where_the_schema_does_not_allow_null(importer: Importer, value: str) -> None:
    assert importer.failure(HEADER + f"a,1,2,x,\n{value},1,2,x,\n").startswith(
        "data.csv line 3, column USER_ID: the cell is empty, but the schema does not allow null."
    )


@pytest.mark.parametrize("written", ["1700000000000", "100000000001", "9223372036854775807"])
def test_milliseconds_are_refused(importer: Importer, written: str) -> None:
    assert importer.failure(HEADER + f"a,1,{written},x,\n").startswith(
        f'data.csv line 2, column TIMESTAMP: "{written}" is not a time in seconds since 1970. '
        "It looks like milliseconds; divide by 1000."
    )
    assert importer.rows(HEADER + "a,1,100000000000,x,\n")


def test_milliseconds_are_refused_in_items_too(importer: Importer) -> None:
    items = schema("Items", "ITEM_ID string", "CREATION_TIMESTAMP long null", "PRICE int null")
    content = "ITEM_ID,CREATION_TIMESTAMP,PRICE\n1,1700000000000,\n"
    assert "looks like milliseconds" in importer.failure(content, schema=items)


@pytest.mark.parametrize(("value", "days", "problem"), [
    ("1", "0", None), ("10", "30", None), ("0", "7", "is not 1 to 10"), ("11", "", "is not 1 to 10"),
    ("", "31", "is not 0 to 30"), ("5", "-1", "is not 0 to 30"),
])  # fmt: skip
def test_the_value_of_an_action_and_the_days_until_its_repeat_are_limited(
    importer: Importer, value: str, days: str, problem: str | None
) -> None:
    actions = schema("Actions", "ACTION_ID string", "VALUE long null", "REPEAT_FREQUENCY long null", "KIND string")
    content = f"ACTION_ID,VALUE,REPEAT_FREQUENCY,KIND\na,{value},{days},x\n"
    if problem is None:
        assert importer.rows(content, schema=actions) == [("a", int(value), int(days), "x")]
    else:
        assert problem in importer.failure(content, schema=actions)


@pytest.mark.parametrize("letter", ["x", "é", "日", "👩"])
@pytest.mark.parametrize(
    ("column", "limit"),
    [("USER_ID", 256), ("ITEM_ID", 256), ("KIND", 1000), ("PLAIN", 1000), ("IMPRESSION", 1000), ("EVENT_TYPE", 1000)],
)
def test_strings_have_a_longest_length_in_characters(importer: Importer, column: str, limit: int, letter: str) -> None:
    long = schema(
        "Interactions", "USER_ID string", "ITEM_ID string", "TIMESTAMP long", "EVENT_TYPE string",
        "KIND string categorical", "PLAIN string", "IMPRESSION string null",
    )  # fmt: skip
    names = [field.name for field in long.fields]
    row = dict.fromkeys(names, "1") | {column: letter * limit}
    header = ",".join(names)
    [imported] = importer.rows(f"{header}\n{','.join(row.values())}\n", schema=long)
    assert imported[names.index(column)] == letter * limit
    importer.target.unlink()
    row[column] += letter
    assert importer.failure(f"{header}\n{','.join(row.values())}\n", schema=long) == (
        f'data.csv line 2, column {column}: "{letter * 37}..." is too long. '
        f"Length cannot be more than {limit} characters for {column}. "
        "Correct it and create a new dataset import job."
    )


@pytest.mark.parametrize(
    ("letters", "limit"),
    [("x", 20_000), ("é", 20_000), ("한", 20_000), ("日", 7_000), ("かカ", 7_000), ("日x", 7_000), ("日xy", 20_000)],
)
def test_a_text_is_cut_sooner_where_half_of_it_is_chinese_or_japanese(
    importer: Importer, letters: str, limit: int
) -> None:
    items = schema("Items", "ITEM_ID string", "TEXT string null textual")
    text = letters * 20_005
    rows = importer.rows(f"ITEM_ID,TEXT\n1,{text[:limit]}\n2,{text}\n3,\n", schema=items)
    assert rows == [("1", text[:limit]), ("2", text[:limit]), ("3", None)]


def test_a_field_of_a_million_characters_is_too_long(importer: Importer) -> None:
    message = importer.failure(HEADER + f"a,1,2,{'x' * 1_000_000},\n")
    assert "column EVENT_TYPE" in message
    assert "Length cannot be more than 1000 characters for EVENT_TYPE." in message
