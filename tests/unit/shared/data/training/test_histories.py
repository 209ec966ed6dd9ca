"""Histories read from Parquet: filtering, numbering, order, and AWS's minimum data."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.data.arrays.histories import DataRefused, Histories, TooLittleData
from shared.data.training import training_data
from shared.data.training.training_data import DatasetFiles, TrainingSources
from tests.recipes.synthetic import histories_of
from tests.unit.shared.data import parquet_files
from tests.unit.shared.data.parquet_files import IDS, INTERACTIONS, enough

MEMORY_MB = 256
SCHEMA = parquet_files.schema("Interactions", *INTERACTIONS, "EVENT_TYPE string", "EVENT_VALUE float")
TYPES = {"EVENT_TYPE": "VARCHAR", "EVENT_VALUE": "FLOAT", "DEVICE": "VARCHAR"}


def parquet(path: Path, rows: list[tuple[Any, ...]], *columns: str) -> Path:
    """Writes rows of (USER_ID, ITEM_ID, TIMESTAMP, *columns)."""
    return parquet_files.parquet(path, IDS | {column: TYPES[column] for column in columns}, rows)


def load(*files: Path, schema: str = SCHEMA, **options: Any) -> Histories:
    folder = Path(tempfile.mkdtemp(dir=files[0].parent if files else None))
    sources = TrainingSources(interactions=DatasetFiles(files=files, schema=schema), **options)
    return training_data.prepare_training_data(folder / "data", sources, memory_mb=MEMORY_MB).histories


def of(loaded: Histories, user_id: str) -> list[tuple[str, int]]:
    user = loaded.user_ids.index(user_id)
    events = slice(loaded.offsets[user], loaded.offsets[user + 1])
    pairs = zip(loaded.items[events], loaded.timestamps[events], strict=True)
    return [(loaded.item_ids[item], int(timestamp)) for item, timestamp in pairs]


def test_it_works(tmp_path: Path) -> None:
    rows = [*enough(), ("b", "y", 7), ("b", "x", 5), ("a", "x", 9), ("ä", "x", 1)]
    loaded = load(parquet(tmp_path / "bulk.parquet", rows))
    assert loaded.user_ids == sorted({row[0] for row in rows})
    assert loaded.item_ids == sorted({row[1] for row in rows})
    assert of(loaded, "b") == [("x", 5), ("y", 7)]
    assert of(loaded, "ä") == [("x", 1)]
    assert loaded.offsets[-1] == len(loaded.items) == len(rows)
    assert (loaded.items.dtype, loaded.timestamps.dtype) == (np.int32, np.int64)
    assert (loaded.offsets.dtype, loaded.event_types.dtype) == (np.int64, np.int16)
    assert loaded.in_training.all()
    assert set(loaded.event_types) == {-1}


def test_bulk_and_live_events_are_read_together_though_their_columns_differ(tmp_path: Path) -> None:
    bulk = parquet(tmp_path / "bulk.parquet", enough())
    live = parquet(tmp_path / "live.parquet", [("u000", "new", 2000, "Click", "phone")], "EVENT_TYPE", "DEVICE")
    loaded = load(bulk, live)
    assert of(loaded, "u000")[-1] == ("new", 2000)
    assert loaded.event_type_names == ["click"]
    assert sorted(set(loaded.event_types)) == [-1, 0]


def test_an_event_that_stands_twice_counts_once(tmp_path: Path) -> None:
    rows = enough()
    loaded = load(parquet(tmp_path / "a.parquet", rows), parquet(tmp_path / "b.parquet", rows[:50]))
    assert len(loaded.items) == len(rows)


def test_events_that_differ_in_type_or_value_are_not_the_same(tmp_path: Path) -> None:
    rows = [(*row, "view", 1.0) for row in enough()]
    rows += [("u000", "i0", 1000, "click", 1.0), ("u000", "i0", 1000, "view", 2.0)]
    loaded = load(parquet(tmp_path / "a.parquet", rows, "EVENT_TYPE", "EVENT_VALUE"))
    assert of(loaded, "u000").count(("i0", 1000)) == 3


def test_events_of_one_second_keep_the_order_of_the_file(tmp_path: Path) -> None:
    same_second = [("z", item, 5) for item in ("q", "a", "m", "b")]
    loaded = load(parquet(tmp_path / "a.parquet", [*same_second, *enough()]))
    assert [item for item, _ in of(loaded, "z")] == ["q", "a", "m", "b"]


def test_events_without_user_or_item_are_left_out(tmp_path: Path) -> None:
    rows = [*enough(), (None, "i0", 3), ("u000", None, 3)]
    assert len(load(parquet(tmp_path / "a.parquet", rows)).items) == len(enough())


def test_event_types_are_the_same_whatever_their_case(tmp_path: Path) -> None:
    rows = [(*row, ("Watch", "WATCH", "click")[number % 3]) for number, row in enumerate(enough(60))]
    loaded = load(parquet(tmp_path / "a.parquet", rows, "EVENT_TYPE"), event_type="watch")
    assert len(loaded.items) == len(rows) * 2 // 3
    assert loaded.event_type_names == ["watch"]


def test_a_value_passes_at_the_threshold_and_a_missing_one_does_not(tmp_path: Path) -> None:
    rows = [(*row, 3.0) for row in enough()] + [("x", "a", 1, 2.9), ("x", "b", 2, None), ("x", "c", 3, 3.5)]
    loaded = load(parquet(tmp_path / "a.parquet", rows, "EVENT_VALUE"), event_value_threshold=3.0)
    assert of(loaded, "x") == [("c", 3)]


def test_histories_outside_the_percentiles_are_kept_but_not_trained_on(tmp_path: Path) -> None:
    robot = [("robot", f"r{event % 7}", event) for event in range(500)]
    visitor = [("visitor", "i0", 5)]
    path = parquet(tmp_path / "a.parquet", [*enough(), *robot, *visitor])
    loaded = load(path, min_percentile=0.05, max_percentile=0.95)
    outside = [id_ for id_, inside in zip(loaded.user_ids, loaded.in_training, strict=True) if not inside]
    assert outside == ["robot", "visitor"]
    assert len(of(loaded, "robot")) == 500
    assert load(path).in_training.all()


def test_percentiles_that_leave_nobody_are_too_little_data(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", [*enough(), *((f"v{n:04}", "i0", 1) for n in range(1000))])
    with pytest.raises(TooLittleData, match=r"between the history length percentiles 0 and 0\.5"):
        load(path, max_percentile=0.5)


def test_fewer_than_1000_interactions(tmp_path: Path) -> None:
    rows = [(*row, "view") for row in enough(30, 40)] + [("u000", "i0", 1, "click")]
    path = parquet(tmp_path / "a.parquet", rows, "EVENT_TYPE")
    with pytest.raises(TooLittleData) as error:
        load(path, event_type="Click")
    assert str(error.value) == "Dataset has fewer than 1000 interactions after filtering by event type: Click"


def test_fewer_than_1000_interactions_of_any_type(tmp_path: Path) -> None:
    with pytest.raises(TooLittleData, match=r"^Dataset has fewer than 1000 interactions"):
        load(parquet(tmp_path / "a.parquet", enough(30, 33)))


def test_a_type_that_the_data_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(TooLittleData, match="after filtering by event type: buy"):
        load(parquet(tmp_path / "a.parquet", enough()), event_type="buy")


def test_fewer_than_25_users_with_two_interactions(tmp_path: Path) -> None:
    rows = [*enough(24, 50), *((f"v{n}", "i0", n) for n in range(100))]
    with pytest.raises(TooLittleData) as error:
        load(parquet(tmp_path / "a.parquet", rows))
    expected = "Create failed. Dataset has fewer than 25 users with at least 2 interactions each."
    assert str(error.value) == expected


def test_hardly_any_user_with_two_interactions(tmp_path: Path) -> None:
    rows = [*enough(25, 2), *((f"v{n}", "i0", n) for n in range(2600))]
    with pytest.raises(TooLittleData, match="Fewer than 1 % of the users"):
        load(parquet(tmp_path / "a.parquet", rows))


def test_a_path_with_a_quote_is_a_path(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", enough()).rename(tmp_path / "it's.parquet")
    assert len(load(path).items) == len(enough())


def test_no_file_at_all_is_too_little_data() -> None:
    with pytest.raises(TooLittleData, match="no interactions: import some"):
        load()


def test_a_missing_value_is_below_any_threshold_and_so_is_one_that_is_no_number(tmp_path: Path) -> None:
    odd = [("x", "a", 1, float("nan")), ("x", "b", 2, float("inf")), ("x", "c", 3, -float("inf"))]
    rows = [(*row, 3.0) for row in enough()] + odd
    path = parquet(tmp_path / "a.parquet", rows, "EVENT_VALUE")
    assert "x" not in load(path, event_value_threshold=-1e30).user_ids
    assert of(load(path), "x") == [("a", 1), ("b", 2), ("c", 3)]


@pytest.mark.parametrize("threshold", [float("nan"), float("inf")])
def test_a_threshold_that_is_no_number_lets_nothing_pass(tmp_path: Path, threshold: float) -> None:
    path = parquet(tmp_path / "a.parquet", [(*row, 3.0) for row in enough()], "EVENT_VALUE")
    with pytest.raises(TooLittleData):
        load(path, event_value_threshold=threshold)


def test_empty_ids_are_left_out(tmp_path: Path) -> None:
    loaded = load(parquet(tmp_path / "a.parquet", [*enough(), ("", "i0", 3), ("u000", "", 3)]))
    assert len(loaded.items) == len(enough())
    assert "" not in loaded.user_ids + loaded.item_ids


def test_ids_may_be_numbers(tmp_path: Path) -> None:
    rows = [(int(user[1:]), int(item[1:]), time) for user, item, time in enough()]
    columns = {"USER_ID": "BIGINT", "ITEM_ID": "INTEGER", "TIMESTAMP": "INTEGER"}
    loaded = load(parquet_files.parquet(tmp_path / "a.parquet", columns, rows))
    assert of(loaded, "7")[:2] == [("0", 1000), ("1", 1001)]
    assert loaded.user_ids == sorted(map(str, range(30)))


def test_times_that_are_none_are_left_out(tmp_path: Path) -> None:
    columns = {"USER_ID": "VARCHAR", "ITEM_ID": "VARCHAR", "TIMESTAMP": "DOUBLE"}
    rows = [*enough(), ("u000", "i0", float("nan")), ("u000", "i0", float("inf"))]
    assert len(load(parquet_files.parquet(tmp_path / "a.parquet", columns, rows)).items) == len(enough())


def test_any_moment_is_one(tmp_path: Path) -> None:
    far = [("z", "past", -5), ("z", "future", 99_999_999_999), ("z", "now", 0)]
    loaded = load(parquet(tmp_path / "a.parquet", [*enough(), *far]))
    assert [item for item, _ in of(loaded, "z")] == ["past", "now", "future"]


def test_all_at_one_moment_keep_the_order_of_the_file(tmp_path: Path) -> None:
    rows = [(user, f"{99 - number}", 5) for user, _, _ in enough(30, 1) for number in range(40)]
    loaded = load(parquet(tmp_path / "a.parquet", rows))
    assert [item for item, _ in of(loaded, "u007")] == [f"{99 - number}" for number in range(40)]


def test_a_history_of_a_hundred_thousand_events(tmp_path: Path) -> None:
    robot = [("robot", f"r{event % 7}", event) for event in range(100_000)]
    loaded = load(parquet(tmp_path / "a.parquet", [*robot, *enough()]), max_percentile=0.99)
    assert of(loaded, "robot") == [(item, time) for _, item, time in robot]
    assert not loaded.in_training[loaded.user_ids.index("robot")]


def test_more_kinds_of_events_than_allowed_are_refused(tmp_path: Path) -> None:
    rows = [(*row, f"type{number % 11}") for number, row in enumerate(enough(300))]
    path = parquet(tmp_path / "a.parquet", rows, "EVENT_TYPE")
    with pytest.raises(DataRefused, match=r"distinct event types \(11\) and of optional metadata columns \(0\)"):
        load(path)
    assert load(path, event_type="Type3").event_type_names == ["type3"]


def test_metadata_columns_count_as_kinds_unless_excluded(tmp_path: Path) -> None:
    rows = [(*row, f"type{number % 10}") for number, row in enumerate(enough(300))]
    path = parquet(tmp_path / "a.parquet", rows, "EVENT_TYPE")
    schema = parquet_files.schema("Interactions", *INTERACTIONS, "EVENT_TYPE string", "DEVICE string categorical")
    with pytest.raises(DataRefused, match=r"\(10\) and of optional metadata columns \(1\)"):
        load(path, schema=schema)
    assert len(load(path, schema=schema, excluded={"INTERACTIONS": {"DEVICE"}}).event_type_names) == 10


@pytest.mark.parametrize("names", [("PLACE", "VALUE"), ("TIME", "USER"), ("C1", "C0"), ("NUMBER", "TYPE_ID")])
def test_columns_may_be_called_what_they_like(tmp_path: Path, names: tuple[str, str]) -> None:
    columns = IDS | dict.fromkeys(names, "VARCHAR")
    path = parquet_files.parquet(tmp_path / "a.parquet", columns, [(*row, "p", "q") for row in enough()])
    schema = parquet_files.schema("Interactions", *INTERACTIONS, *(f"{name} string categorical" for name in names))
    plain = load(parquet(tmp_path / "b.parquet", enough()))
    named = load(path, schema=schema, metadata=True)
    assert [of(named, user) for user in named.user_ids] == [of(plain, user) for user in plain.user_ids]


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"no Parquet at all")
    with pytest.raises(DataRefused, match=r"cannot be read: .* Import it again"):
        load(path)


def test_a_file_without_times_is_refused(tmp_path: Path) -> None:
    path = parquet_files.parquet(tmp_path / "a.parquet", {"USER_ID": "VARCHAR", "ITEM_ID": "VARCHAR"}, [("a", "b")])
    with pytest.raises(DataRefused, match="TIMESTAMP"):
        load(path)


def test_a_name_with_a_pattern_in_it_is_a_name(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", enough()).rename(tmp_path / "[ab]*.parquet")
    parquet(tmp_path / "b.parquet", enough(60))
    assert len(load(path).items) == len(enough())


IDS_OF_ANY_SCRIPT = st.text(st.characters(codec="utf-8"), max_size=20)


@given(st.dictionaries(IDS_OF_ANY_SCRIPT, st.lists(st.tuples(IDS_OF_ANY_SCRIPT, st.integers(-(2**63), 2**63 - 1)))))
def test_what_is_saved_is_opened_and_mapped(sequences: dict[str, list[tuple[str, int]]]) -> None:
    saved = histories_of(sequences, excluded=tuple(sequences)[:1], unseen=("", "unseen"))
    with tempfile.TemporaryDirectory() as folder:
        saved.save(Path(folder) / "histories")
        opened = Histories.open(Path(folder) / "histories")
        assert (opened.user_ids, opened.item_ids) == (saved.user_ids, saved.item_ids)
        assert opened.event_type_names == saved.event_type_names
        for name in ("offsets", "items", "timestamps", "event_types", "in_training"):
            array = getattr(opened, name)
            np.testing.assert_array_equal(array, getattr(saved, name))
            assert array.dtype == getattr(saved, name).dtype
            assert isinstance(array.base, np.memmap)
            assert not array.flags.writeable


def test_a_folder_cut_short_is_not_opened(tmp_path: Path) -> None:
    histories_of({"a": [("x", 1), ("y", 2)]}).save(tmp_path / "histories")
    path = tmp_path / "histories" / "items.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="greater than file size"):
        Histories.open(tmp_path / "histories")
