"""From CSV files to the schemas that Personalize would be given for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from services.cli import catalogue, tables
from services.cli.errors import UnusableFolder
from shared.data import schemas
from tests.conftest import REAL_DATA

INTERACTIONS = "USER_ID,ITEM_ID,TIMESTAMP\nu,i,1700000000\n"


def fields(table: tables.Table) -> dict[str, dict[str, Any]]:
    return {field["name"]: field for field in json.loads(table.schema)["fields"]}


def write(folder: Path, **files: str) -> Path:
    for name, text in {"interactions": INTERACTIONS, **files}.items():
        (folder / f"{name}.csv").write_text(text)
    return folder


def test_it_works(tmp_path: Path) -> None:
    catalogue.write(tmp_path)
    found = tables.read(tmp_path)
    assert [(table.dataset_type, table.rows) for table in found] == [
        ("Interactions", 100_000),
        ("Items", 1_682),
        ("Users", 943),
    ]
    for table in found:
        assert schemas.parse(table.schema, table.dataset_type).name == table.dataset_type


def test_real_folders_give_schemas_that_personalize_takes(films: Path) -> None:
    at_hand = [file.parent for file in REAL_DATA.glob("*/interactions.csv")]
    for folder in {films, *at_hand}:
        found = tables.read(folder)
        assert found
        for table in found:
            assert schemas.parse(table.schema, table.dataset_type).fields


def test_a_type_follows_from_the_values(tmp_path: Path) -> None:
    items = "\n".join(
        [
            "ITEM_ID,YEAR,PRICE,KIND,TITLE,CODE,NOTHING",
            "1,1999,1.5,film,One,007,",
            "2,2001,2,film,Two,008,",
            "3,,3e1,book,Three,009,",
            "4,2003,4,book,Four,010,",
        ]
    )
    _, table = tables.read(write(tmp_path, items=items))
    assert fields(table) == {
        "ITEM_ID": {"name": "ITEM_ID", "type": "string"},
        "YEAR": {"name": "YEAR", "type": ["null", "long"]},
        "PRICE": {"name": "PRICE", "type": "double"},
        "KIND": {"name": "KIND", "type": "string", "categorical": True},
        "TITLE": {"name": "TITLE", "type": "string"},
        "CODE": {"name": "CODE", "type": "string"},
    }
    schemas.parse(table.schema, "Items")


def test_event_values_are_floats_and_may_be_missing(tmp_path: Path) -> None:
    text = "USER_ID,ITEM_ID,TIMESTAMP,EVENT_TYPE,EVENT_VALUE\nu,i,1,rating,4\nu,j,2,rating,\n"
    (table,) = tables.read(write(tmp_path, interactions=text))
    assert fields(table)["EVENT_VALUE"]["type"] == ["null", "float"]
    assert fields(table)["EVENT_TYPE"] == {"name": "EVENT_TYPE", "type": "string"}
    schemas.parse(table.schema, "Interactions")


def test_a_long_text_is_textual_and_only_one_can_be(tmp_path: Path) -> None:
    story = "once upon a time " * 80
    _, table = tables.read(write(tmp_path, items=f"ITEM_ID,PLOT,REVIEW\n1,{story},{story}\n2,short,short\n"))
    assert fields(table)["PLOT"] == {"name": "PLOT", "type": "string", "textual": True}
    assert "REVIEW" not in fields(table)
    schemas.parse(table.schema, "Items")


def test_names_that_personalize_refuses_are_left_out(tmp_path: Path) -> None:
    text = "ITEM_ID,MY KIND,GENRE_1,GENRE1\n1,a,b,c\n2,a,b,c\n3,a,b,c\n4,a,b,c\n"
    _, table = tables.read(write(tmp_path, items=text))
    assert list(fields(table)) == ["ITEM_ID", "GENRE_1"]


def test_a_file_of_ids_alone_is_no_dataset(tmp_path: Path) -> None:
    (table,) = tables.read(write(tmp_path, users="USER_ID\nu\nv\n"))
    assert table.dataset_type == "Interactions"


def test_quotes_and_commas_in_names_and_paths(tmp_path: Path) -> None:
    folder = tmp_path / "it's, here"
    folder.mkdir()
    _, table = tables.read(write(folder, items='ITEM_ID,"A ""B""",KIND\n1,"x, y",k\n2,z,k\n'))
    assert list(fields(table)) == ["ITEM_ID", "KIND"]


def test_a_folder_without_interactions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableFolder, match=r"has no interactions\.csv"):
        tables.read(tmp_path)


def test_missing_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        UnusableFolder, match=r"interactions\.csv has no column ITEM_ID, TIMESTAMP; it has USER_ID, OTHER"
    ):
        tables.read(write(tmp_path, interactions="USER_ID,OTHER\nu,1\n"))
