"""Targets of a window: the items of each moment, predicted from before it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from shared.data.arrays.histories import Histories
from shared.recipes.hrnn.lightning_module import compute_window_loss
from shared.recipes.hrnn.prediction_targets import gather_batch, gather_moments, merge_targets
from shared.recipes.hrnn.sequence_packing import Streams
from shared.recipes.hrnn.types import Targets
from tests.recipes.networks import fresh
from tests.recipes.packing import find_moments, make_shoppers, pack_streams
from tests.recipes.synthetic import training_data


def of_moments(targets: Targets, places: Tensor) -> dict[int, dict[int, float]]:
    """What is wanted before each place."""
    found: dict[int, dict[int, float]] = {}
    for row, item, weight in zip(*(each.tolist() for each in targets), strict=True):
        assert item not in found.setdefault(int(places[row]), {})
        found[int(places[row])][item] = weight
    return found


def wanted(histories: Histories, weights: npt.NDArray[np.float32]) -> dict[int, dict[int, float]]:
    """The items of each moment of all users, before the place at which it begins."""
    start, _ = find_moments(histories)
    found: dict[int, dict[int, float]] = {}
    for event, place in enumerate(start):
        of_place = found.setdefault(place, {})
        of_place[int(histories.items[event])] = of_place.get(int(histories.items[event]), 0.0) + float(weights[event])
    return found


def test_all_events_of_a_moment_are_predicted_from_before_it() -> None:
    """Where a window holds all of it."""
    histories = make_shoppers()
    weights = np.random.default_rng(0).random(len(histories.items)).astype(np.float32) + 0.1
    streams_ = Streams(training_data(histories), weights)
    rng = np.random.default_rng(0)
    (window,) = streams_.iter_windows(np.arange(12), streams=1, steps=1000, rng=rng)
    batch = gather_moments(streams_, window)
    found, expected = of_moments(batch.targets, batch.places), wanted(histories, weights)
    assert found.keys() == expected.keys()
    for place, of_place in expected.items():
        assert found[place] == pytest.approx(of_place)
    assert len(batch.places.unique()) == len(batch.places)
    # After the step that reads the event before the moment.
    np.testing.assert_array_equal(window.places.flatten()[batch.rows], batch.places)
    before = window_before(histories, batch.places)
    assert ((batch.read.items.flatten()[batch.rows] == before) | (before == -1)).all()


def window_before(histories: Histories, places: Tensor) -> Tensor:
    """The item that was read last before each; -1 where that is one of several of a moment."""
    start, end = find_moments(histories)
    begins = set(histories.offsets[:-1].tolist())
    alone = [place in begins or end[place - 1] - start[place - 1] == 1 for place in places.tolist()]
    items = [9 if place in begins else int(histories.items[place - 1]) for place in places.tolist()]
    return torch.where(torch.tensor(alone), torch.tensor(items), -1)


@pytest.mark.parametrize("repeats", [True, False])
def test_in_any_order_in_the_file_a_moments_events_are_the_same_queries_and_targets(repeats: bool) -> None:
    histories = make_shoppers(types=2)
    start, _ = find_moments(histories)
    order = np.lexsort((np.random.default_rng(5).random(len(start)), start))
    assert (order != np.arange(len(order))).any()
    other = replace(histories, items=histories.items[order], event_types=histories.event_types[order])
    found = []
    for each in (histories, other):
        streams_ = Streams(training_data(each), np.ones(len(start), np.float32), repeats=repeats)
        network = fresh(training_data(each), streams_, hidden=8)
        (window,) = streams_.iter_windows(np.arange(12), streams=1, steps=1000, rng=np.random.default_rng(0))
        batch, asked = gather_batch(network, streams_, window)
        found.append((batch, asked))
    (one, asked_one), (two, asked_two) = found
    assert torch.equal(one.places, two.places)
    assert torch.equal(one.rows, two.rows)
    assert all(torch.equal(a, b) for a, b in zip(one.targets, two.targets, strict=True))
    assert torch.equal(asked_one.after, asked_two.after)
    assert torch.equal(asked_one.known, asked_two.known)
    for row in range(len(one.places)):
        items = [set(asked.pairs.items[asked.pairs.rows == row].tolist()) for asked in (asked_one, asked_two)]
        assert items[0] == items[1]


@pytest.mark.parametrize("steps", [1, 4, 7])
def test_a_moment_that_a_window_cuts_is_predicted_from_as_far_back_as_that_reaches(steps: int) -> None:
    histories = make_shoppers()
    streams_ = pack_streams(histories)
    items: Counter[tuple[int, int]] = Counter()
    for window in streams_.iter_windows(np.arange(12), streams=3, steps=steps, rng=np.random.default_rng(0)):
        batch = gather_moments(streams_, window)
        start = streams_.find_moment_starts(batch.places)
        assert torch.equal(batch.places, start)
        step, stream = batch.rows // 3, batch.rows % 3
        assert ((window.places[step, stream] == batch.places) | (step == 0)).all()
        items.update(zip(batch.places[batch.targets.rows].tolist(), batch.targets.items.tolist(), strict=True))
    expected = {(place, item) for place, of_place in wanted(histories, np.ones(999)).items() for item in of_place}
    assert set(items) == expected


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("steps", [5, 40])
def test_where_nobody_takes_items_again_only_what_is_new_is_wanted(fast: bool, steps: int) -> None:
    """In either way of asking, which want the same of the same moments."""
    data = training_data(make_shoppers())
    streams_ = Streams(data, np.ones(len(data.histories.items), np.float32), repeats=False)
    network = fresh(data, streams_, hidden=8)
    network.fast = fast
    asked_of, new = Counter[tuple[int, int]](), set()
    for window in streams_.iter_windows(np.arange(12), streams=4, steps=steps, rng=np.random.default_rng(0)):
        batch, asked = gather_batch(network, streams_, window)
        assert (asked.spans is not None) == fast
        assert len(asked.after) == len(batch.rows) == len(batch.places)
        rows, items = batch.targets.rows, batch.targets.items
        assert (rows.diff() >= 0).all()
        asked_of.update(zip(batch.places[rows].tolist(), items.tolist(), strict=True))
        had = set(zip(asked.pairs.rows.tolist(), asked.pairs.items.tolist(), strict=True))
        if asked.spans is not None:
            had |= set(zip(*(each.tolist() for each in asked.spans.expand()), strict=True))
        assert not had & set(zip(rows.tolist(), items.tolist(), strict=True))
    start, _ = find_moments(data.histories)
    for event, place in enumerate(start):
        item = int(data.histories.items[event])
        user = int(np.searchsorted(data.histories.offsets, event, side="right")) - 1
        if item not in data.histories.items[data.histories.offsets[user] : place]:
            new.add((place, item))
    assert set(asked_of) == new


def test_a_window_of_which_nothing_counts_is_learnt_nothing_from() -> None:
    for repeats in (False, True):
        data = training_data(make_shoppers())
        streams_ = Streams(data, np.zeros(len(data.histories.items), np.float32), repeats=repeats)
        network = fresh(data, streams_, hidden=8)
        for network.fast in (False, True):
            window, *_ = streams_.iter_windows(np.arange(12), streams=4, steps=8, rng=np.random.default_rng(0))
            loss, _ = compute_window_loss(network, streams_, lambda _: None, window, network.create_state(4))
            assert loss.item() == 0.0
            loss.backward()


def test_what_is_wanted_is_told_once_in_order() -> None:
    rows, items = torch.tensor([2, 0, 2, 0, 1]), torch.tensor([5, 3, 5, 1, 4])
    found = merge_targets(rows, items, torch.tensor([1.0, 2.0, 4.0, 8.0, 0.0]), 9)
    assert found.rows.tolist() == [0, 0, 2]
    assert found.items.tolist() == [1, 3, 5]
    assert found.weights.tolist() == [8.0, 2.0, 5.0]
