"""Failure reasons: broken and overlong rows are found at their lines, and errors are counted."""

from __future__ import annotations

import re

import pytest

from shared.data.csv import csv_file
from tests.unit.shared.data.csv.importer import HEADER, Importer, schema

TOO_LONG = (
    "data.csv line {line}: the row is longer than 2,000,000 bytes. Shorten it, or close the quote that is open in it."
)


@pytest.mark.parametrize("quote", ["", '"'])
@pytest.mark.parametrize("more", ["", "\\"])
def test_a_row_of_three_million_bytes_is_too_long(importer: Importer, quote: str, more: str) -> None:
    # With a backslash in it the file is written anew on its way, which must not change what is said.
    content = HEADER + f"a,1,2,x{more},\na,1,2,{quote}{'x' * 3_000_000}{quote},\nb,1,bad,x,\n"
    assert importer.failure(content) == TOO_LONG.format(line=3)


@pytest.mark.parametrize("last", ["", "b,1,2,x,\n"], ids=["the last", "not the last"])
@pytest.mark.parametrize(
    "long",
    ["x" * 9_500_000, '"' + "x\n" * 4_750_000 + '"', '5" x' + "x" * 9_500_000],
    ids=["a line", "lines in quotes", "beside a quote"],
)
def test_a_row_longer_than_the_readers_buffer_is_never_dropped(importer: Importer, long: str, last: str) -> None:
    assert importer.failure(HEADER + 'a,1,2,"x",\n' + f"a,1,2,{long},\n{last}") == TOO_LONG.format(line=3)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", ["", "b,1,2,x,"], ids=["at the end", "in between"])
def test_millions_of_blank_lines_are_refused_at_their_line(importer: Importer, end: str, last: str) -> None:
    content = HEADER.replace("\n", end) + f"a,1,2,x,{end}" + end * 9_000_000 + last
    assert importer.failure(content) == ("data.csv line 3: more than 2,000,000 blank lines begin here. Remove them.")


def test_a_row_that_the_reader_drops_is_missed_and_its_line_is_said(
    importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_file, "_check_counts", lambda traits, *_: traits.counts)  # nothing is known to be too long
    content = HEADER + '\n"a\nb",1,2,x,\n' * 10 + f"a,1,2,{'x' * 9_000_000},\n"
    assert importer.failure(content) == (
        "data.csv line 32: the row could not be read; 10 of the file's 11 rows were. Look for a quote that is not "
        "closed, or for an unusually long row."
    )


@pytest.mark.parametrize("more", ["", "\\"])
def test_a_quote_that_is_never_closed_is_found_at_its_row(importer: Importer, more: str) -> None:
    content = HEADER + f'a,1,2,x{more},\na,1,2,"x,\n' + "b,1,2,x,\n" * 100
    message = importer.failure(content)
    assert message.startswith("data.csv line 3: the row ")
    assert "has a quote that is not closed, or text after a closing quote." in message


def test_a_quote_that_is_never_closed_in_a_large_file_takes_no_memory_for_the_rest(importer: Importer) -> None:
    content = HEADER + 'a,1,2,"\\x,\n' + "b,1,2,x,\n" * 2_000_000
    assert importer.failure(content).startswith("data.csv line 2: the row is longer than 2,000,000 bytes.")


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("a,1,2", "has fewer cells than the header"),
        ("a", "has fewer cells than the header"),
        ("   ", "has fewer cells than the header"),
        ("a,1,2,x,1,5", "has more cells than the header"),
        ('a,1,2,"x"y,1', "has a quote that is not closed, or text after a closing quote"),
        ("a,1,2,\udcff,1", "is not UTF-8"),
        ("a,1,2,\udcc3(,1", "is not UTF-8"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_broken_row_is_found_at_its_line(importer: Importer, row: str, what: str, end: str) -> None:
    rows = [HEADER.strip(), 'a,1,2,"x', 'y",', "", row, "", 'a,1,2,"x', 'y",5', "a,1,z,x,5", ""]
    message = importer.failure(end.join(rows).encode(errors="surrogateescape"))
    assert message.startswith("2 errors. data.csv line 5: the row ")
    assert f" {what}" in message
    assert 'data.csv line 9, column TIMESTAMP: "z" is not a whole number.' in message


def test_nul_characters_are_refused(importer: Importer) -> None:
    assert importer.failure(HEADER + "a,1,2,x,\na\0b,1,2,x,\na,1,2\0,x,\n") == (
        '2 errors. data.csv line 3, column USER_ID: "a\\u0000b" holds a NUL character. '
        'data.csv line 4, column TIMESTAMP: "2\\u0000" is not a whole number. '
        "Correct them and create a new dataset import job."
    )


def test_the_first_bad_cells_are_shown_and_the_rest_is_counted(importer: Importer) -> None:
    rows = ["a,1,2,x,"] * 50 + [",,x,,x"] * 3 + ["a,1,2,x,"] * 50 + ["a,1,x,x,"] * 100
    message = importer.failure(HEADER + "\n".join(rows) + "\n")
    assert message.startswith("115 errors. data.csv line 52, column USER_ID: the cell is empty")
    assert re.findall(r"line (\d+), column (\w+)", message) == [
        ("52", "USER_ID"), ("52", "ITEM_ID"), ("52", "TIMESTAMP"), ("52", "EVENT_TYPE"), ("52", "EVENT_VALUE"),
    ]  # fmt: skip
    assert message.endswith("And 110 more. Correct them and create a new dataset import job.")


def test_bad_cells_of_several_files_are_counted_together(importer: Importer) -> None:
    good, bad = HEADER + "a,1,2,x,\n", HEADER + "a,1,2,x,\na,1,y,x,\n"
    message = importer.failure(good, bad, good, bad + "b\n")
    assert re.findall(r"(part-\d\.csv) line (\d+)", message) == [
        ("part-1.csv", "3"), ("part-3.csv", "3"), ("part-3.csv", "4"),
    ]  # fmt: skip
    assert message.startswith("3 errors. ")


def test_the_reason_stays_within_1000_characters(importer: Importer) -> None:
    name = "X" * 300
    long = schema("Users", "USER_ID string", f"{name} string")
    file = importer.file(f"USER_ID,{name}\n" + f"1,{'👩' * 2000}\n" * 20, "ü" * 100 + ".csv")
    message = importer.failure(file, schema=long)
    assert message.startswith("20 errors. ")
    assert message.endswith(" more. Correct them and create a new dataset import job.")
    assert importer.failure("A,B\n", schema=schema("Users", "USER_ID string", f"{'X' * 5000} int")).endswith("...")


def test_ten_thousand_broken_rows_are_enough(importer: Importer) -> None:
    message = importer.failure(HEADER + "a,1,z,x,\n" + "a,1,2\n" * 30_000)
    assert message.startswith("5001 errors and more. data.csv line 3: the row ")
    assert "column TIMESTAMP" not in message
