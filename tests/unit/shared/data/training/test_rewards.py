"""Rewards of an optimization objective: one column of numbers, and what it does to a distribution."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.data.training.rewards import EMPHASIS, MIN_SHARE, Rewards

NAN = float("nan")


def test_negative_numbers_are_raised_to_0_and_unknown_ones_are_the_mean() -> None:
    assert Rewards.from_numbers(np.array([2.0, 4.0, NAN]), "LOW").values.tolist() == [2, 4, 3]
    assert Rewards.from_numbers(np.array([-2.0, 4.0, NAN]), "LOW").values.tolist() == [0, 6, 3]
    assert Rewards.from_numbers(np.array([NAN, NAN]), "LOW").values.tolist() == [1, 1]


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20),
    st.integers(0, 2**32 - 1),
)
def test_the_expected_reward_rises_with_the_sensitivity(numbers: list[float], seed: int) -> None:
    p = np.random.default_rng(seed).dirichlet(np.ones(len(numbers)))
    expected = []
    for sensitivity in EMPHASIS:
        rewards = Rewards.from_numbers(np.array(numbers), sensitivity)
        weighed = rewards.scale_probabilities(p)
        assert weighed.sum() == pytest.approx(1.0)
        expected.append(float(weighed @ rewards.values))
    assert (np.diff(expected) >= -1e-5 * (1 + abs(expected[0]))).all()


def test_off_changes_nothing_and_a_constant_neither() -> None:
    p = np.array([0.2, 0.3, 0.5])
    np.testing.assert_allclose(Rewards.from_numbers(np.array([1.0, 5.0, 9.0]), "OFF").scale_probabilities(p), p)
    np.testing.assert_allclose(Rewards.from_numbers(np.array([7.0, 7.0, 7.0]), "HIGH").scale_probabilities(p), p)


def test_the_least_is_not_ruled_out() -> None:
    factors = np.exp(Rewards.from_numbers(np.array([0.0, 50.0, 100.0]), "MEDIUM").compute_log_factors())
    np.testing.assert_allclose(factors, [MIN_SHARE, (1 + MIN_SHARE) / 2, 1.0], rtol=1e-4)


def test_it_is_kept(tmp_path: Path) -> None:
    rewards = Rewards.from_numbers(np.array([1.0, 3.0]), "HIGH")
    rewards.save(tmp_path / "rewards")
    found = Rewards.open(tmp_path / "rewards")
    assert (found.values.tolist(), found.sensitivity) == ([1, 3], "HIGH")


def test_numbers_beyond_a_float_are_still_rewards() -> None:
    rewards = Rewards.from_numbers(np.array([1e300, -1e300, 1.0, NAN]), "HIGH")
    assert np.isfinite(rewards.values).all()
    factors = rewards.compute_log_factors()
    assert np.isfinite(factors).all()
    assert factors.argmax() == 0
    assert factors.argmin() == 1
