"""What is counted is what a few lines of plain arithmetic count."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from shared.data.arrays.histories import Histories
from shared.recipes.hrnn import counters
from shared.recipes.hrnn.counters import (
    DAY_SECONDS,
    DOUBT,
    FADING,
    FASHION,
    LATELY,
    NAMES,
    NEAR,
    PRIOR,
    RIDGE,
    BlendWeights,
    Counters,
    ItemNeighbours,
    compute_recency_weights,
    sample_users,
    sum_by_item,
)
from shared.recipes.request_time import is_new_visit
from tests.recipes.synthetic import histories_of

HOUR, I = 3600, 9  # noqa: E741

Pairs = Mapping[tuple[int, int], float]


def shoppers(users: int = 12, seed: int = 0) -> Histories:
    """Everyone takes few items again and again, several at a time at times, in visits and on many days."""
    rng = np.random.default_rng(seed)
    sequences = {}
    for user in range(users):
        length = int(rng.integers(1, 31))
        times = 1_000_000 + np.cumsum(rng.choice([0, 0, 50, HOUR, 50 * HOUR], length))
        drawn = rng.integers(0, I, length)
        sequences[f"u{user:02}"] = [(f"i{item}", int(at)) for item, at in zip(drawn, times, strict=True)]
    return histories_of(sequences, unseen=tuple(f"i{item}" for item in range(I)))


def of_users(histories: Histories) -> list[list[tuple[int, int, int]]]:
    """(item, time, number of the moment) of each event of each user."""
    found = []
    for begin, end in zip(histories.offsets[:-1], histories.offsets[1:], strict=True):
        times = histories.timestamps[begin:end].tolist()
        numbers = np.cumsum(np.diff(times, prepend=-1) > 0).tolist()
        found.append(list(zip(histories.items[begin:end].tolist(), times, numbers, strict=True)))
    return found


def in_pairs(neighbours: ItemNeighbours) -> dict[tuple[int, int], float]:
    rows = np.repeat(np.arange(len(neighbours.offsets) - 1), np.diff(neighbours.offsets))
    keys = list(zip(rows.tolist(), neighbours.items.tolist(), strict=True))
    assert len(set(keys)) == len(keys)
    return {key: weight for key, weight in zip(keys, neighbours.weights.tolist(), strict=True) if weight}


def by_hand(histories: Histories) -> tuple[Pairs, Pairs, Pairs]:
    last, near, lately = (defaultdict[tuple[int, int], float](float) for _ in range(3))
    end = int(histories.timestamps.max())
    for events in of_users(histories):
        for place, (after, at, number) in enumerate(events):
            for distance, (before, then, earlier) in enumerate(reversed(events[max(0, place - NEAR) : place]), 1):
                apart = number - earlier
                last[before, after] += apart == 1
                weight = FADING ** min(apart, distance)
                recent = weight * 0.5 ** ((end - at) / DAY_SECONDS / LATELY) * (at - then < 1800)
                for one, other in ((before, after), (after, before)):
                    near[one, other] += weight
                    lately[one, other] += recent
    return last, near, lately


def test_it_counts_what_follows_what_and_what_is_near() -> None:
    histories = shoppers()
    found = Counters.count_events(histories, np.arange(12))
    for ours, plain in zip((found.last, found.near, found.lately), by_hand(histories), strict=True):
        assert in_pairs(ours) == pytest.approx({pair: weight for pair, weight in plain.items() if weight}, rel=1e-5)


def test_it_counts_of_these_users_alone() -> None:
    histories = shoppers()
    found = Counters.count_events(histories, np.arange(4, 12))
    begin = int(histories.offsets[4])
    others = Histories(
        user_ids=histories.user_ids[4:],
        item_ids=histories.item_ids,
        offsets=histories.offsets[4:] - begin,
        items=histories.items[begin:],
        timestamps=histories.timestamps[begin:],
        event_types=histories.event_types[begin:],
        event_type_names=[],
        in_training=histories.in_training[4:],
    )
    alone = Counters.count_events(others, np.arange(8))
    for name in NAMES:
        for one, other in zip(getattr(found, name), getattr(alone, name), strict=True):
            np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(found.prior_I, alone.prior_I)
    np.testing.assert_array_equal(found.fashion_MFI, alone.fashion_MFI)


def test_a_prior_is_the_share_of_who_took_an_item_at_all() -> None:
    histories = histories_of({"a": [("x", 1), ("x", 2), ("y", 3)], "b": [("x", 3)]}, unseen=("z",))
    np.testing.assert_allclose(Counters.count_events(histories, np.arange(2)).prior_I, np.array([3, 2, 1]) / 6)


def test_of_very_many_some_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    histories = shoppers(users=40)
    assert sample_users(histories, np.arange(40)).tolist() == list(range(40))
    monkeypatch.setattr(counters, "MOST_USERS", 9)
    found = sample_users(histories, np.arange(5, 40))
    assert len(found) == 9
    assert (np.diff(found) > 0).all()
    assert found.min() >= 5
    monkeypatch.setattr(counters, "MOST_EVENTS", 50)
    lengths = histories.lengths[sample_users(histories, np.arange(40))]
    assert lengths.sum() >= 50
    assert lengths.sum() - 30 <= 50


def test_of_each_item_the_greatest_are_kept() -> None:
    keys = np.array([3, 1, 2, 3, 12, 10, 3])  # of 5 items: 0 to 3, 1, 2; 2 to 2 and 0
    found = ItemNeighbours.from_pairs(keys, np.array([1.0, 2.0, 5.0, 1.5, 0.5, 0.25, 1.0]), 5, 2)
    assert found.offsets.tolist() == [0, 2, 2, 4, 4, 4]
    assert found.items.tolist() == [2, 3, 2, 0]
    assert found.weights.tolist() == [5.0, 3.5, 0.5, 0.25]


def test_the_neighbours_of_several_items_are_summed_up() -> None:
    found = ItemNeighbours.from_pairs(np.array([1, 2, 6, 7]), np.array([1.0, 2.0, 4.0, 8.0]), 5)  # 0: 1, 2; 1: 1, 2
    items, sums = found.sum_neighbours(np.array([0, 1, 1, 4]), np.array([1.0, 0.5, 1.0, 9.0]))
    assert items.tolist() == [1, 2]
    assert sums.tolist() == [7.0, 14.0]
    items, sums = found.sum_neighbours(np.zeros(0, np.int64), np.zeros(0))
    assert len(items) == len(sums) == 0


@pytest.mark.parametrize("ids", [[], [3], [7, 2, 2, 7, 0]])
def test_sums_are_the_same_of_few_items_and_of_many(monkeypatch: pytest.MonkeyPatch, ids: list[int]) -> None:
    ids_, values = np.array(ids, np.int32), np.arange(len(ids)) + 1.5
    few = sum_by_item(ids_, values, 9)
    monkeypatch.setattr(counters, "DENSE", 8)
    many = sum_by_item(ids_, values, 9)
    for one, other in zip(few, many, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype
    assert few[0].tolist() == sorted(set(ids))
    assert few[1].tolist() == [float(values[ids_ == each].sum()) for each in few[0]]


def ease(took_UI: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """B of Steck (2019), written out."""
    inverse = np.linalg.inv(took_UI.T @ took_UI + RIDGE * np.eye(took_UI.shape[1]))
    B = -inverse / np.diag(inverse)
    np.fill_diagonal(B, 0)
    return B


def test_who_takes_this_takes_that_by_ease(monkeypatch: pytest.MonkeyPatch) -> None:
    """In blocks of users, too."""
    monkeypatch.setattr(counters, "AT_ONCE", 5)
    monkeypatch.setattr(counters, "RIDGE", 2.0)
    monkeypatch.setitem(globals(), "RIDGE", 2.0)
    histories = shoppers(users=60)
    took = np.zeros((60, I))
    took[np.repeat(np.arange(60), histories.lengths), histories.items] = 1
    like, expected = Counters.count_events(histories, np.arange(60)).like, ease(took)
    dense = np.zeros((I, I))
    for (one, other), weight in in_pairs(like).items():
        dense[one, other] = weight
    np.testing.assert_allclose(dense, expected, rtol=1e-3, atol=1e-5)
    had = np.array([1, 4, 7])
    items, sums = like.sum_neighbours(had, np.ones(3))
    np.testing.assert_allclose(sums, expected[had].sum(0)[items], rtol=1e-3, atol=1e-5)


def test_of_eases_weights_the_greatest_are_kept_whatever_their_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    histories = shoppers(users=60)
    every = in_pairs(Counters.count_events(histories, np.arange(60)).like)
    monkeypatch.setattr(counters, "ALIKE", 3)
    monkeypatch.setattr(counters, "NEIGHBOURS", 1)
    like = Counters.count_events(histories, np.arange(60)).like
    assert np.diff(like.offsets).tolist() == [3] * I
    found = in_pairs(like)
    for item in range(I):
        greatest = sorted((abs(weight) for (one, _), weight in every.items() if one == item), reverse=True)[:3]
        kept = sorted((abs(weight) for (one, _), weight in found.items() if one == item), reverse=True)
        assert kept == pytest.approx(greatest, rel=1e-5)


def test_what_one_person_took_is_like_nothing() -> None:
    histories = histories_of({"a": [("x", 1), ("y", 2)], "b": [("z", 1)]})
    like = Counters.count_events(histories, np.arange(2)).like
    assert like.offsets.tolist() == [0, 0, 0, 0]
    assert like.sum_neighbours(np.array([0, 1]), np.ones(2))[0].tolist() == []


def test_of_many_items_only_the_most_taken_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "MOST_ALIKE", 3)
    histories = histories_of({f"u{n}": [(f"i{item}", item) for item in range(n, 9)] for n in range(8)})
    pairs = in_pairs(Counters.count_events(histories, np.arange(8)).like)
    assert {item for pair in pairs for item in pair} == {6, 7, 8}


def test_fashion_is_the_share_of_late_over_the_share_of_all() -> None:
    histories = shoppers(users=30)
    found = Counters.count_events(histories, np.arange(30))
    times, items = histories.timestamps, histories.items
    prior = (np.bincount(items, minlength=I) + 1) / (len(items) + I)
    assert found.times_M[-1] == times.max()
    assert (np.diff(found.times_M) > 0).all()
    for number in (0, len(found.times_M) // 2, len(found.times_M) - 1):
        at = found.times_M[number]
        for half_life, ours in zip(FASHION, found.fashion_MFI[number], strict=True):
            fading = 0.5 ** ((at - times) / DAY_SECONDS / half_life) * (times <= at)
            sums = np.bincount(items, fading, minlength=I)
            doubt = PRIOR + DOUBT * sums.sum()
            expected = np.log((sums + doubt * prior) / (sums.sum() + doubt) / prior)
            np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_fashion_at_a_moment_is_what_was_known_by_then() -> None:
    found = Counters.count_events(shoppers(users=30), np.arange(30))
    times = found.times_M
    for at, number in ((0.0, 0), (times[3], 3), (times[4] - 1, 3), (np.inf, len(times) - 1)):
        np.testing.assert_array_equal(found.get_fashion(float(at)), found.fashion_MFI[number])


def test_what_is_known_of_fashion_is_stale_by_up_to_a_fortieth_of_the_time_or_a_month() -> None:
    found = Counters.count_events(shoppers(users=30), np.arange(30))
    span = float(found.times_M[-1] - found.times_M[0])
    stale = found.compute_staleness(np.arange(1000))
    np.testing.assert_allclose(
        np.quantile(stale, [0, 0.25, 0.5, 1]), span / 40 * np.array([0, 0.25, 0.5, 1]), atol=span / 9000
    )
    years = replace(found, times_M=found.times_M * 100_000)
    assert years.compute_staleness(np.arange(1000)).max() == pytest.approx(30 * DAY_SECONDS, rel=0.01)


def test_of_many_items_fashion_is_known_at_few_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "MOST_FASHIONS", 4 * I)
    found = Counters.count_events(shoppers(users=30), np.arange(30))
    assert len(found.times_M) == 4
    monkeypatch.setattr(counters, "MOST_FASHIONS", 1)
    assert len(Counters.count_events(shoppers(users=30), np.arange(30)).times_M) == 1


def test_events_fade_by_their_moments() -> None:
    faded, is_last = compute_recency_weights(np.array([1, 1, 2, 5, 5]))
    assert faded.tolist() == pytest.approx([FADING**4, FADING**4, FADING**3, 1.0, 1.0])
    assert is_last.tolist() == [False, False, False, True, True]
    assert [len(each) for each in compute_recency_weights(np.zeros(0, np.int64))] == [0, 0]


def test_what_is_said_of_items_is_how_much_oftener_they_came_than_by_chance() -> None:
    histories = shoppers()
    found = Counters.count_events(histories, np.arange(12))
    newest, moments, had = np.array([3, 1, 4]), np.array([1, 2, 2]), np.array([1, 3, 4, 5])
    parts = list(found.iter_parts(newest, *compute_recency_weights(moments), had))
    last, near, lately = by_hand(histories)
    for (items, values), counted, weights in zip(
        parts, (last, near, lately), ([0, 1, 1], [FADING, 1, 1], [FADING, 1, 1]), strict=False
    ):
        sums = [
            sum(w * counted.get((int(one), int(i)), 0.0) for one, w in zip(newest, weights, strict=True)) for i in items
        ]
        np.testing.assert_allclose(values, np.log1p(np.array(sums) / (PRIOR * found.prior_I[items])), rtol=1e-4)
    assert len(parts) == len(NAMES)
    items, sums = found.like.sum_neighbours(had, np.ones(4))
    np.testing.assert_array_equal(parts[3][0], items)
    np.testing.assert_allclose(parts[3][1], np.log1p(np.maximum(sums, 0) / found.prior_I[items]))


def test_what_is_saved_is_opened_but_for_fashion(tmp_path: Path) -> None:
    found = Counters.count_events(shoppers(), np.arange(12))
    found.save(tmp_path / "counters")
    opened = Counters.open(tmp_path / "counters")
    np.testing.assert_array_equal(opened.prior_I, found.prior_I)
    for name in NAMES:
        for one, other in zip(getattr(opened, name), getattr(found, name), strict=True):
            np.testing.assert_array_equal(one, other)
    (tmp_path / "counters" / "near_items.npy").unlink()
    with pytest.raises(OSError, match="near_items"):
        Counters.open(tmp_path / "counters")


def test_each_block_may_stop_the_counting() -> None:
    def stop() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        Counters.count_events(shoppers(), np.arange(12), stop)


def test_a_blend_is_told_by_its_weights() -> None:
    blend = BlendWeights.from_parts([0.5, 1.5, 1, 2, 3, 4, 5, 6, 7], [0.9, 1.1, 8, 9, 10, 11], [0.8, 0.3, -12])
    assert (blend.dot, blend.bias, blend.like, blend.fashion) == (0.5, 1.5, 4, (5, 6, 7))
    assert (blend.again_dot, blend.again_count, blend.again_lately) == (0.9, 8, 11)
    assert (blend.share, blend.evidence, blend.offset) == (0.8, 0.3, -12)
    assert BlendWeights.from_values(blend.values) == blend
    assert BlendWeights.from_values(list(BlendWeights().values)) == BlendWeights()


def test_a_visit_is_new_after_half_an_hour() -> None:
    assert is_new_visit(np.array([0, 1799, 1800, 9999])).tolist() == [False, False, True, True]
