"""From CSV files to the schemas that Personalize would be given for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from services.cli.data import demo_catalogue, tables
from services.cli.data.titles import Viewing
from services.cli.errors import UnusableFolder
from shared.data import schemas
from shared.data.csv.csv_import import ImportLimits, import_csv
from tests.conftest import REAL_DATA

INTERACTIONS = "USER_ID,ITEM_ID,TIMESTAMP\nu,i,1700000000\n"


def fields(table: tables.Table) -> dict[str, dict[str, Any]]:
    return {field["name"]: field for field in json.loads(table.schema)["fields"]}


def write(folder: Path, **files: str) -> Path:
    for name, text in {"interactions": INTERACTIONS, **files}.items():
        (folder / f"{name}.csv").write_text(text)
    return folder


def test_it_works(tmp_path: Path) -> None:
    demo_catalogue.write_demo_data(tmp_path)
    found = tables.read_tables(tmp_path)
    assert [(table.dataset_type, table.rows) for table in found] == [
        ("Interactions", 100_000),
        ("Items", 1_682),
        ("Users", 943),
    ]
    for table in found:
        assert schemas.parse_schema(table.schema, table.dataset_type).name == table.dataset_type


def test_real_folders_give_schemas_that_personalize_takes(films: Path) -> None:
    at_hand = [file.parent for file in REAL_DATA.glob("*/interactions.csv")]
    for folder in {films, *at_hand}:
        found = tables.read_tables(folder)
        assert found
        for table in found:
            assert schemas.parse_schema(table.schema, table.dataset_type).fields


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
    _, table = tables.read_tables(write(tmp_path, items=items))
    assert fields(table) == {
        "ITEM_ID": {"name": "ITEM_ID", "type": "string"},
        "YEAR": {"name": "YEAR", "type": ["null", "long"]},
        "PRICE": {"name": "PRICE", "type": "double"},
        "KIND": {"name": "KIND", "type": ["null", "string"], "categorical": True},
        "TITLE": {"name": "TITLE", "type": ["null", "string"]},
        "CODE": {"name": "CODE", "type": ["null", "string"]},
    }
    schemas.parse_schema(table.schema, "Items")


def test_event_values_are_floats_and_may_be_missing(tmp_path: Path) -> None:
    text = "USER_ID,ITEM_ID,TIMESTAMP,EVENT_TYPE,EVENT_VALUE\nu,i,1,rating,4\nu,j,2,rating,\n"
    (table,) = tables.read_tables(write(tmp_path, interactions=text))
    assert fields(table)["EVENT_VALUE"]["type"] == ["null", "float"]
    assert fields(table)["EVENT_TYPE"] == {"name": "EVENT_TYPE", "type": "string"}
    schemas.parse_schema(table.schema, "Interactions")


def test_a_long_text_is_textual_and_only_one_can_be(tmp_path: Path) -> None:
    story = "once upon a time " * 80
    _, table = tables.read_tables(write(tmp_path, items=f"ITEM_ID,PLOT,REVIEW\n1,{story},{story}\n2,short,short\n"))
    assert fields(table)["PLOT"] == {"name": "PLOT", "type": ["null", "string"], "textual": True}
    assert "REVIEW" not in fields(table)
    schemas.parse_schema(table.schema, "Items")


def test_names_that_personalize_refuses_are_left_out(tmp_path: Path) -> None:
    text = "ITEM_ID,MY KIND,GENRE_1,GENRE1\n1,a,b,c\n2,a,b,c\n3,a,b,c\n4,a,b,c\n"
    _, table = tables.read_tables(write(tmp_path, items=text))
    assert list(fields(table)) == ["ITEM_ID", "GENRE_1"]


def test_every_column_is_kept_or_named_with_the_reason(tmp_path: Path) -> None:
    own = "device type,L\u00e4ndercode,price-eur,A1,A2,A3,A4,A5,A6,a_1,TWICE,Twice,EMPTY,,Event_Value,EventType"
    text = f"user_id,ITEM_ID,TIMESTAMP,{own}\n" + "u,i,1,tv,DE,1,a,b,c,d,e,f,g,h,i,,x,3,view\n" * 4
    said: list[str] = []
    (table,) = tables.read_tables(write(tmp_path, interactions=text), said.append)
    assert list(fields(table)) == ["USER_ID", "ITEM_ID", "TIMESTAMP", "EVENT_VALUE", "A1", "A2", "A3", "A4", "A5"]
    reasons = dict(one.removeprefix("interactions.csv: the column ").split(" is not imported: ") for one in said)
    for column in ("device type", "L\u00e4ndercode", "price-eur"):
        assert reasons.pop(column) == "a name has letters (A to Z), digits and underscores, no digit first; rename it"
    assert reasons == {
        "A6": "Interactions may have 5 columns that AWS does not know, and has 6",
        "a_1": "its name is that of A1, but for case and underscores; rename it",
        "TWICE": "the header names it twice; rename one of the two",
        "Twice": "the header names it twice; rename one of the two",
        "EMPTY": "it has no values",
        "number 17": "it has no name",
        "EventType": "its name is that of EVENT_TYPE, but for case and underscores; rename it",
    }
    schemas.parse_schema(table.schema, "Interactions")


def test_a_file_of_ids_alone_is_no_dataset_and_that_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    (table,) = tables.read_tables(write(tmp_path, users="USER_ID,AGE\nu,\nv,\n"), said.append)
    assert table.dataset_type == "Interactions"
    assert said == [
        "users.csv: the column AGE is not imported: it has no values",
        "users.csv is not imported: no column says more of users than that they exist",
    ]


# One reader: what an import takes


@pytest.mark.parametrize(
    "text",
    [
        "USER_ID,ITEM_ID,TIMESTAMP\nu,i,1\r\nv,j,2\r\n",
        "\ufeffUSER_ID,ITEM_ID,TIMESTAMP\nu,i,1\n\nv,j,2",
        'USER_ID,ITEM_ID,TIMESTAMP\n"u ""x"" \\"y\\"",i,1\nv,j,2\n',
        'USER_ID,ITEM_ID,TIMESTAMP\n5" pipe,i,1\nv,"j\n\nk",2\n',
        "timestamp,User_Id,item_id\n1,u,i\n2,v,j\n",
    ],
    ids=["mixed line ends", "BOM and a blank line", "backslashes", "quotes in cells", "case"],
)
def test_what_an_import_takes_is_taken(tmp_path: Path, text: str) -> None:
    (tmp_path / "interactions.csv").write_bytes(text.encode())
    (table,) = tables.read_tables(tmp_path)
    assert (table.rows, list(fields(table))[:1] != []) == (2, True)
    schema = schemas.parse_schema(table.schema)
    target = tmp_path / "rows.parquet"
    imported = import_csv([table.path], schema, target, ImportLimits(256), lambda rows: None)
    assert imported.rows == table.rows
    assert [viewer.interactions for viewer in Viewing(tmp_path).choose_viewers(2, 1)] == [1, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("USER_ID,ITEM_ID,TIMESTAMP\nu,i,soon\n", r'interactions\.csv line 2, column TIMESTAMP: "soon" is not a whole'),
        ("USER_ID,ITEM_ID,TIMESTAMP\nu,i,1\nu,i\n", r"interactions\.csv line 3: the row .* fewer cells"),
        ("USER_ID,ITEM_ID,TIMESTAMP\n,i,1\n", r"interactions\.csv line 2, column USER_ID: the cell is empty"),
        ("USER_ID,ITEM_ID,TIMESTAMP,EVENT_TYPE\nu,i,1,\nu,i,2,x\n", r"line 2, column EVENT_TYPE: the cell is empty"),
        ("USER_ID;ITEM_ID;TIMESTAMP\nu;i;1\n", "not separated by commas; save it with commas"),
        ("USER_ID,ITEM_ID,TIMESTAMP\r\nu,i,1\n" + "x" * 2_000_001, r"interactions\.csv line 3: the row is longer than"),
        ("", r"interactions\.csv is empty"),
        ("USER_ID,USER_ID,ITEM_ID,TIMESTAMP\nu,u,i,1\n", "names USER_ID twice"),
    ],
)
def test_what_an_import_refuses_is_refused_in_its_words(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "interactions.csv").write_bytes(text.encode())
    with pytest.raises(UnusableFolder, match=message):
        tables.read_tables(tmp_path)


def test_a_type_that_an_import_would_not_read_is_not_given(tmp_path: Path) -> None:
    text = "ITEM_ID,WIDE,CHANGED_TIMESTAMP\n1,1e400,1700000000000\n2,5,1700000000001\n"
    _, table = tables.read_tables(write(tmp_path, items=text))
    assert fields(table)["WIDE"]["type"] == ["null", "string"]
    assert fields(table)["CHANGED_TIMESTAMP"]["type"] == "double"


def test_few_empty_event_types_are_left_to_the_import_which_tells_of_them(tmp_path: Path) -> None:
    rows = [f"u,i,{n},{'' if n == 7 else 'click'}\n" for n in range(100)]
    (table,) = tables.read_tables(
        write(tmp_path, interactions="USER_ID,ITEM_ID,TIMESTAMP,EVENT_TYPE\n" + "".join(rows))
    )
    assert fields(table)["EVENT_TYPE"]["type"] == "string"


def test_a_dataset_that_stands_has_the_say_what_of_a_file_is_imported(tmp_path: Path) -> None:
    folder = write(tmp_path, users="USER_ID,AGE,CITY\nu,7,x\nv,8,y\n")
    _, first = tables.read_tables(folder)
    standing = {"USERS": schemas.parse_schema(first.schema)}
    write(tmp_path, users="USER_ID,AGE,CITY,NEW ONE,NEW\nu,7,,a,b\nv,8,y,a,b\n")
    said: list[str] = []
    tables.read_tables(folder, said.append, standing)
    assert said == [
        "users.csv: the column NEW ONE is not imported: a name has letters (A to Z), digits and underscores, no digit "
        "first; rename it",
        "users.csv: the column NEW is not imported: the dataset was made without it",
    ]
    write(tmp_path, users="USER_ID,AGE,CITY\nu,x,x\nv,y,y\n")
    with pytest.raises(UnusableFolder, match=r'users\.csv line 2, column AGE: "x" is not a whole number'):
        tables.read_tables(folder, standing=standing)
    write(tmp_path, users="USER_ID,AGE\nu,7\nv,8\n")
    with pytest.raises(UnusableFolder, match=r"missing the following columns:\[CITY\]"):
        tables.read_tables(folder, standing=standing)


def test_quotes_and_commas_in_names_and_paths(tmp_path: Path) -> None:
    folder = tmp_path / "it's, here"
    folder.mkdir()
    _, table = tables.read_tables(write(folder, items='ITEM_ID,"A ""B""",KIND\n1,"x, y",k\n2,z,k\n'))
    assert list(fields(table)) == ["ITEM_ID", "KIND"]


def test_a_folder_without_interactions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableFolder, match=r"has no interactions\.csv"):
        tables.read_tables(tmp_path)


def test_missing_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        UnusableFolder, match=r"interactions\.csv has no column ITEM_ID, TIMESTAMP; it has USER_ID, OTHER"
    ):
        tables.read_tables(write(tmp_path, interactions="USER_ID,OTHER\nu,1\n"))
