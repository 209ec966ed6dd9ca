"""What a version trains on, prepared from real Parquet files and mapped by whoever comes after."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.data import schemas, streamed_records
from shared.data.arrays.features import TEXT_BUCKETS, Features
from shared.data.arrays.histories import DataRefused, TooLittleData
from shared.data.training import featurize, training_data
from shared.data.training.event_tables import EventParameters
from shared.data.training.rewards import Objective
from shared.data.training.training_data import Sources, Table, TrainingData
from shared.store import Interaction
from tests.unit.shared.data.parquet_files import IDS, INTERACTIONS, enough, parquet, schema, table

MEMORY_MB = 512
LONG_AGO = 1_600_000_000


def nothing() -> None:
    """Of steps that nobody stops."""


class Dataset:
    """Files of one group, and what is prepared from them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._numbers = itertools.count()

    def table(self, name: str, fields: list[str], rows: list[tuple[Any, ...]]) -> Table:
        return table(self.folder / f"{next(self._numbers)}.parquet", name, fields, rows)

    def items(self, *fields: str, rows: list[tuple[Any, ...]]) -> Table:
        return self.table("Items", ["ITEM_ID string", *fields], rows)

    def interactions(self, *fields: str, cells: Callable[[int], tuple[Any, ...]] = lambda number: ()) -> Table:
        """Those of ``enough``; ``cells`` makes the values of ``fields`` of the n-th."""
        rows = [(*row, *cells(number)) for number, row in enumerate(enough())]
        return self.table("Interactions", [*INTERACTIONS, *fields], rows)

    def prepare(self, on_step: Callable[[], None] = nothing, **sources: Any) -> TrainingData:
        sources.setdefault("metadata", True)
        if "interactions" not in sources:
            sources["interactions"] = self.interactions()
        folder = self.folder / f"data{next(self._numbers)}"
        return training_data.prepare(folder, Sources(**sources), memory_mb=MEMORY_MB, on_step=on_step)

    def features_of_items(self, *fields: str, rows: list[tuple[Any, ...]], **sources: Any) -> Features | None:
        return self.prepare(items=self.items(*fields, rows=rows), **sources).items


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return Dataset(tmp_path)


def row(features: Features | None, number: int) -> dict[int, float]:
    """Feature -> weight."""
    assert features is not None
    part = slice(features.offsets[number], features.offsets[number + 1])
    return dict(zip(features.values[part].tolist(), features.weights[part].tolist(), strict=True))


def named(features: Features | None, number: int) -> dict[str, dict[Any, float]]:
    """The features of a row in words: column -> category, or number of the bucket -> weight."""
    assert features is not None
    found: dict[str, dict[Any, float]] = {}
    for value, weight in row(features, number).items():
        column = next(each for each in features.columns if each.first <= value < each.first + each.size)
        own = value - column.first
        found.setdefault(column.name, {})[column.vocabulary[own] if column.vocabulary else own] = weight
    return found


def test_it_works(dataset: Dataset) -> None:
    data = dataset.prepare(
        interactions=dataset.interactions(
            "DEVICE string categorical", cells=lambda number: (("tv", "phone", "tv")[number % 3],)
        ),
        items=dataset.items(
            "CREATION_TIMESTAMP long",
            "GENRES string categorical",
            "PRICE float",
            rows=[("i0", LONG_AGO, "Drama|War", 1.5), ("i2", None, "Drama", None), ("never seen", 5, "Western", 3.0)],
        ),
        users=dataset.table("Users", ["USER_ID string", "AGE int"], [("u001", 20), ("u002", 50)]),
    )
    assert data.histories.item_ids == [f"i{number}" for number in range(10)]
    assert named(data.items, 0) == {"GENRES": {"Drama": 0.5, "War": 0.5}, "PRICE": {0: 1.0}}
    assert named(data.items, 1) == {}
    assert named(data.items, 2) == {"GENRES": {"Drama": 1.0}}
    assert named(data.users, 0) == {}
    assert named(data.users, 1) == {"AGE": {0: 1.0}}
    assert named(data.users, 2) == {"AGE": {1: 1.0}}
    assert data.item_created is not None
    assert data.item_created.tolist() == [LONG_AGO, *[-1] * 9]
    assert data.items is not None
    assert data.contexts is not None
    assert (len(data.items.offsets), len(data.contexts.offsets)) == (11, 1201)
    assert [named(data.contexts, event)["DEVICE"] for event in (0, 1, 1199)] == [{"tv": 1}, {"phone": 1}, {"tv": 1}]
    types = (data.items.offsets.dtype, data.items.values.dtype, data.items.weights.dtype, data.item_created.dtype)
    assert types == (np.int64, np.int32, np.float32, np.int64)


def test_a_recipe_without_metadata_trains_on_none(dataset: Dataset) -> None:
    items = dataset.items("GENRES string categorical", rows=[("i0", "Drama")])
    interactions = dataset.interactions("DEVICE string categorical", cells=lambda number: ("tv",))
    data = dataset.prepare(interactions=interactions, items=items, metadata=False)
    assert (data.items, data.users, data.contexts, data.item_created) == (None, None, None, None)
    assert not (dataset.folder / "items").exists()


def test_strings_and_booleans_are_not_trained_on(dataset: Dataset) -> None:
    fields = ("TITLE string", "IS_NEW boolean")
    assert dataset.features_of_items(*fields, rows=[("i0", "Casablanca", True)]) is None


def test_excluded_columns_are_not_trained_on(dataset: Dataset) -> None:
    fields = ("GENRES string categorical", "PRICE float")
    rows = [("i0", "Drama", 1.5), ("i1", "War", 2.5)]
    features = dataset.features_of_items(*fields, rows=rows, excluded={"ITEMS": {"PRICE"}, "USERS": {"GENRES"}})
    assert features is not None
    assert [column.name for column in features.columns] == ["GENRES"]
    assert dataset.features_of_items(*fields, rows=rows, excluded={"ITEMS": frozenset({"PRICE", "GENRES"})}) is None


def test_an_excluded_creation_is_not_trained_on(dataset: Dataset) -> None:
    items = dataset.items("CREATION_TIMESTAMP long", "PRICE float", rows=[("i0", LONG_AGO, 2.0)])
    assert dataset.prepare(items=items, excluded={"ITEMS": {"CREATION_TIMESTAMP"}}).item_created is None


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
    monkeypatch.setattr(featurize, "MOST_CATEGORIES", 2)
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
    monkeypatch.setattr(featurize, "_ROWS_OF_A_SAMPLE", 400)
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
    edges = featurize._edges(np.array(values))
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


def test_the_last_row_of_an_id_counts(dataset: Dataset) -> None:
    first = dataset.items("GENRES string categorical", "PRICE float", rows=[("i0", "old", 1.0), ("i1", "kept", 2.0)])
    second = dataset.items(
        "GENRES string categorical", "PRICE float", rows=[("i0", "middle", 3.0), ("i0", "new", None)]
    )
    items = Table(files=[*first.files, *second.files], schema=first.schema)
    data = dataset.prepare(items=items)
    assert named(data.items, 0) == {"GENRES": {"new": 1.0}}
    assert named(data.items, 1) == {"GENRES": {"kept": 1.0}, "PRICE": {0: 1.0}}


def test_files_may_lack_columns(dataset: Dataset) -> None:
    old = dataset.items("PRICE float", rows=[("i0", 1.0), ("i1", 2.0)])
    new = dataset.items("PRICE float", "GENRES string categorical", "YEAR int", rows=[("i2", 3.0, "Drama", None)])
    later = schema("Items", "ITEM_ID string", "PRICE float", "GENRES string categorical", "YEAR int", "SIZE int")
    features = dataset.prepare(items=Table(files=[*old.files, *new.files], schema=later)).items
    assert features is not None
    assert [column.name for column in features.columns] == ["PRICE", "GENRES"]
    assert named(features, 2) == {"PRICE": {2: 1.0}, "GENRES": {"Drama": 1.0}}


def test_a_catalogue_of_all_items_has_those_that_nobody_saw(dataset: Dataset) -> None:
    rows = [("new", "Drama", 10), ("i3", "War", 20), ("", "War", 30), (None, "War", 40)]
    items = dataset.items("GENRES string categorical", "CREATION_TIMESTAMP long", rows=rows)
    data = dataset.prepare(items=items, all_items=True)
    assert data.histories.item_ids == [*(f"i{number}" for number in range(10)), "new"]
    assert data.item_created is not None
    assert data.item_created.tolist() == [-1, -1, -1, 20, *[-1] * 6, 10]
    assert named(data.items, 10) == {"GENRES": {"Drama": 1.0}}
    assert named(data.items, 9) == {}
    assert data.histories.items.max() == 9


def test_a_million_items_of_which_ten_are_seen(dataset: Dataset) -> None:
    path = dataset.folder / "items.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT 'i' || i AS ITEM_ID, 'c' || (i % 7) AS GENRES FROM range(1000000) AS t(i)) TO '{path}'"
        )
    items = Table(files=[path], schema=schema("Items", "ITEM_ID string", "GENRES string categorical"))
    data = dataset.prepare(items=items, all_items=True)
    assert len(data.histories.item_ids) == 1_000_000
    for item in ("i0", "i9", "i999999"):
        assert named(data.items, data.histories.item_ids.index(item)) == {"GENRES": {f"c{int(item[1:]) % 7}": 1.0}}
    assert len(np.unique(data.histories.items)) == 10


@pytest.mark.parametrize("names", [("PLACE", "NUMBER"), ("VALUE", "ID"), ("BAG", "N")])
def test_columns_may_be_called_what_they_like(dataset: Dataset, names: tuple[str, str]) -> None:
    fields = (f"{names[0]} string categorical", f"{names[1]} int")
    features = dataset.features_of_items(*fields, rows=[("i0", "a", 5), ("i1", "b", 6)])
    assert named(features, 1) == {names[0]: {"b": 1.0}, names[1]: {1: 1.0}}


def test_contexts_stand_in_the_order_of_histories(dataset: Dataset) -> None:
    rows = [*((*row, str(row[2] % 10), row[2] / 4) for row in reversed(enough())), ("u003", "x", 1010, "late", 252.5)]
    fields = [*INTERACTIONS, "MINUTE string categorical", "AGE double"]
    data = dataset.prepare(interactions=dataset.table("Interactions", fields, rows))
    for event in range(len(data.histories.items)):
        time_ = int(data.histories.timestamps[event])
        late = data.histories.item_ids[data.histories.items[event]] == "x"
        assert list(named(data.contexts, event)["MINUTE"]) == ["late" if late else str(time_ % 10)]
        assert data.contexts is not None
        age = data.contexts.encode({"AGE": time_ / 4})[0]
        assert set(age) < set(row(data.contexts, event))


def test_reserved_columns_are_no_contexts(dataset: Dataset) -> None:
    fields = ("EVENT_TYPE string", "EVENT_VALUE float", "IMPRESSION string", "RECOMMENDATION_ID string")
    interactions = dataset.interactions(*fields, cells=lambda number: ("view", 1.0, "a|b", "x"))
    assert dataset.prepare(interactions=interactions).contexts is None


def test_impressions_are_counted_by_the_events_in_which_an_item_was_shown_and_another_taken(dataset: Dataset) -> None:
    """Repeats count once, in an impression as in the dataset. The item need not be known, nor all files have it."""
    fields = (*INTERACTIONS, "EVENT_TYPE string", "IMPRESSION string")
    shown = [
        *[("u000", "p", 10, "click", "p|q|q|i0")] * 2,
        ("u000", "q", 11, "click", "q|?||i0"),
        ("u001", "r", 12, "view", "p"),
        ("u001", "r", 13, "click", ""),
        ("u001", "r", 14, "click", None),
    ]
    wide, narrow = dataset.table("Interactions", [*fields], shown), dataset.interactions()
    both = Table(files=[*narrow.files, *wide.files], schema=wide.schema)

    def impressions(**how: Any) -> dict[str, int] | None:
        data = dataset.prepare(interactions=both, **{"impressions": True, **how})
        if data.item_impressions is None:
            return None
        counts = zip(data.histories.item_ids, data.item_impressions.tolist(), strict=True)
        return {item: count for item, count in counts if count}

    assert impressions() == {"i0": 2, "p": 1, "q": 1}
    assert impressions(items=dataset.items("AGE int", rows=[("?", 1)]), all_items=True) == {
        "?": 1,
        "i0": 2,
        "p": 1,
        "q": 1,
    }
    assert impressions(excluded={"INTERACTIONS": {"IMPRESSION"}}) is None
    assert impressions(impressions=False) is None
    assert dataset.prepare(interactions=narrow, impressions=True).item_impressions is None


def test_live_events_without_contexts_have_none(dataset: Dataset) -> None:
    bulk = dataset.interactions("DEVICE string categorical", cells=lambda number: ("tv",))
    live = parquet(dataset.folder / "live.parquet", IDS, [("u000", "new", 5000)])
    data = dataset.prepare(interactions=Table(files=[*bulk.files, live], schema=bulk.schema))
    assert row(data.contexts, 39) == {0: 1.0}
    assert row(data.contexts, 40) == {}


def test_a_column_that_no_file_has_is_no_context(dataset: Dataset) -> None:
    bulk = dataset.interactions()
    wider = schema("Interactions", *INTERACTIONS, "DEVICE string categorical")
    assert dataset.prepare(interactions=Table(files=bulk.files, schema=wider)).contexts is None


@pytest.mark.parametrize("metadata", [True, False])
def test_events_alike_in_all_columns_count_once_whatever_file_they_stand_in(dataset: Dataset, metadata: bool) -> None:
    fields = [*INTERACTIONS, "EVENT_VALUE float", "DEVICE string categorical", "IMPRESSION string"]
    first, second = (
        dataset.table("Interactions", fields, [(*row, 0.1, device, "a|b") for row in enough()])
        for device in ("tv", "tv")
    )
    rows = [(*enough()[0], value, device, shown)
            for value, device, shown in ((0.2, "tv", "a|b"), (0.1, "phone", "a|b"), (0.1, "tv", None))]  # fmt: skip
    third = dataset.table("Interactions", fields, [*rows, *rows])
    files = [*first.files, *second.files, *third.files]
    data = dataset.prepare(interactions=Table(files=files, schema=first.schema), metadata=metadata)
    assert len(data.histories.items) == 1200 + 2
    if metadata:
        assert [*named(data.contexts, 0)["DEVICE"], *named(data.contexts, 2)["DEVICE"]] == ["tv", "phone"]


def test_a_live_event_is_the_imported_one_where_all_its_columns_are_alike(dataset: Dataset) -> None:
    fields = [*INTERACTIONS, "EVENT_VALUE float", "DEVICE string categorical"]
    bulk = dataset.table("Interactions", fields, [(*row, 0.1, "tv") for row in enough()])
    user, item, at = enough()[0]
    again, other = (
        Interaction(user_id=user, session_id="s", item_id=item, event_type="", event_value=0.1, sent_at=at,
                    properties={"DEVICE": device, "IMPRESSION": "i0|i1"})
        for device in ("tv", "phone")
    )  # fmt: skip
    live = streamed_records.events([again, other, again], schemas.parse(bulk.schema), dataset.folder / "live.parquet")
    assert live is not None
    data = dataset.prepare(interactions=Table(files=[*bulk.files, live], schema=bulk.schema))
    assert len(data.histories.items) == 1200 + 1


def test_histories_are_the_same_with_metadata_and_without(dataset: Dataset) -> None:
    interactions = dataset.interactions(
        "EVENT_TYPE string", "DEVICE string categorical", cells=lambda number: (("a", "b")[number % 2], str(number))
    )
    with_, without = (dataset.prepare(interactions=interactions, metadata=each).histories for each in (True, False))
    assert (with_.user_ids, with_.item_ids, with_.event_type_names) == (
        without.user_ids, without.item_ids, without.event_type_names,
    )  # fmt: skip
    for name in ("offsets", "items", "timestamps", "event_types", "in_training"):
        np.testing.assert_array_equal(getattr(with_, name), getattr(without, name))


def test_a_domain_has_columns_of_its_own(dataset: Dataset) -> None:
    fields = ["ITEM_ID string", "CREATION_TIMESTAMP long", "GENRES string categorical", "DURATION float"]
    made = table(dataset.folder / "vod.parquet", "Items", fields, [("i0", LONG_AGO, "Drama", 90.0)])
    text = made.schema.replace('["null", "string"]', '"string"').replace('["null", "long"]', '"long"')
    data = dataset.prepare(items=Table(files=made.files, schema=text, domain="VIDEO_ON_DEMAND"))
    assert named(data.items, 0) == {"GENRES": {"Drama": 1.0}, "DURATION": {0: 1.0}}


def typed(dataset: Dataset, *more: tuple[Any, ...]) -> Table:
    """1,200 clicks, and more events of one user, with a type and a value."""
    rows: list[tuple[Any, ...]] = [(*row, "click", None) for row in enough()]
    return dataset.table("Interactions", [*INTERACTIONS, "EVENT_TYPE string", "EVENT_VALUE float"], [*rows, *more])


def test_events_count_by_their_type_and_only_above_the_threshold_of_it(dataset: Dataset) -> None:
    """Those of types that are not named do not count; of several entries that an event meets the heaviest counts."""
    watched = [
        ("u000", f"w{number}", 2000 + number, "Watch", value) for number, value in enumerate((0.4, 0.5, 0.9, None))
    ]
    interactions = typed(dataset, *watched, ("u000", "i0", 3000, "wink", 5.0), ("u000", "i0", 3001, None, 5.0))
    data = dataset.prepare(
        interactions=interactions,
        events=[
            EventParameters(event_type="CLICK", weight=0.1),
            EventParameters(event_type="watch", value_threshold=0.5, weight=0.3),
            EventParameters(event_type="watch", value_threshold=0.8, weight=0.6),
        ],
    )
    assert data.histories.event_type_names == ["click", "watch"]
    assert data.event_weights is not None
    assert data.event_weights.dtype == np.float32
    np.testing.assert_allclose(data.event_weights[:42], [*[0.1] * 40, 0.3, 0.6])
    assert [data.histories.item_ids[item] for item in data.histories.items[40:42]] == ["w1", "w2"]
    assert len(data.event_weights) == len(data.histories.items) == 1202
    assert dataset.prepare(interactions=interactions).event_weights is None


def test_events_of_weight_0_are_known_and_something_must_be_worth_more(dataset: Dataset) -> None:
    bought = ("u000", "i0", 3000, "buy", None)
    clicks = EventParameters(event_type="click", weight=0.0)
    data = dataset.prepare(interactions=typed(dataset, bought), events=[clicks, EventParameters(event_type="buy")])
    assert data.event_weights is not None
    assert data.event_weights.sum() == 1.0
    with pytest.raises(TooLittleData, match="No event has a weight above 0"):
        dataset.prepare(interactions=typed(dataset, bought), events=[clicks])


def test_the_column_of_an_objective_becomes_rewards_in_the_order_of_items(dataset: Dataset) -> None:
    """Trained on or not."""
    data = dataset.prepare(
        items=dataset.items("PRICE float", rows=[("i1", 2.0), ("i3", 4.0), ("i1", 6.0)]),
        objective=Objective(column="PRICE", sensitivity="HIGH"),
        excluded={"ITEMS": {"PRICE"}},
    )
    assert data.items is None
    assert data.rewards is not None
    assert data.rewards.sensitivity == "HIGH"
    assert data.rewards.values.tolist() == [5, 6, 5, 4, 5, 5, 5, 5, 5, 5]
    assert dataset.prepare(items=dataset.items("PRICE float", rows=[("i1", 2.0)])).rewards is None


@pytest.mark.parametrize("column", ["TITLE", "GONE"])
def test_an_objective_that_is_no_column_of_numbers_is_refused(dataset: Dataset, column: str) -> None:
    items = dataset.items("TITLE string", rows=[("i1", "5")])
    with pytest.raises(DataRefused, match=f"needs {column} to be a column of numbers"):
        dataset.prepare(items=items, objective=Objective(column=column))


def test_an_objective_without_items_is_refused(dataset: Dataset) -> None:
    with pytest.raises(DataRefused, match="needs the column PRICE of an Items dataset"):
        dataset.prepare(objective=Objective(column="PRICE"))


def test_a_second_time_it_is_only_opened(tmp_path: Path) -> None:
    interactions = table(tmp_path / "a.parquet", "Interactions", list(INTERACTIONS), enough())
    folder = tmp_path / "data"
    first = training_data.prepare(folder, Sources(interactions=interactions), memory_mb=MEMORY_MB)
    written = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    (tmp_path / "a.parquet").unlink()
    second = training_data.prepare(folder, Sources(interactions=interactions), memory_mb=MEMORY_MB)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == written
    np.testing.assert_array_equal(first.histories.items, second.histories.items)
    for array in (second.histories.items, second.histories.timestamps, second.histories.offsets):
        assert isinstance(array.base, np.memmap)


def test_features_are_mapped(dataset: Dataset) -> None:
    features = dataset.features_of_items("PRICE float", rows=[("i0", 1.0)])
    assert features is not None
    for array in (features.offsets, features.values, features.weights):
        assert isinstance(array.base, np.memmap)


def test_what_a_killed_attempt_left_is_written_anew(dataset: Dataset, tmp_path: Path) -> None:
    draft = tmp_path / "data0.draft" / "histories"
    draft.mkdir(parents=True)
    (draft / "items.npy").write_bytes(b"half")
    folder = tmp_path / "data0"
    sources = Sources(interactions=dataset.interactions())
    data = training_data.prepare(folder, sources, memory_mb=MEMORY_MB)
    assert len(data.histories.items) == 1200
    assert not draft.exists()
    assert sorted(path.name for path in folder.iterdir()) == ["histories"]


def test_data_that_is_refused_leaves_nothing(dataset: Dataset, tmp_path: Path) -> None:
    few = dataset.table("Interactions", list(INTERACTIONS), enough(5, 5))
    before = set(tmp_path.iterdir())
    with pytest.raises(TooLittleData, match="fewer than 1000 interactions"):
        dataset.prepare(interactions=few)
    assert set(tmp_path.iterdir()) == before


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """Three million events: several seconds of work."""
    path = tmp_path_factory.mktemp("large") / "a.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            f"""COPY (SELECT 'u' || hash(i) % 20000 AS USER_ID, 'i' || hash(i + 7) % 5000 AS ITEM_ID,
                             (i * 17)::BIGINT AS TIMESTAMP, 'd' || hash(i + 1) % 99 AS DEVICE
                      FROM range(3000000) AS t(i)) TO '{path}' (FORMAT parquet)"""
        )
    return Table(files=[path], schema=schema("Interactions", *INTERACTIONS, "DEVICE string categorical"))


class Asked(Exception):
    """Somebody wants it to end."""


@pytest.mark.parametrize("steps", [1, 3, 6, 10, 15, 20, 30])
def test_a_long_reading_ends_within_two_seconds_of_being_asked(dataset: Dataset, large: Table, steps: int) -> None:
    made = []

    def on_step() -> None:
        made.append(time.monotonic())
        if len(made) == steps:
            raise Asked

    with pytest.raises(Asked):
        dataset.prepare(interactions=large, on_step=on_step)
    assert len(made) == steps
    assert time.monotonic() - made[-1] < 2.0
    assert not list(dataset.folder.iterdir())


def test_steps_are_never_far_apart(dataset: Dataset, large: Table) -> None:
    steps = [time.monotonic()]
    dataset.prepare(interactions=large, on_step=lambda: steps.append(time.monotonic()))
    # 0.5 s is what is promised; a busy machine may be late by as much again.
    assert max(np.diff([*steps, time.monotonic()])) < 1.0


def test_a_reading_of_texts_can_be_ended_too(dataset: Dataset) -> None:
    steps = itertools.count()

    def on_step() -> None:
        if (dataset.folder / "data.draft" / "scratch" / "texts").exists() and next(steps) == 3:
            raise Asked

    items = dataset.items("STORY string textual", rows=[(f"i{number}", "a word " * 50) for number in range(3000)])
    sources = Sources(interactions=dataset.interactions(), items=items, metadata=True, all_items=True)
    with pytest.raises(Asked):
        training_data.prepare(dataset.folder / "data", sources, memory_mb=MEMORY_MB, on_step=on_step)


def test_a_file_that_is_gone_is_a_reason(dataset: Dataset) -> None:
    interactions = dataset.interactions()
    Path(interactions.files[0]).unlink()
    with pytest.raises(DataRefused, match="cannot be read, or there is no room on the disk"):
        dataset.prepare(interactions=interactions)


def test_too_little_memory_is_a_reason(dataset: Dataset, large: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.data.duckdb_session._LEAST_MEMORY_MB", 4)
    with pytest.raises(DataRefused, match=r"more than 4 MiB of memory.* FORETASTE_IMPORT_MEMORY_MB"):
        training_data.prepare(dataset.folder / "data", Sources(interactions=large), memory_mb=4)


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
