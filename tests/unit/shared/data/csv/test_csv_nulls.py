"""Cells that cannot be read become null where they are few."""

from __future__ import annotations

import pytest

from tests.unit.shared.data.csv.importer import HEADER, Importer, query, schema

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
