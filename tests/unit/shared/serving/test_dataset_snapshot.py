"""The newest row of each id, found by its id, by its values, and cell by cell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.data.duckdb_session import DuckDBSession
from shared.data.streamed_records import ignore_step
from shared.serving import dataset_snapshot
from shared.serving.dataset_snapshot import Snapshot
from tests.unit.shared.data import parquet_files

FIELDS = (
    "ITEM_ID string",
    "GENRES string categorical",
    "TITLE string",
    "PRICE float",
    "YEAR int",
    "LENGTH double",
    "VIEWS long",
    "NEW boolean",
    "STORY string textual",
)
ROWS = [
    ("b", "Drama | War", "x|y", 9.99, 1999, 0.1, 2**60, True, "long"),
    ("a", "Drama", "é", None, 2001, None, None, False, None),
    ("日", "", "", 5.0, None, 1e300, -1, None, "日本"),
    ("c", None, None, None, None, None, None, None, None),
]


def taken(folder: Path, *tables: tuple[Sequence[str], Sequence[tuple[Any, ...]]]) -> Snapshot:
    """Of files with these fields and rows, the older ones first."""
    files = [
        path
        for number, (fields, rows) in enumerate(tables)
        for path in parquet_files.table(folder / f"{number}.parquet", "Items", fields, rows).files
    ]
    with DuckDBSession(memory_mb=256, scratch=folder, on_step=ignore_step) as database:
        dataset_snapshot.write_snapshot(folder / "s", parquet_files.schema("Items", *FIELDS), None, files, database)
    return Snapshot.open(folder / "s")


def test_rows_stand_in_the_order_of_their_ids(tmp_path: Path) -> None:
    items = taken(tmp_path, (FIELDS, ROWS))
    assert list(items.ids) == ["a", "b", "c", "日"]
    assert items.read_numbers("PRICE").dtype == np.float32
    assert items.read_numbers("PRICE").tolist() == pytest.approx([np.nan, np.float32(9.99), np.nan, 5.0], nan_ok=True)
    assert items.read_numbers("YEAR").tolist() == pytest.approx([2001, 1999, np.nan, np.nan], nan_ok=True)
    assert items.read_numbers("VIEWS").tolist() == pytest.approx([np.nan, 2.0**60, np.nan, -1], nan_ok=True)


@pytest.mark.parametrize(
    ("column", "value", "ids"),
    [
        ("GENRES", "Drama", "ab"),
        ("GENRES", "War", "b"),
        ("GENRES", "Drama | War", ""),
        ("GENRES", "", ""),
        ("TITLE", "x|y", "b"),
        ("TITLE", "x", ""),
        ("TITLE", "é", "a"),
        ("ITEM_ID", "日", "日"),
        ("ITEM_ID", "d", ""),
    ],
)
def test_rows_are_found_by_a_value(tmp_path: Path, column: str, value: str, ids: str) -> None:
    items = taken(tmp_path, (FIELDS, ROWS))
    assert "".join(items.ids[row] for row in items.find_rows(column, value)) == ids


def test_cells_are_what_was_imported_and_shown_as_text(tmp_path: Path) -> None:
    items = taken(tmp_path, (FIELDS, ROWS))
    columns = [field.split()[0] for field in FIELDS]
    assert [items.read_cell(1, column) for column in columns] == [
        *("b", "Drama | War", "x|y", pytest.approx(9.99), 1999, 0.1, 2**60, True, "long")
    ]
    assert [items.format_cell(1, column) for column in columns] == [
        *("b", "Drama | War", "x|y", "9.99", "1999", "0.1", str(2**60), "true", "long")
    ]
    assert [items.format_cell(3, column) for column in columns] == [
        *("日", None, None, "5.0", None, "1e+300", "-1", None, "日本")
    ]
    assert [items.read_cell(2, column) for column in columns] == ["c", *[None] * 8]
    assert items.format_cell(0, "NEW") == "false"


def test_of_rows_with_one_id_the_last_counts_whole(tmp_path: Path) -> None:
    newer = [("b", "Crime", None), ("d", "Crime", "z")]
    found = taken(tmp_path, (FIELDS, ROWS), (FIELDS[:3], newer))
    assert list(found.ids) == ["a", "b", "c", "d", "日"]
    assert [found.read_cell(1, column) for column in ("GENRES", "TITLE", "PRICE", "NEW", "STORY")] == [
        "Crime",
        *[None] * 4,
    ]
    assert found.find_rows("GENRES", "War").tolist() == []
    assert found.find_rows("GENRES", "Crime").tolist() == [1, 3]


def test_a_dataset_without_rows_or_columns_has_none(tmp_path: Path) -> None:
    empty = taken(tmp_path)
    assert (len(empty), empty.read_numbers("PRICE").tolist(), empty.find_rows("GENRES", "a").tolist()) == (0, [], [])
    bare = taken(tmp_path, (FIELDS[:1], [("a",)]))
    assert np.isnan(bare.read_numbers("PRICE")).tolist() == [True]
    assert (bare.find_rows("TITLE", "x").tolist(), bare.read_cell(0, "PRICE"), bare.format_cell(0, "TITLE")) == (
        [],
        None,
        None,
    )
