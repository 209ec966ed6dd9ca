"""Imports of CSV files: the rows that reach the Parquet file, their types and their order."""

from __future__ import annotations

import os

import pytest

from shared.data.csv.csv_import import ImportFailed
from tests.unit.shared.data.csv.importer import HEADER, TYPED, USERS, Importer, query


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


def test_too_few_rows_are_counted(importer: Importer) -> None:
    content = HEADER + "a,1,2,x,\n" * 5 + "b,1,2,x,\n"
    assert importer.failure(content, min_rows=1000) == (
        "The files hold 2 rows without duplicates; at least 1000 are needed. "
        "Add more rows to data.csv and create a new dataset import job."
    )
    assert len(importer.rows(content, min_rows=2)) == 2


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
