"""Values as bags of features: what each kind of column makes of them, and how they are kept."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.data.arrays.features import TEXT_BUCKETS, FeatureColumn, Features, iter_word_buckets
from tests.recipes.synthetic import bags

GENRES = FeatureColumn(name="GENRES", kind="categorical", first=0, vocabulary=["Drama", "Film noir", "Été"])
YEAR = FeatureColumn(name="YEAR", kind="numeric", first=3, edges=[1950.0, 2000.0])
STORY = FeatureColumn(name="STORY", kind="textual", first=6, idf=[1.0 + bucket % 3 for bucket in range(TEXT_BUCKETS)])
FEATURES = Features(
    offsets=np.array([0, 2, 2, 3]),
    values=np.array([0, 4, 2], np.int32),
    weights=np.array([1, 1, 1], np.float32),
    columns=(GENRES, YEAR, STORY),
)


def test_it_works() -> None:
    assert FEATURES.size == 3 + 3 + TEXT_BUCKETS
    assert FEATURES.encode({"GENRES": "Drama|Été", "YEAR": 1999}) == ([0, 2, 4], [0.5, 0.5, 1.0])


@pytest.mark.parametrize(
    ("value", "features"),
    [
        ("Drama", {0: 1.0}),
        (" Film noir | Drama\u00a0|", {0: 0.5, 1: 0.5}),
        ("Drama|Drama", {0: 1.0}),
        ("Drama|Western", {0: 1.0}),  # what is not known does not count
        ("drama", {}),
        ("|", {}),
        ("", {}),
        (None, {}),
        (3, {}),
        (["Drama"], {}),
    ],
)
def test_categories(value: Any, features: dict[int, float]) -> None:
    assert GENRES.encode(value) == features


@pytest.mark.parametrize(
    ("value", "feature"),
    [(-1e300, 3), (1949.9, 3), (1950, 4), ("1999", 4), (2000.0, 5), (10**30, 5)],
)
def test_a_number_falls_into_one_bucket(value: Any, feature: int) -> None:
    assert YEAR.encode(value) == {feature: 1.0}


@pytest.mark.parametrize("value", [None, "", "many", math.nan, math.inf, "-inf", 10**400, [1950]])
def test_what_is_no_number_falls_into_none(value: Any) -> None:
    assert YEAR.encode(value) == {}


def test_words_are_counted_in_lower_case_and_weighed_by_how_rare_they_are() -> None:
    cat, dog = iter_word_buckets("cat dog")
    found = STORY.encode("The CAT, the dog; the cat!")
    assert found[6 + cat] / found[6 + dog] == pytest.approx(2 * (1 + cat % 3) / (1 + dog % 3))
    assert math.hypot(*found.values()) == pytest.approx(1.0)


@pytest.mark.parametrize("text", ["naïve café", "привет мир", "日本 映画", "١٢٣ أهلا"])
def test_words_are_of_any_script(text: str) -> None:
    assert len(STORY.encode(text)) == 2


@pytest.mark.parametrize("text", ["", "!?", " \n", None, 5])
def test_a_text_without_words_says_nothing(text: Any) -> None:
    assert STORY.encode(text) == {}


def test_words_that_training_had_none_of_say_nothing() -> None:
    blank = FeatureColumn(name="STORY", kind="textual", first=0, idf=[0.0] * TEXT_BUCKETS)
    assert blank.encode("never seen") == {}


@pytest.mark.parametrize("name", ["GENRES", "genres", "Genres", "GEN_RES"])
def test_a_column_is_found_however_a_client_writes_it(name: str) -> None:
    assert FEATURES.encode({name: "Drama"}) == ([0], [1.0])


def test_unknown_columns_are_left_out() -> None:
    assert FEATURES.encode({"COLOUR": "red", "YEAR": None}) == ([], [])


def test_what_is_saved_is_opened_and_mapped(tmp_path: Path) -> None:
    FEATURES.save(tmp_path / "items")
    opened = Features.open(tmp_path / "items")
    for name in ("offsets", "values", "weights"):
        array = getattr(opened, name)
        np.testing.assert_array_equal(array, getattr(FEATURES, name))
        assert array.dtype == getattr(FEATURES, name).dtype
        assert isinstance(array.base, np.memmap)
    row = {"GENRES": "Été|Film noir", "YEAR": "1950", "STORY": "A story of two stories"}
    assert opened.encode(row) == FEATURES.encode(row)
    assert opened.size == FEATURES.size


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.floats() | st.none()))
def test_any_row_can_be_encoded(row: dict[str, Any]) -> None:
    row |= {"GENRES": row.get("g", "Drama"), "YEAR": row.get("y"), "STORY": row.get("s", "x")}
    values, weights = FEATURES.encode(row)
    assert len(values) == len(set(values)) == len(weights)
    assert all(0 <= value < FEATURES.size for value in values)
    assert all(0 < weight <= 1 + 1e-9 for weight in weights)


def test_synthetic_rows_are_bags_too() -> None:
    made = bags([{"GENRES": "a|b", "AGE": 3.0}, {}, {"AGE": 9, "GENRES": "a"}])
    assert [column.kind for column in made.columns] == ["categorical", "numeric"]
    assert made.offsets.tolist() == [0, 3, 3, 5]
    assert made.values.tolist() == [0, 1, 2, 0, 3]
    assert made.weights.tolist() == [0.5, 0.5, 1.0, 1.0, 1.0]
