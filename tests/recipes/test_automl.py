"""Whom AutoML chooses: popularity where there is nothing else to learn, the HRNN where there is."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

from shared.data.arrays.histories import Histories
from shared.data.training.training_data import TrainingData
from shared.recipes import RECIPES
from shared.recipes.declaration import Recipe
from shared.recipes.training_api import Validated
from shared.resources.solution.tuning import DEFAULT_METRIC
from tests.recipes.runs import make_context, settings
from tests.recipes.synthetic import histories_of, walks
from workers.tuning.halving import find_simplest


def drawn(seed: int, users: int = 150, events: int = 20, items: int = 40) -> Histories:
    """Everybody takes what is popular, whatever they took before."""
    rng = np.random.default_rng(seed)
    popularity = 1 / np.arange(1, items + 1)
    sequences = {}
    for user in range(users):
        taken = rng.choice(items, size=events, p=popularity / popularity.sum())
        times = 1_000_000 + np.cumsum(rng.integers(1, 4000, events))
        sequences[f"u{user:03}"] = [
            (f"i{item:02}", time) for item, time in zip(taken.tolist(), times.tolist(), strict=True)
        ]
    return histories_of(sequences)


def trial(folder: Path, recipe: Recipe, histories: Histories) -> Validated:
    validated: Validated = importlib.import_module(f"{recipe.module}.training").validate(
        TrainingData(histories=histories),
        recipe,
        settings(recipe, **({"bptt": "8"} if recipe.hyperparameters else {})),
        make_context(folder),
    )
    return validated


@pytest.mark.parametrize(
    ("histories", "expected"),
    [
        *[pytest.param(drawn(seed), "aws-popularity-count", id=f"nothing but popularity, {seed}") for seed in range(3)],
        pytest.param(walks(users=150, events=20, items=40), "aws-hrnn", id="one item after the other"),
    ],
)
def test_the_simplest_recipe_that_is_as_good(tmp_path: Path, histories: Histories, expected: str) -> None:
    results = []
    for name in ("aws-popularity-count", "aws-hrnn"):
        tried = trial(tmp_path, RECIPES[name], histories)
        results.append((name, tried.metrics[DEFAULT_METRIC], tried.errors[DEFAULT_METRIC]))
    assert find_simplest(results) == expected, results
