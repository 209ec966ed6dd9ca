"""Features of columns: categories, buckets of numbers, and weights of words."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.data.arrays.features import TEXT_BUCKETS
from shared.data.training import featurize
from tests.unit.shared.data.training.dataset import Dataset, row


def test_categories_are_numbered_by_how_many_rows_have_them(dataset: Dataset) -> None:
    genres = ["b|b|a", " c |a", "||", None, "c|a", "é|日本|A"]
    rows = [(f"i{number}", value) for number, value in enumerate(genres)]
    features = dataset.features_of_items("GENRES string categorical", rows=rows)
    assert features is not None
    assert features.columns[0].vocabulary == ["a", "c", "A", "b", "é", "日本"]
    assert row(features, 0) == {0: 0.5, 3: 0.5}
    assert row(features, 2) == row(features, 3) == {}
    assert row(features, 5) == pytest.approx({2: 1 / 3, 4: 1 / 3, 5: 1 / 3})


def test_beyond_a_number_of_categories_the_rare_are_left_out(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(featurize, "MAX_CATEGORIES", 2)
    rows = [("i0", "a|rare"), ("i1", "a|b"), ("i2", "b"), ("i3", "rarer")]
    features = dataset.features_of_items("GENRES string categorical", rows=rows)
    assert features is not None
    assert features.columns[0].vocabulary == ["a", "b"]
    assert [row(features, number) for number in range(4)] == [{0: 1.0}, {0: 0.5, 1: 0.5}, {1: 1.0}, {}]


def test_a_number_falls_into_one_of_sixteen_buckets_alike_in_size(dataset: Dataset) -> None:
    rows = [(f"n{number:04}", float(number**2)) for number in range(1600)]
    features = dataset.features_of_items("PRICE double", rows=rows, all_items=True)
    assert features is not None
    assert features.size == 16
    numbered = [row(features, 10 + number) for number in range(1600)]
    assert numbered == [{number // 100: 1.0} for number in range(1600)]


def test_buckets_of_many_rows_are_those_of_some(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(featurize, "_SAMPLED_ROWS", 400)
    rows = [(f"n{number:04}", float(number)) for number in range(1600)]
    first, second = (dataset.features_of_items("PRICE double", rows=rows, all_items=True) for _ in range(2))
    assert first is not None
    assert second is not None
    np.testing.assert_allclose(first.columns[0].edges, np.arange(100, 1600, 100), atol=80)
    assert first.columns[0].edges == second.columns[0].edges


@pytest.mark.parametrize("kind", ["float", "double"])
def test_a_number_from_a_request_falls_where_it_did_in_training(dataset: Dataset, kind: str) -> None:
    prices = [0.1, 0.3, 0.7, 1e-30, -0.9, 1e30]
    features = dataset.features_of_items(
        f"PRICE {kind}", rows=[(f"i{number}", price) for number, price in enumerate(prices)]
    )
    assert features is not None
    assert features.size == len(prices)
    for number, price in enumerate(prices):
        assert features.encode({"PRICE": str(price)})[0] == list(row(features, number))


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_no_bucket_is_empty(values: list[float]) -> None:
    edges = featurize._compute_edges(np.array(values))
    assert len(edges) < 16
    assert set(np.searchsorted(edges, values, side="right")) == set(range(len(edges) + 1))


def test_a_constant_has_one_bucket(dataset: Dataset) -> None:
    features = dataset.features_of_items("PRICE int", rows=[("i0", 7), ("i1", 7), ("i2", None)])
    assert features is not None
    assert features.size == 1
    assert [row(features, number) for number in range(3)] == [{0: 1.0}, {0: 1.0}, {}]


def test_numbers_that_are_none_have_no_feature(dataset: Dataset) -> None:
    rows = [("i0", math.nan), ("i1", math.inf), ("i2", -math.inf), ("i3", 1.0), ("i4", 2.0)]
    features = dataset.features_of_items("PRICE double", rows=rows)
    assert [row(features, number) for number in range(5)] == [{}, {}, {}, {0: 1.0}, {1: 1.0}]


def test_columns_without_a_value_are_left_out(dataset: Dataset) -> None:
    fields = ("PRICE double", "GENRES string categorical", "STORY string textual", "YEAR int")
    features = dataset.features_of_items(*fields, rows=[("i0", math.nan, "||", "!!", None), ("i1", None, None, "?", 3)])
    assert features is not None
    assert [(column.name, column.first) for column in features.columns] == [("YEAR", 0)]


def test_words_weigh_by_how_few_texts_have_them(dataset: Dataset) -> None:
    stories = ["the cat", "the dog", "the dog and the dog", "The Bird!"]
    rows = [(f"i{number}", 1, story) for number, story in enumerate(stories)]
    features = dataset.features_of_items("YEAR int", "STORY string textual", rows=rows)
    assert features is not None
    story = features.columns[1]
    assert (features.size, story.first) == (1 + TEXT_BUCKETS, 1)
    the, cat, dog = (math.log(5 / (1 + texts)) + 1 for texts in (4, 1, 2))
    assert list(row(features, 0).values())[1:] == pytest.approx(_normal(story.encode("the cat"), the, cat), rel=1e-6)
    assert sorted(row(features, 1).values())[:2] == pytest.approx(sorted(_normal({}, the, dog)), rel=1e-6)
    for number, text in enumerate(stories):
        assert row(features, number) == pytest.approx({0: 1.0} | story.encode(text), rel=1e-6)


def _normal(in_order_of: dict[int, float], *weights: float) -> list[float]:
    length = math.hypot(*weights)
    normal = sorted(weight / length for weight in weights)
    # The order of buckets is that of a hash.
    if in_order_of and list(in_order_of.values()) != sorted(in_order_of.values()):
        normal.reverse()
    return normal


@pytest.mark.parametrize(("filled", "is_used"), [(17, True), (16, False)])
def test_a_text_is_used_where_85_percent_of_the_rows_have_it(dataset: Dataset, filled: int, is_used: bool) -> None:
    # Items that nobody has seen count as well: the rule is about the dataset.
    rows = [(f"i{number}", 1.0, "some words" if number < filled else " ") for number in range(20)]
    features = dataset.features_of_items("PRICE float", "STORY string textual", rows=rows)
    assert features is not None
    assert [column.name for column in features.columns] == ["PRICE", "STORY"][: 1 + is_used]


CELL = st.fixed_dictionaries(
    {
        "GENRES": st.none() | st.lists(st.sampled_from(["a", "b", " c", "d ", "", "é"])).map("|".join),
        "PRICE": st.none() | st.floats(width=32) | st.integers(-3, 3).map(float),
        "STORY": st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30),
    }
)


@given(cells=st.lists(CELL, min_size=1, max_size=8))
@settings(max_examples=20, deadline=None)
def test_a_row_is_encoded_at_serving_as_it_was_for_training(
    cells: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    dataset = Dataset(tmp_path_factory.mktemp("rows"))
    rows = [(f"i{number}", *(cell[name] for name in ("GENRES", "PRICE", "STORY"))) for number, cell in enumerate(cells)]
    fields = ("GENRES string categorical", "PRICE double", "STORY string textual")
    features = dataset.features_of_items(*fields, rows=rows)
    for number, cell in enumerate(cells):
        if features is not None:
            values, weights = features.encode(cell)
            assert row(features, number) == pytest.approx(dict(zip(values, weights, strict=True)), rel=1e-6)
