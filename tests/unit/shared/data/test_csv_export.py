"""Exports: the files that are written, and what an import reads of them."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest

from shared.data.csv.csv_import import ImportLimits, import_csv
from shared.data.csv_export import ExportedRows, write_csv_files
from shared.data.duckdb_session import DuckDBSession
from shared.data.schemas import DatasetSchema, parse_schema

FIELDS: dict[str, list[tuple[str, Any]]] = {
    "Interactions": [
        ("USER_ID", "string"),
        ("ITEM_ID", "string"),
        ("TIMESTAMP", "long"),
        ("EVENT_VALUE", ["null", "float"]),
        ("DEVICE", ["null", "string"]),
    ],
    "Items": [
        ("ITEM_ID", "string"),
        ("TITLE", ["null", "string"]),
        ("PRICE", ["null", "float"]),
        ("WEIGHT", ["null", "double"]),
        ("SOLD", ["null", "boolean"]),
        ("STOCK", ["null", "long"]),
    ],
}


def schema_of(table: str) -> DatasetSchema:
    fields = [{"name": name, "type": type_} for name, type_ in FIELDS[table]]
    return parse_schema(json.dumps({"type": "record", "name": table, "fields": fields}))


def parquet(path: Path, sql: str, rows: Sequence[Sequence[Any]] = ()) -> Path:
    """A file with the rows of a SELECT, in which ``rows`` is a table of these rows."""
    with duckdb.connect() as database:
        if rows:
            places = ", ".join("?" * len(rows[0]))
            columns = ", ".join(f"c{n} {'VARCHAR' if n < 2 else 'DOUBLE'}" for n in range(len(rows[0])))
            database.execute(f"CREATE TABLE rows ({columns})")
            database.executemany(f"INSERT INTO rows VALUES ({places})", rows)
        database.sql(sql).write_parquet(str(path))
    return path


def export(tmp_path: Path, rows: ExportedRows, file_bytes: int = 1 << 20) -> list[Path]:
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    with DuckDBSession(memory_mb=256, scratch=scratch, on_step=lambda: None) as database:
        files, count = write_csv_files(rows, tmp_path / "files", database, file_bytes=file_bytes)
    assert count == sum(len(read(file)) - 1 for file in files)
    return files


def read(file: Path) -> list[list[str]]:
    with file.open(newline="", encoding="utf-8") as opened:
        return list(csv.reader(opened))


def imported_again(tmp_path: Path, files: Sequence[Path], table: str) -> list[tuple[Any, ...]]:
    target = tmp_path / "again.parquet"
    import_csv(files, schema_of(table), target, ImportLimits(256), lambda _: None)
    return duckdb.sql(f"SELECT * FROM '{target}'").fetchall()


EVENTS = """SELECT * FROM (VALUES
    ('a', 'i1', 10::BIGINT, 0.1::FLOAT, 'tv'), ('a', 'i2', 10, NULL, NULL), ('b', 'i1', 5, 1e-7, 'phone')
) AS t(USER_ID, ITEM_ID, "TIMESTAMP", EVENT_VALUE, DEVICE)"""


def test_an_import_is_written_as_it_is(tmp_path: Path) -> None:
    file = parquet(tmp_path / "bulk.parquet", EVENTS)
    [written] = export(tmp_path, ExportedRows(files=[file], schema=schema_of("Interactions"), imported_alone=True))
    assert written.read_text() == (
        "USER_ID,ITEM_ID,TIMESTAMP,EVENT_VALUE,DEVICE\na,i1,10,0.1,tv\na,i2,10,,\nb,i1,5,1e-07,phone\n"
    )


def test_events_that_are_equal_in_all_columns_are_written_once_and_all_others_kept_in_order(tmp_path: Path) -> None:
    bulk = parquet(tmp_path / "bulk.parquet", EVENTS)
    live = parquet(
        tmp_path / "live.parquet",
        """SELECT * FROM (VALUES
            ('b', 'i1', 5::BIGINT, 1e-7::FLOAT, 'phone'), ('a', 'i0', 10, NULL, NULL), ('a', 'i2', 10, NULL, 'tv')
        ) AS t(USER_ID, ITEM_ID, "TIMESTAMP", EVENT_VALUE, DEVICE)""",
    )
    [written] = export(tmp_path, ExportedRows(files=[bulk, live], schema=schema_of("Interactions")))
    assert read(written)[1:] == [
        ["a", "i1", "10", "0.1", "tv"],
        ["a", "i2", "10", "", ""],
        ["a", "i0", "10", "", ""],
        ["a", "i2", "10", "", "tv"],
        ["b", "i1", "5", "1e-07", "phone"],
    ]


def test_of_items_with_one_id_the_newest_is_written_with_columns_that_older_files_lack(tmp_path: Path) -> None:
    old = parquet(tmp_path / "old.parquet", "SELECT 'i1' AS ITEM_ID, 'old' AS TITLE UNION ALL SELECT 'i2', 'kept'")
    new = parquet(tmp_path / "new.parquet", "SELECT 'i1' AS ITEM_ID, 'new' AS TITLE, true AS SOLD")
    [written] = export(tmp_path, ExportedRows(files=[old, new], schema=schema_of("Items")))
    assert read(written)[1:] == [["i1", "new", "", "", "true", ""], ["i2", "kept", "", "", "", ""]]


def test_a_dataset_without_rows_is_a_header(tmp_path: Path) -> None:
    [written] = export(tmp_path, ExportedRows(files=[], schema=schema_of("Items")))
    assert written.read_text() == "ITEM_ID,TITLE,PRICE,WEIGHT,SOLD,STOCK\n"


def test_many_rows_are_several_files_of_about_the_size_in_order(tmp_path: Path) -> None:
    sql = "SELECT printf('u%07d', i) AS USER_ID, 'i' AS ITEM_ID, i AS TIMESTAMP FROM range(200000) AS t(i)"
    rows = ExportedRows(files=[parquet(tmp_path / "a.parquet", sql)], schema=schema_of("Interactions"))
    files = export(tmp_path, rows, file_bytes=500_000)
    assert len(files) > 5
    assert all(file.stat().st_size < 1_000_000 for file in files)
    times = [int(row[2]) for file in files for row in read(file)[1:]]
    assert times == list(range(200_000))
    first = [file.read_bytes() for file in files]
    assert [file.read_bytes() for file in export(tmp_path, rows, file_bytes=500_000)] == first


def test_every_text_and_number_is_the_same_after_an_import(tmp_path: Path) -> None:
    rng = random.Random(11)
    # Half of the texts are of characters that CSV and escapes give a meaning.
    letters = ["\\\",\n\r a|#'", "".join(chr(code) for code in (*range(1, 0x250), 0x3042, 0xE000, 0x1F600))]
    texts = list({"".join(rng.choices(letters[n % 2], k=rng.randint(1, 6))) for n in range(6000)})
    numbers = [None, 0.1, -1e300, 5e-324, 1 / 3, 2.0**53 + 2, *(rng.uniform(-1e9, 1e9) for _ in texts)][: len(texts)]
    rows = list(zip(texts, reversed(texts), numbers, strict=True))
    file = parquet(tmp_path / "items.parquet", "SELECT c0 AS ITEM_ID, c1 AS TITLE, c2 AS WEIGHT FROM rows", rows)
    files = export(tmp_path, ExportedRows(files=[file], schema=schema_of("Items")))
    again = {row[0]: (row[1], row[3]) for row in imported_again(tmp_path, files, "Items")}
    assert again == {id_: (title, weight) for id_, title, weight in rows}


@pytest.mark.parametrize("text", ['say "hi"', "a,b", "a\nb", "tab\t", "C:\\temp", "Action|Crime"])
def test_ordinary_texts_are_read_by_any_reader_of_csv(tmp_path: Path, text: str) -> None:
    file = parquet(tmp_path / "items.parquet", "SELECT c0 AS ITEM_ID, c1 AS TITLE FROM rows", [("i", text)])
    [written] = export(tmp_path, ExportedRows(files=[file], schema=schema_of("Items")))
    assert read(written)[1][:2] == ["i", text]
