"""Histories before and after a training in mode UPDATE, and a trainer that continues."""

from __future__ import annotations

import numpy as np

from shared.data.training.training_data import TrainingData
from shared.recipes import RECIPES
from shared.recipes.hrnn.trainer import HrnnTrainer
from shared.recipes.hrnn.warm_start import WarmStart
from tests.recipes.runs import make_task, settings

RECIPE = RECIPES["aws-user-personalization"]
OLD_ITEMS, ITEMS = 30, 40
THEN, NOW = 1_000_000, 2_000_000
Sequences = dict[str, list[tuple[str, int]]]


def make_walk(rng: np.random.Generator, first: int, items: int, at: int, length: int = 10) -> list[tuple[str, int]]:
    """From one item to the next, of so many in a circle."""
    return [(f"i{(first + step) % items:02}", at + 60 * step + int(rng.integers(60))) for step in range(length)]


def make_old_sequences() -> Sequences:
    """80 users go from one of 30 items to the next."""
    rng = np.random.default_rng(0)
    return {f"u{user:03}": make_walk(rng, int(rng.integers(OLD_ITEMS)), OLD_ITEMS, THEN) for user in range(80)}


def make_new_sequences() -> Sequences:
    """Then 30 of these, and 10 who are new, do the same with ten more items."""
    rng = np.random.default_rng(1)
    sequences = make_old_sequences()
    for user in [*range(30), *range(80, 90)]:
        first = int(rng.integers(OLD_ITEMS - 8, OLD_ITEMS + 2))
        sequences.setdefault(f"u{user:03}", []).extend(make_walk(rng, first, ITEMS, NOW))
    return sequences


def make_update_trainer(data: TrainingData, base: WarmStart) -> HrnnTrainer:
    new_E = base.find_new_events(data.histories)
    return HrnnTrainer(make_task(data, RECIPE, settings(RECIPE)), int(new_E.sum()) or 1, base, new_E)
