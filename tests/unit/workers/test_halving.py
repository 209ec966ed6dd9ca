"""Which trials and which recipes go on: successive halving, by hand-made curves."""

from __future__ import annotations

import random

import pytest

from workers.tuning.halving import FIRST_RUNG, Curve, find_simplest, is_promising, select_survivors


def curve(*gains: float) -> Curve:
    return [(epoch, gain, epoch * 1.0) for epoch, gain in enumerate(gains, start=1)]


def rising(gain: float, epochs: int) -> Curve:
    return curve(*(gain * epoch / 64 for epoch in range(1, epochs + 1)))


# Trials


@pytest.mark.parametrize("epochs", range(FIRST_RUNG))
def test_nobody_is_compared_before_the_first_rung(epochs: int) -> None:
    assert is_promising(rising(0.0, epochs), [rising(1.0, 64)] * 9)


@pytest.mark.parametrize("epochs", [2, 3, 4, 8, 15, 64])
def test_who_comes_first_to_a_rung_goes_on(epochs: int) -> None:
    assert is_promising(rising(0.01, epochs), [rising(1.0, epochs // 2)] * 9)


@pytest.mark.parametrize("epochs", [2, 4, 8, 16])
@pytest.mark.parametrize("seed", range(20))
def test_the_best_at_a_rung_is_never_ended_and_the_worst_half_is(epochs: int, seed: int) -> None:
    chance = random.Random(seed)
    gains = sorted(chance.sample(range(1, 1000), chance.randint(1, 12)), reverse=True)
    curves = [rising(gain / 1000, epochs + chance.randint(0, epochs - 1)) for gain in gains]
    going_on = [is_promising(mine[:epochs], [other for other in curves if other is not mine]) for mine in curves]
    half = (len(curves) + 1) // 2
    assert going_on == [True] * half + [False] * (len(curves) - half)


def test_between_rungs_the_last_rung_counts() -> None:
    best = curve(0.1, 0.3, 0.3, 0.3)
    assert not is_promising(curve(0.1, 0.2, 0.9), [best])
    assert is_promising(curve(0.1, 0.2, 0.9, 0.9), [best])


def test_the_best_up_to_a_rung_counts_not_the_last() -> None:
    assert is_promising(curve(0.4, 0.1), [curve(0.2, 0.3)])


def test_like_goes_on_with_like() -> None:
    assert is_promising(curve(0.2, 0.2), [curve(0.2, 0.2)] * 5)


# Recipes

BEST = {"a": 0.1, "b": 0.4, "c": 0.3, "d": 0.2}


def rounds(jobs: int) -> list[int]:
    """How many recipes go on, trial by trial, each given to the one that was tried least."""
    begun = dict.fromkeys(BEST, 1)
    left = []
    while sum(begun.values()) < jobs:
        going_on = select_survivors(BEST, begun, jobs)
        assert going_on == sorted(BEST, key=lambda recipe: -BEST[recipe])[: len(going_on)]
        left.append(len(going_on))
        begun[min(going_on, key=lambda recipe: begun[recipe])] += 1
    return left


def test_each_round_of_trials_halves_the_recipes_and_has_as_many_trials() -> None:
    assert rounds(20) == [2] * 8 + [1] * 8
    assert rounds(12) == [2] * 4 + [1] * 4


def test_few_jobs_are_still_given_to_the_best() -> None:
    assert rounds(5) == [2]
    assert rounds(4) == []
    assert select_survivors(BEST, dict.fromkeys(BEST, 1), 1) == ["b", "c"]


def test_one_recipe_has_all_trials_and_none_has_none() -> None:
    for begun in (1, 2, 19):
        assert select_survivors({"a": 0.1}, {"a": begun}, 20) == ["a"]
    assert select_survivors({}, {"a": 1}, 20) == []


@pytest.mark.parametrize("count", range(1, 9))
def test_the_best_recipe_always_goes_on_to_the_end(count: int) -> None:
    best = {str(n): n / 10 for n in range(count)}
    begun = dict.fromkeys(best, 1)
    for _ in range(40):
        going_on = select_survivors(best, begun, 20)
        assert going_on[0] == str(count - 1)
        begun[going_on[0]] += 1
    assert len(going_on) == 1


# The winner


@pytest.mark.parametrize(
    ("results", "chosen"),
    [
        ([("popularity", 0.095, 0.001), ("hrnn", 0.1, 0.01)], "popularity"),
        ([("popularity", 0.09, 0.05), ("hrnn", 0.1, 0.001)], "hrnn"),
        ([("popularity", 0.02, 0.01), ("hrnn", 0.1, 0.01), ("metadata", 0.105, 0.01)], "hrnn"),
        ([("hrnn", 0.1, 0.0), ("metadata", 0.1, 0.0)], "hrnn"),
        ([("hrnn", -0.2, 0.01), ("metadata", -0.1, 0.01)], "metadata"),
        ([("hrnn", 0.0, 0.0)], "hrnn"),
    ],
)
def test_the_simplest_within_one_standard_error_of_the_best_wins(
    results: list[tuple[str, float, float]], chosen: str
) -> None:
    assert find_simplest(results) == chosen
