"""Which items are cold: few interactions, and the first of them not long ago."""

from __future__ import annotations

import numpy as np
import pytest

from shared.data.arrays.histories import DataRefused
from shared.data.training.training_data import TrainingData
from shared.recipes import RECIPES
from shared.recipes.hrnn.cold_items import find_cold_items
from tests.recipes.networks import took
from tests.recipes.synthetic import training_data

DAY = 86_400
TODAY = 1000 * DAY
SETTINGS = RECIPES["aws-hrnn-coldstart"].resolve_parameters(
    {"featureTransformationParameters": {"cold_start_max_interactions": "3", "cold_start_max_duration": "5"}}
)
FROM_NOW = SETTINGS | {"cold_start_relative_from": "currentTime"}
NEVER_TAKEN = 200
ITEMS = 6 + NEVER_TAKEN


def data(created: dict[int, int] | None = None) -> TrainingData:
    """Item 0 was taken 3 times of late, 1 twice of late, 2 once long ago, 3 first long ago and then of late, 4 once
    just 5 days before the newest interaction, 5 a second after that; the others never."""
    events = [
        *[(0, TODAY - 10), (0, TODAY - 5), (0, TODAY)],
        *[(1, TODAY - 20), (1, TODAY - 10)],
        (2, TODAY - 100 * DAY),
        *[(3, TODAY - 100 * DAY), (3, TODAY - 3)],
        (4, TODAY - 5 * DAY),
        (5, TODAY - 5 * DAY + 1),
    ]
    histories = took([sorted(events, key=lambda event: event[1])], ITEMS)
    dates = None if created is None else [created.get(item, -1) for item in range(ITEMS)]
    return training_data(histories, item_created=dates)


def test_an_item_is_cold_that_is_young_and_has_few_interactions() -> None:
    cold = find_cold_items(data(), SETTINGS, now=0)
    assert np.flatnonzero(cold[:6]).tolist() == [1, 5]
    assert cold.dtype == np.bool_


def test_an_item_of_which_nothing_is_known_is_as_young_as_can_be() -> None:
    assert find_cold_items(data(), SETTINGS, now=0)[6:].all()
    assert find_cold_items(data(), FROM_NOW, now=TODAY + 10**9)[6:].all()


def test_the_age_goes_to_the_newest_interaction_or_to_now() -> None:
    assert np.flatnonzero(find_cold_items(data(), FROM_NOW, now=TODAY)[:6]).tolist() == [1, 5]
    assert np.flatnonzero(find_cold_items(data(), FROM_NOW, now=TODAY + 2)[:6]).tolist() == [1]
    assert np.flatnonzero(find_cold_items(data(), FROM_NOW, now=TODAY + 6 * DAY)[:6]).tolist() == []


def test_an_item_without_interactions_is_as_old_as_its_creation() -> None:
    created = {10: TODAY - 100 * DAY, 11: TODAY - DAY, 12: 0}
    cold = find_cold_items(data(created), SETTINGS, now=0)
    assert cold[[10, 11, 12, 13]].tolist() == [False, True, False, True]


def test_an_item_with_interactions_is_as_old_as_the_first_of_them() -> None:
    cold = find_cold_items(data({1: TODAY - 100 * DAY, 2: TODAY}), SETTINGS, now=0)
    assert cold[[1, 2]].tolist() == [True, False]


def test_parts_of_a_day_count() -> None:
    cold = find_cold_items(data(), SETTINGS | {"cold_start_max_duration": "0.0002"}, now=0)  # 17 seconds
    assert np.flatnonzero(cold[:6]).tolist() == []
    cold = find_cold_items(data(), SETTINGS | {"cold_start_max_duration": "0.0003"}, now=0)  # 26 seconds
    assert np.flatnonzero(cold[:6]).tolist() == [1]


@pytest.mark.parametrize(("items", "cold"), [(99, 99), (80_001, 80_001)])
def test_too_few_and_too_many_are_refused_with_their_number(items: int, cold: int) -> None:
    sequences = [[(item, TODAY - 100 * DAY) for item in range(3)], [(0, TODAY)]]
    refused = training_data(took(sequences, 3 + items))
    with pytest.raises(DataRefused, match=f"Dataset has {cold} cold items: aws-hrnn-coldstart needs 100 to 80,000"):
        find_cold_items(refused, SETTINGS, now=0)


@pytest.mark.parametrize("items", [100, 80_000])
def test_the_bounds_themselves_are_not_refused(items: int) -> None:
    sequences = [[(item, TODAY - 100 * DAY) for item in range(3)], [(0, TODAY)]]
    assert find_cold_items(training_data(took(sequences, 3 + items)), SETTINGS, now=0).sum() == items
