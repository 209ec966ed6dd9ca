"""An import: what of a CSV file reaches the Parquet file, and what is said of one that cannot be imported."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from shared.data import schemas
from shared.data.csv import csv_errors, csv_file, csv_import
from shared.data.csv.csv_import import Imported, ImportFailed, import_csv
from shared.data.schemas import DatasetSchema

REAL_DATA = Path(os.environ.get("FORETASTE_TEST_DATA", Path(__file__).parents[5] / "shared" / "data"))


def schema(name: str, *fields: str) -> DatasetSchema:
    """`fields` as in "AGE int null" or "GENRES string categorical"."""
    declared = []
    for field in fields:
        column, kind, *attributes = field.split()
        nullable = "null" in attributes
        declared.append(
            {"name": column, "type": ["null", kind] if nullable else kind}
            | {attribute: True for attribute in attributes if attribute != "null"}
        )
    return schemas.parse(json.dumps({"type": "record", "name": name, "fields": declared}))


INTERACTIONS = schema(
    "Interactions", "USER_ID string", "ITEM_ID string", "TIMESTAMP long", "EVENT_TYPE string", "EVENT_VALUE float null"
)
HEADER = "USER_ID,ITEM_ID,TIMESTAMP,EVENT_TYPE,EVENT_VALUE\n"
USERS = schema("Users", "USER_ID string", "NOTE string null")
TYPED = schema(
    "Users", "USER_ID string", "I int null", "L long null", "F float null", "D double null", "B boolean null"
)


def query(sql: str) -> list[Any]:
    with duckdb.connect() as connection:
        return connection.execute(sql).fetchall()


class Importer:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.target = folder / "target" / "rows.parquet"
        self.target.parent.mkdir()
        self.progress: list[int] = []

    def file(self, content: str | bytes, name: str = "data.csv") -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def run(
        self,
        *contents: str | bytes | Path,
        schema: DatasetSchema = INTERACTIONS,
        memory_mb: int = 256,
        min_rows: int = 0,
        unreadable_share: float = 0.0,
    ) -> Imported:
        files = [
            each if isinstance(each, Path) else self.file(each, f"part-{n}.csv" if len(contents) > 1 else "data.csv")
            for n, each in enumerate(contents)
        ]
        return import_csv(
            files,
            schema,
            self.target,
            memory_mb=memory_mb,
            progress=self.progress.append,
            min_rows=min_rows,
            unreadable_share=unreadable_share,
        )

    def rows(self, *contents: str | bytes | Path, **options: Any) -> list[tuple[Any, ...]]:
        """Import and read back; the temporary files must be gone."""
        imported = self.run(*contents, **options)
        rows = query(f"SELECT * FROM read_parquet('{self.target}')")
        assert imported == Imported(rows=len(rows), bytes=self.target.stat().st_size)
        assert os.listdir(self.target.parent) == ["rows.parquet"]
        return rows

    def failure(self, *contents: str | bytes | Path, **options: Any) -> str:
        """The reason of an import that fails; nothing may be left of it."""
        with pytest.raises(ImportFailed) as caught:
            self.run(*contents, **options)
        assert os.listdir(self.target.parent) == []
        assert len(str(caught.value)) <= 1000
        return str(caught.value)


@pytest.fixture
def importer(tmp_path: Path) -> Importer:
    return Importer(tmp_path)


def test_it_works(importer: Importer) -> None:
    rows = importer.rows(HEADER + "b,2,20,click,0.5\na,1,30,view,\na,2,10,view,1\n")
    assert rows == [("a", "2", 10, "view", 1.0), ("a", "1", 30, "view", None), ("b", "2", 20, "click", 0.5)]
    assert importer.progress[-1] == 3


def test_columns_are_those_of_the_schema_with_its_types(importer: Importer) -> None:
    importer.run("USER_ID,I,L,F,D,B\nu,1,2,3.5,4.5,true\n", schema=TYPED)
    described = query(f"DESCRIBE SELECT * FROM read_parquet('{importer.target}')")
    assert [(name, type_) for name, type_, *_ in described] == [
        ("USER_ID", "VARCHAR"), ("I", "INTEGER"), ("L", "BIGINT"), ("F", "FLOAT"), ("D", "DOUBLE"), ("B", "BOOLEAN"),
    ]  # fmt: skip


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


def test_too_few_rows_are_counted(importer: Importer) -> None:
    content = HEADER + "a,1,2,x,\n" * 5 + "b,1,2,x,\n"
    assert importer.failure(content, min_rows=1000) == (
        "The files hold 2 rows without duplicates; at least 1000 are needed. "
        "Add more rows to data.csv and create a new dataset import job."
    )
    assert len(importer.rows(content, min_rows=2)) == 2


# What a value is


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
    monkeypatch.setattr(csv_file, "_checked", lambda marks, *_: marks.tally)  # nothing is known to be too long
    content = HEADER + '\n"a\nb",1,2,x,\n' * 10 + f"a,1,2,{'x' * 9_000_000},\n"
    assert importer.failure(content) == (
        "data.csv line 32: the row could not be read; 10 of the file's 11 rows were. Look for a quote that is not "
        "closed, or for a row that is longer than others."
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


# What may be null instead

FILMS = schema("Items", "ITEM_ID string", "YEAR int", "PRICE float null", "SEEN boolean", "GENRES string categorical")
FILM = "i{},1999,1.5,true,a|b\n"
FILMS_HEADER = "ITEM_ID,YEAR,PRICE,SEEN,GENRES\n"


def films(*odd: str, rows: int = 100) -> str:
    return FILMS_HEADER + "".join(FILM.format(n) for n in range(rows - len(odd))) + "".join(f"{row}\n" for row in odd)


def test_a_few_cells_that_cannot_be_read_are_null_and_told(importer: Importer) -> None:
    odd = ("x,,1.5,true,a", "y,2006\u20132007,No,true,a", "z,2147483648,1.5,True,")
    imported = importer.run(films(*odd), schema=FILMS, unreadable_share=0.03)
    assert imported.rows == 100
    assert imported.nulls == {"YEAR": 3, "PRICE": 1, "SEEN": 1, "GENRES": 1}
    assert imported.first == (
        "data.csv line 99, column YEAR: the cell is empty, but the schema does not allow null.",
        'data.csv line 100, column YEAR: "2006\u20132007" is not a whole number.',
        'data.csv line 100, column PRICE: "No" is not a number.',
    )
    rows = query(f"SELECT * FROM read_parquet('{importer.target}') WHERE ITEM_ID IN ('x', 'y', 'z') ORDER BY ITEM_ID")
    assert rows == [("x", None, 1.5, True, "a"), ("y", None, None, True, "a"), ("z", None, 1.5, None, None)]


def test_beyond_the_share_the_import_fails_as_it_does_without(importer: Importer) -> None:
    odd = [f"x{n},,1.5,true,a" for n in range(21)]
    strict = importer.failure(films(*odd, rows=2000), schema=FILMS)
    assert strict.startswith("21 errors. data.csv line 1981, column YEAR: the cell is empty")
    assert importer.failure(films(*odd, rows=2000), schema=FILMS, unreadable_share=0.01) == strict
    assert importer.run(films(*odd, rows=2100), schema=FILMS, unreadable_share=0.01).nulls == {"YEAR": 21}


@pytest.mark.parametrize(("rows", "most"), [(9, 0), (20, 2), (90, 9), (200, 10)])
def test_of_few_rows_a_tenth_may_have_such_a_cell_but_no_more_than_ten(
    importer: Importer, rows: int, most: int
) -> None:
    odd = [f"x{n},,1.5,true,a" for n in range(most + 1)]
    imported = importer.run(films(*odd[1:], rows=rows), schema=FILMS, unreadable_share=0.01)
    assert sum(imported.nulls.values()) == most
    importer.target.unlink()
    importer.failure(films(*odd, rows=rows), schema=FILMS, unreadable_share=0.01)
    importer.failure(films(odd[0], rows=rows), schema=FILMS, unreadable_share=0.0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEADER + "a,1,2,x,\n" * 99 + ",1,2,x,\n", "USER_ID: the cell is empty"),
        (HEADER + "a,1,2,x,\n" * 99 + "a,,2,x,\n", "ITEM_ID: the cell is empty"),
        (HEADER + "a,1,2,x,\n" * 99 + "a,1,soon,x,\n", 'TIMESTAMP: "soon" is not a whole number'),
        (HEADER + "a,1,2,x,\n" * 99 + "a,1,1700000000000,x,\n", "milliseconds"),
        (HEADER + "a,1,2,x,\n" * 99 + f"a,1,2,{'x' * 1001},\n", "is too long"),
        (HEADER + "a,1,2,x,\n" * 99 + "a,1,2\n", "has fewer cells"),
        (HEADER + "a,1,2,x,\n" * 99 + "a,1,2,,\na,1,soon,x,\n", "2 errors"),
    ],
)
def test_ids_times_and_what_is_too_long_or_broken_are_never_null(
    importer: Importer, content: str, message: str
) -> None:
    assert message in importer.failure(content, unreadable_share=1.0)


def test_the_share_is_of_all_files_together(importer: Importer) -> None:
    odd = [f"x{n},,1.5,true,a" for n in range(11)]
    imported = importer.run(films(*odd, rows=11), films(rows=1200), schema=FILMS, unreadable_share=0.01)
    assert imported.nulls == {"YEAR": 11}
    assert imported.first[0].startswith("part-0.csv line 2, column YEAR")


# What a dataset is


def test_events_are_sorted_by_user_time_and_place_in_the_files(importer: Importer) -> None:
    events = [("é", 5), ("Z", 5), ("a", 5), ("a", -7), ("a", 5), ("b", 5), ("a", 5), ("10", 1), ("9", 1)]
    numbered = [f"{user},{99 - n},{time},x,\n" for n, (user, time) in enumerate(events)]
    rows = importer.rows(HEADER + "".join(numbered[:4]), HEADER + "".join(numbered[4:]))
    assert [(user, item) for user, item, *_ in rows] == [
        ("10", "92"), ("9", "91"), ("Z", "98"), ("a", "96"), ("a", "97"), ("a", "95"), ("a", "93"), ("b", "94"),
        ("é", "99"),
    ]  # fmt: skip


def test_events_alike_in_all_columns_count_once(importer: Importer) -> None:
    first = "a,1,5,x,1\na,2,5,x,1\na,1,5,x,\na,1,5,y,1\na,1,5,x,1.0\na,1,5,x,\n"
    rows = importer.rows(HEADER + first, HEADER + "a,1,5,x,1\na,3,5,x,1\n")
    assert [(item, kind, value) for _, item, _, kind, value in rows] == [
        ("1", "x", 1.0), ("2", "x", 1.0), ("1", "x", None), ("1", "y", 1.0), ("3", "x", 1.0),
    ]  # fmt: skip


def test_the_last_row_of_an_id_wins_as_a_whole(importer: Importer) -> None:
    rows = importer.rows("USER_ID,NOTE\n2,a\n1,b\n2,c\n", "NOTE,USER_ID\nd,3\n,2\n", schema=USERS)
    assert rows == [("1", "b"), ("2", None), ("3", "d")]


def test_files_of_a_folder_may_differ_in_the_order_of_columns(importer: Importer) -> None:
    rows = importer.rows(
        "USER_ID,NOTE\n1,a\n", "USER_ID,NOTE\n2,b\n", "X,NOTE,USER_ID\n?,c,3\n", "user_id,note\r\n4,d\r\n", schema=USERS
    )
    assert rows == [("1", "a"), ("2", "b"), ("3", "c"), ("4", "d")]


@pytest.mark.parametrize(
    "name", ["a[1].csv", "*.csv", "?.csv", "it's.csv", "a b.csv", "{x}.csv", "données.csv.gz", "-.csv"]
)
def test_a_file_is_read_whatever_its_name_and_no_other(importer: Importer, name: str) -> None:
    for other in ("a1.csv", "x.csv", "b.csv"):
        importer.file("USER_ID,NOTE\n9,other\n", other)
    assert importer.rows(importer.file("USER_ID,NOTE\n1,this\n", name), schema=USERS) == [("1", "this")]


@pytest.mark.parametrize("folder", ["it's [1]*", "ä b"])
def test_the_target_may_lie_anywhere(importer: Importer, folder: str) -> None:
    importer.target = importer.folder / folder / "rows.parquet"
    importer.target.parent.mkdir()
    content = 'USER_ID,NOTE\n1,"a\\"b"\n'
    assert importer.run(content, schema=USERS).rows == 1
    assert os.listdir(importer.target.parent) == ["rows.parquet"]


def test_a_file_that_went_away_is_a_failure(importer: Importer) -> None:
    assert importer.failure(importer.folder / "gone.csv") == (
        "gone.csv cannot be read: No such file or directory. Check the file and the disk."
    )


def test_an_earlier_target_stays_until_a_new_one_is_complete(importer: Importer) -> None:
    importer.run("USER_ID,NOTE\n1,a\n", schema=USERS)
    before = importer.target.read_bytes()
    with pytest.raises(ImportFailed):
        importer.run("USER_ID,NOTE\n,a\n", schema=USERS)
    assert importer.target.read_bytes() == before
    assert os.listdir(importer.target.parent) == ["rows.parquet"]
    assert importer.rows("USER_ID,NOTE\n2,b\n", schema=USERS) == [("2", "b")]


# How it is done


def many(rows: int, seed: int = 0) -> str:
    generator = random.Random(seed)
    return HEADER + "".join(
        f'"user-{generator.randrange(rows // 20)}","item-{generator.randrange(1000)}",{n},"view",{n % 7}.5\n'
        for n in range(rows)
    )


def test_progress_grows_and_ends_with_the_rows(importer: Importer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_import, "_SECONDS_BETWEEN_REPORTS", 0.01)
    assert len(importer.rows(many(200_000))) == 200_000
    assert len(importer.progress) > 3
    assert importer.progress == sorted(importer.progress)
    assert 0 < importer.progress[len(importer.progress) // 2] < 200_000
    assert importer.progress[-1] == 200_000


def test_what_progress_raises_ends_the_import_and_leaves_nothing(
    importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(Exception):
        pass

    def stop(rows: int) -> None:
        raise Stopped

    monkeypatch.setattr(csv_import, "_SECONDS_BETWEEN_REPORTS", 0.01)
    with pytest.raises(Stopped):
        import_csv([importer.file(many(200_000))], INTERACTIONS, importer.target, memory_mb=256, progress=stop)
    assert os.listdir(importer.target.parent) == []


def test_a_disk_that_is_full_is_a_failure_and_leaves_nothing(
    importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "Check that there is space left" in importer.failure("USER_ID,NOTE\n1,a\n", schema=USERS)


@pytest.mark.parametrize("error", [duckdb.IOException, duckdb.OutOfMemoryException])
def test_what_duckdb_lacks_is_a_failure_that_says_what_to_do(
    importer: Importer, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def lacking(*_: Any) -> None:
        raise error("Failed to write /secret/place")

    monkeypatch.setattr(csv_import, "_run", lacking)
    message = importer.failure("USER_ID,NOTE\n1,a\n", schema=USERS)
    assert "disk" in message
    assert "/secret/place" not in message


def test_memory_is_bounded_and_rows_are_the_same_when_spilled(importer: Importer) -> None:
    """A million rows in 256 MiB: DuckDB alone would take three times as much. The peak is that of a process."""
    file = importer.file("")
    query(
        f"""COPY (SELECT printf('user-%09d', n * 7919 % 50000) AS USER_ID, 'item-' || n * 31 % 1000 AS ITEM_ID,
                         n * 104729 % 1000000 AS "TIMESTAMP", 'a-kind-of-event' AS EVENT_TYPE, n % 5 AS EVENT_VALUE
                  FROM range(1000000) AS t(n)) TO '{file}' (FORMAT csv, HEADER)"""
    )
    code = f"""
import json, re
from pathlib import Path
from shared.data import schemas
from shared.data.csv.csv_import import import_csv
schema = schemas.parse({json.dumps(json.dumps({"type": "record", "name": "Interactions", "fields": [
    {"name": "USER_ID", "type": "string"}, {"name": "ITEM_ID", "type": "string"}, {"name": "TIMESTAMP", "type": "long"},
    {"name": "EVENT_TYPE", "type": "string"}, {"name": "EVENT_VALUE", "type": "float"}]}))})
import_csv([Path({str(file)!r})], schema, Path({str(importer.target)!r}), memory_mb=256, progress=lambda rows: None)
# Not ru_maxrss, which remembers the process that started this one.
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024)
"""  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) <= 256
    before = 'lag(USER_ID) OVER () AS user_before, lag("TIMESTAMP") OVER () AS time_before'
    [found] = query(
        f"""SELECT count(*), sum("TIMESTAMP"),
                   count_if(user_before IS NOT NULL AND (USER_ID, "TIMESTAMP") < (user_before, time_before))
            FROM (SELECT *, {before} FROM read_parquet('{importer.target}'))"""
    )
    assert found == (1_000_000, 499_999_500_000, 0)


def test_a_whole_data_set_is_imported(importer: Importer) -> None:
    real = REAL_DATA / "ml-100k" / "interactions.csv"
    file = real if real.is_file() else importer.file(many(100_000))
    with file.open(newline="") as opened:
        expected = [
            (row["USER_ID"], row["ITEM_ID"], int(row["TIMESTAMP"]), row["EVENT_TYPE"], float(row["EVENT_VALUE"]))
            for row in csv.DictReader(opened)
        ]
    rows = importer.rows(file)
    assert len(rows) == 100_000
    assert rows == sorted(expected, key=lambda row: (row[0], row[2]))


@pytest.mark.parametrize("content", [many(200_000), many(200_000) + 'a,1,2,5" x,\n', many(200_000) + 'a,1,2,"\\"",\n'])
def test_a_file_that_is_looked_over_tells_that_it_goes_on_and_can_be_ended(
    importer: Importer, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    told: list[str] = []
    monkeypatch.setattr(csv_file, "_BLOCK_BYTES", 1 << 20)
    csv_file.prepare(importer.file(content), importer.target.parent, lambda: told.append("on"))
    assert len(told) >= len(content) >> 20

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        csv_file.prepare(importer.file(content), importer.target.parent, stop)


# Any table


LETTERS = st.sampled_from("\",\\\n\r;|\t '#aé日👩0")
VALUE = st.text(LETTERS | st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)


def written(value: str, style: Sequence[str]) -> str:
    """A value in quotes, each inner quote by the next of the styles: doubled or after a backslash."""
    parts = value.replace("\\", "\\\\").split('"')
    out = parts[0]
    for n, part in enumerate(parts[1:]):
        out += style[n % len(style)] + part
    return f'"{out}"'


@given(
    values=st.lists(st.tuples(VALUE, VALUE), min_size=1, max_size=8, unique_by=lambda row: row[0]),
    style=st.lists(st.sampled_from(['""', '\\"']), min_size=1, max_size=5),
    ends=st.lists(st.sampled_from(["\n", "\r\n", "\n\n"]), min_size=1, max_size=3),
)
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
def test_a_quoted_table_comes_back_as_it_was(
    importer: Importer, values: list[tuple[str, str]], style: list[str], ends: list[str]
) -> None:
    content = "USER_ID,NOTE\n" + "".join(
        f"{written(user, style)},{written(note, style)}{ends[n % len(ends)]}" for n, (user, note) in enumerate(values)
    )
    assert sorted(importer.rows(content, schema=USERS)) == sorted(values)


PLAIN = VALUE.filter(lambda value: "\\" not in value)


@given(
    values=st.lists(st.tuples(PLAIN, PLAIN), min_size=1, max_size=8, unique_by=lambda row: row[0]),
    end=st.sampled_from(["\n", "\r\n"]),
)
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
def test_what_pythons_csv_writes_comes_back_as_it_was(
    importer: Importer, values: list[tuple[str, str]], end: str
) -> None:
    out = io.StringIO()
    csv.writer(out, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([("USER_ID", "NOTE"), *values])
    assert sorted(importer.rows(out.getvalue().encode(), schema=USERS)) == sorted(values)


ROW = st.sampled_from(
    ["a,1,2,x,\n", '"a","1",2,"x",3\n', 'a,1,2,"x\ny",\n', 'a,1,2,"x\r\n\r\n""y""",\n', "\n", 'a,1,2,5" x,\n',
     'a,"1, 2",2,"x\n",1.5\n', "a,1\n", "a,1,2,x,3,4\n", 'a,1,2,"x\n"y,\n']
)  # fmt: skip
BAD = st.sampled_from(
    [("{},1,2,x,\n", "USER_ID", ""), ('a,{},2,"x\n\ny",\n', "ITEM_ID", '"' + "x" * 257 + '"'),
     ('a,"1\n2",{},x,\n', "TIMESTAMP", "1.5"), ('"a\n",1,2,{},\n', "EVENT_TYPE", '""'),
     ("a,1,2,x,{}\n", "EVENT_VALUE", "inf")]
)  # fmt: skip


@given(before=st.lists(ROW, max_size=12), bad=BAD, after=st.lists(ROW, max_size=12),
       mark=st.sampled_from(["", "\ufeff"]), backslash=st.booleans())  # fmt: skip
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_a_bad_cell_is_found_at_its_line_wherever_it_stands(
    importer: Importer, monkeypatch: pytest.MonkeyPatch, before: list[str], bad: tuple[str, str, str],
    after: list[str], mark: str, backslash: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr(csv_errors, "_MAX_SHOWN", 100)
    monkeypatch.setattr(csv_errors, "MAX_REASON_CHARACTERS", 100_000)
    if backslash:
        before = [*before, 'a,1,2,"\\"",\n']
    row, column, value = bad
    beginning = mark + HEADER + "".join(before)
    with pytest.raises(ImportFailed) as caught:
        importer.run((beginning + row.format(value) + "".join(after)).encode())
    message = str(caught.value)
    line = beginning.count("\n") + 1
    assert re.findall(r"line (\d+), column (\w+)", message) == [(str(line), column)]
    broken = [
        beginning[: beginning.index(HEADER) + len(HEADER)].count("\n")
        + 1
        + "".join([*before, row, *after][:n]).count("\n")
        for n, each in enumerate([*before, row, *after])
        if each in ("a,1\n", "a,1,2,x,3,4\n", 'a,1,2,"x\n"y,\n')
    ]
    assert [int(found) for found in re.findall(r"line (\d+): the row", message)] == broken


@given(content=st.lists(st.sampled_from(['"', ",", "\n", "\r", "\\", "a", " ", "é", "1"]), max_size=60))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
def test_whatever_the_file_it_is_imported_or_refused(importer: Importer, content: list[str]) -> None:
    shutil.rmtree(importer.target.parent)
    importer.target.parent.mkdir()
    try:
        importer.rows("USER_ID,NOTE\n" + "".join(content), schema=USERS)
    except ImportFailed:
        assert os.listdir(importer.target.parent) == []
