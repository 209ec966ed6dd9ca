"""Exploration: what new items gain, by weight, age and interactions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shared.recipes.scoring_api import Exploration
from shared.recipes.user_personalization.exploration import MOST, NOISE, ItemNovelty
from tests.recipes.synthetic import histories_of, training_data

DAY = 86_400
TODAY = 1000 * DAY
P = np.array([0.5, 0.3, 0.1, 0.06, 0.04], np.float32)


def explored(novelty: ItemNovelty, weight: float, days: float = 30.0, seed: int = 0) -> np.ndarray:
    return novelty.explore_scores(P, Exploration(weight=weight, age_cut_off_days=days), np.random.default_rng(seed))


def of_ages(*ages: float, counts: tuple[int, ...] = (0, 0, 0, 0, 0)) -> ItemNovelty:
    return ItemNovelty(np.array(ages, np.float32), np.array(counts, np.int32))


def test_new_items_rise_with_the_weight() -> None:
    novelty = of_ages(300, 300, 300, 300, 1)
    shares = [float(explored(novelty, weight)[4]) for weight in (0.0, 0.1, 0.3, 0.6, 1.0)]
    assert shares == sorted(shares)
    assert shares[0] == P[4]
    assert shares[-1] > 0.5 > shares[1]


def test_weight_0_is_the_models_own_distribution() -> None:
    assert explored(of_ages(0, 0, 0, 0, 0), 0.0) is P


def test_it_remains_a_distribution_and_the_old_keep_their_order() -> None:
    found = explored(of_ages(300, 1, 300, 1, 300), 0.5)
    assert found.dtype == np.float32
    assert found.sum() == pytest.approx(1.0, abs=1e-6)
    np.testing.assert_allclose(found[[2, 4]] / found[0], P[[2, 4]] / P[0], rtol=1e-5)
    assert P.sum() == pytest.approx(1.0)  # what was given is as it was


@pytest.mark.parametrize(("days", "new"), [(0.5, []), (1.0, [3]), (29.9, [3]), (30.0, [3, 4]), (299, [0, 1, 3, 4])])
def test_the_cut_off_tells_what_is_new(days: float, new: list[int]) -> None:
    odds = explored(of_ages(100, 200, 300, 1, 30), 0.5, days) / P
    assert np.flatnonzero(odds > 1.01 * odds.min()).tolist() == new


def test_the_bonus_falls_with_the_interactions() -> None:
    counts = (0, 1, 10, 100, 10_000)
    odds = np.mean([np.log(explored(of_ages(*[1] * 5, counts=counts), 1.0, seed=n) / P) for n in range(400)], axis=0)
    expected = MOST / np.sqrt(1 + np.array(counts))
    np.testing.assert_allclose(odds - odds[0], expected - expected[0], atol=0.1)


def test_two_answers_differ_by_a_small_noise_alone() -> None:
    novelty = of_ages(300, 300, 300, 1, 1)
    one, other = (explored(novelty, 0.3, seed=seed) for seed in (1, 2))
    assert not np.array_equal(one, other)
    np.testing.assert_array_equal(one, explored(novelty, 0.3, seed=1))
    assert np.abs(np.log(one / other)).max() < 0.3 * NOISE * 8


def test_what_nobody_has_taken_is_explored_among_the_popular_too() -> None:
    """Strangers are shown shares of all interactions; new items have none."""
    popular = np.array([0.6, 0.3, 0.1, 0.0, 0.0], np.float32)
    novelty = of_ages(300, 300, 300, 1, 300)
    found = novelty.explore_scores(popular, Exploration(weight=1.0, age_cut_off_days=30), np.random.default_rng(0))
    assert found[3] > found[0]
    assert found[4] == 0


def test_ages_go_from_creation_or_the_first_interaction_to_the_newest_of_all() -> None:
    """Item a was created after its first interaction, b's creation is unknown, c has neither, d was created only, and e
    after the newest interaction."""
    sequences = {
        "u": [("a", TODAY - 50 * DAY), ("b", TODAY - 20 * DAY), ("a", TODAY)],
        "v": [("b", TODAY - 10 * DAY)],
    }
    created = [TODAY - 5 * DAY, -1, -1, TODAY - 100 * DAY, TODAY + DAY]
    histories = histories_of(sequences, unseen=("c", "d", "e"))
    novelty = ItemNovelty.from_data(training_data(histories, item_created=created))
    assert novelty.days.tolist() == [5, 20, 0, 100, 0]
    assert novelty.counts.tolist() == [2, 2, 0, 0, 0]
    assert ItemNovelty.from_data(training_data(histories)).days.tolist() == [50, 20, 0, 0, 0]


def test_what_was_shown_and_not_taken_is_known_a_little_better() -> None:
    histories = histories_of({"u": [("a", TODAY), ("b", TODAY)]}, unseen=("c",))
    data = replace(training_data(histories), item_impressions=np.array([3, 0, 2]))
    assert ItemNovelty.from_data(data).counts.tolist() == [4, 1, 2]
