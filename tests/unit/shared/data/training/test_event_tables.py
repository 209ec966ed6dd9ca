"""Tables of events: contexts, impressions, repeats, and weights by event type."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from shared.data import schemas, streamed_records
from shared.data.arrays.histories import TooLittleData
from shared.data.training.event_tables import EventParameters
from shared.data.training.training_data import DatasetFiles
from shared.store import Interaction
from tests.unit.shared.data.parquet_files import IDS, INTERACTIONS, enough, parquet, schema
from tests.unit.shared.data.training.dataset import Dataset, named, row


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
    both = DatasetFiles(files=[*narrow.files, *wide.files], schema=wide.schema)

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
    data = dataset.prepare(interactions=DatasetFiles(files=[*bulk.files, live], schema=bulk.schema))
    assert row(data.contexts, 39) == {0: 1.0}
    assert row(data.contexts, 40) == {}


def test_a_column_that_no_file_has_is_no_context(dataset: Dataset) -> None:
    bulk = dataset.interactions()
    wider = schema("Interactions", *INTERACTIONS, "DEVICE string categorical")
    assert dataset.prepare(interactions=DatasetFiles(files=bulk.files, schema=wider)).contexts is None


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
    data = dataset.prepare(interactions=DatasetFiles(files=files, schema=first.schema), metadata=metadata)
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
    live = streamed_records.write_events(
        [again, other, again], schemas.parse_schema(bulk.schema), dataset.folder / "live.parquet"
    )
    assert live is not None
    data = dataset.prepare(interactions=DatasetFiles(files=[*bulk.files, live], schema=bulk.schema))
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


def typed(dataset: Dataset, *more: tuple[Any, ...]) -> DatasetFiles:
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
