"""Trainings of made-up data by training.train, into folders of a test."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.data.arrays.histories import Histories
from shared.data.training.training_data import TrainingData
from shared.recipes import RECIPES
from shared.recipes.declaration import Recipe
from shared.recipes.hrnn.plan import Plan
from shared.recipes.training_api import Options, Progress, Trained
from tests.recipes.synthetic import training_data

NDCG = "normalized_discounted_cumulative_gain_at_25"
MRR = "mean_reciprocal_rank_at_25"

HRNN = RECIPES["aws-hrnn"]
SMALL = {"hidden_dimension": "32"}


def never() -> bool:
    return False


def settings(recipe: Recipe = HRNN, **parameters: str) -> dict[str, str]:
    known = {one.name for one in recipe.hyperparameters}
    small = {name: value for name, value in SMALL.items() if name in known}
    return recipe.settings({"algorithmHyperParameters": small | parameters})


def train(
    folder: Path,
    data: Histories | TrainingData,
    recipe: Recipe = HRNN,
    *,
    should_stop: Callable[[], bool] = never,
    progress: Callable[[Progress], None] = lambda _: None,
    seed: int = 0,
    parameters: dict[str, str] | None = None,
    base: Path | None = None,
    **options: Any,
) -> tuple[Trained, Path]:
    """Trains in folder/workspace into a new folder/artifact..., and returns that too. On one thread, and without
    retraining on all users unless asked for."""
    artifact = folder / f"artifact{len(list(folder.glob('artifact*')))}"
    artifact.mkdir(parents=True)
    trainer = importlib.import_module(f"{recipe.module}.training")
    trained: Trained = trainer.train(
        data if isinstance(data, TrainingData) else training_data(data),
        recipe,
        settings(recipe, **(parameters or {})),
        workspace=folder / "workspace",
        artifact=artifact,
        progress=progress,
        should_stop=should_stop,
        options=Options(**{"threads": 1, "retrain_on_all_users": False, **options}),
        seed=seed,
        **({} if base is None else {"base": base}),
    )
    return trained, artifact


def planned(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """Where the course of a run matters more than its quality, as with few epochs."""
    of = Plan.of

    def changed(parameters: dict[str, str], events: int, items: int) -> Plan:
        return dataclasses.replace(of(parameters, events, items), **changes)

    monkeypatch.setattr(Plan, "of", changed)
