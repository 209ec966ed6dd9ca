"""Headers of CSV files: how columns are found, and the files that are refused by their beginning."""

from __future__ import annotations

import pytest

from tests.unit.shared.data.csv.importer import HEADER, USERS, Importer


@pytest.mark.parametrize(
    "header",
    ["NOTE,USER_ID", "note,User_Id", '"NOTE","USER_ID"', " NOTE , USER_ID ", "\ufeffNOTE,USER_ID",
     '\ufeff"NOTE",USER_ID', "NOTE,USER_ID\r"],
)  # fmt: skip
def test_columns_are_found_by_name(importer: Importer, header: str) -> None:
    line = "x,1\r\n" if header.endswith("\r") else "x,1\n"
    assert importer.rows(f"{header}\n{line}", schema=USERS) == [("1", "x")]


def test_other_columns_are_ignored_even_twice(importer: Importer) -> None:
    assert importer.rows("X,NOTE,X,USER_ID,\n\xff,a,?,1,2\n".encode("latin-1"), schema=USERS) == [("1", "a")]


def test_missing_columns_are_named_in_aws_words(importer: Importer) -> None:
    assert importer.failure("USER_ID,TIMESTAMP\n1,2\n") == (
        "Input CSV is missing the following columns:[ITEM_ID, EVENT_TYPE, EVENT_VALUE]. "
        "Add them to the header of data.csv, or use a schema without them."
    )


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_another_separator_is_pointed_out(importer: Importer, separator: str) -> None:
    message = importer.failure((HEADER + "a,1,2,x,\n").replace(",", separator))
    assert message.startswith("Input CSV is missing the following columns:[USER_ID, ")
    assert message.endswith("The columns of data.csv are not separated by commas; save it with commas.")


def test_a_column_twice_is_refused(importer: Importer) -> None:
    assert importer.failure("USER_ID,NOTE,user_id\n1,a,2\n", schema=USERS) == (
        "The header of data.csv names USER_ID twice. Remove one of the columns."
    )


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff", "  \r\n"])
def test_an_empty_file_is_refused(importer: Importer, content: str) -> None:
    assert importer.failure(content) == ("data.csv is empty. Its first line must name the columns of the schema.")


@pytest.mark.parametrize("beginning", ["\n", "\r\n", "\ufeff\n"])
def test_a_file_that_begins_with_a_blank_line_is_refused(importer: Importer, beginning: str) -> None:
    assert importer.failure(beginning + HEADER + "a,1,2,x,\n") == (
        "data.csv begins with a blank line. Its first line must name the columns of the schema."
    )


@pytest.mark.parametrize("content", [HEADER, HEADER.strip(), HEADER + "\n\n"])
def test_no_rows_are_refused(importer: Importer, content: str) -> None:
    assert importer.failure(content) == ("There are no rows below the header of data.csv. Import at least one row.")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\x1f\x8b\x08\x00" + b"x" * 50, "compressed with gzip"),
        (b"PK\x03\x04" + b"x" * 50, "a zip archive or an Excel workbook"),
        (b"PAR1" + b"x" * 50, "a Parquet file"),
        (HEADER.encode("utf-16"), "encoded in UTF-16"),
    ],
)
def test_a_file_of_another_kind_is_named(importer: Importer, content: bytes, what: str) -> None:
    message = importer.failure(content)
    assert message.startswith(f"data.csv is {what}.")
    assert message.endswith("only CSV files in UTF-8 are imported.")


def test_a_header_that_is_not_utf8_is_refused(importer: Importer) -> None:
    assert importer.failure(b"USER_ID,NOT\xc9\n1,a\n", schema=USERS) == (
        "The header of data.csv is not UTF-8. Save the file as UTF-8."
    )
