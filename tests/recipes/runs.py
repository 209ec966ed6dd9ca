"""Trainings of made-up data by training.train, into folders of a test."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import torch
from safetensors.torch import load_file

from shared.data.arrays.histories import Histories
from shared.data.training.training_data import TrainingData
from shared.recipes import RECIPES
from shared.recipes.artifact import WEIGHTS
from shared.recipes.declaration import Recipe
from shared.recipes.evaluation import Split
from shared.recipes.hrnn.counters import COUNTERS
from shared.recipes.hrnn.plan import TrainingPlan
from shared.recipes.hrnn.trainer import HrnnTrainer, TrainingTask
from shared.recipes.progress import ProgressReporter
from shared.recipes.training_api import Trained, TrainingContext, TrainingOptions, TrainingProgress
from tests.recipes.networks import took
from tests.recipes.synthetic import training_data

NDCG = "normalized_discounted_cumulative_gain_at_25"
MRR = "mean_reciprocal_rank_at_25"

HRNN = RECIPES["aws-hrnn"]
SMALL = {"hidden_dimension": "32"}


NOWHERE = Path("/dev/null")


def never() -> bool:
    return False


def make_context(
    folder: Path = NOWHERE,
    *,
    artifact: Path = NOWHERE,
    should_stop: Callable[[], bool] = never,
    progress: Callable[[TrainingProgress], None] = lambda _: None,
    seed: int = 0,
    base: Path | None = None,
    **options: Any,
) -> TrainingContext:
    """A context with its workspace in ``folder``, and with one thread unless ``options`` say otherwise."""
    return TrainingContext(
        workspace=folder / "workspace",
        artifact=artifact,
        report_progress=progress,
        should_stop=should_stop,
        options=TrainingOptions(**{"threads": 1, **options}),
        seed=seed,
        base=base,
    )


def make_task(
    data: TrainingData, recipe: Recipe, parameters: Mapping[str, str], context: TrainingContext | None = None
) -> TrainingTask:
    """A task of the HRNN that reports to no worker and has no checkpoints."""
    silent = ProgressReporter.create_silent()
    return TrainingTask(data, recipe, parameters, context or make_context(), silent, NOWHERE)


def settings(recipe: Recipe = HRNN, **parameters: str) -> dict[str, str]:
    known = {one.name for one in recipe.hyperparameters}
    small = {name: value for name, value in SMALL.items() if name in known}
    return recipe.resolve_parameters({"algorithmHyperParameters": small | parameters})


def train(
    folder: Path,
    data: Histories | TrainingData,
    recipe: Recipe = HRNN,
    *,
    parameters: dict[str, str] | None = None,
    **changes: Any,
) -> tuple[Trained, Path]:
    """Trains in folder/workspace into a new folder/artifact..., and returns that too. On one thread, and without
    retraining on all users unless asked for; ``changes`` are arguments of ``context``."""
    artifact = folder / f"artifact{len(list(folder.glob('artifact*')))}"
    artifact.mkdir(parents=True)
    trainer = importlib.import_module(f"{recipe.module}.training")
    trained: Trained = trainer.train(
        data if isinstance(data, TrainingData) else training_data(data),
        recipe,
        settings(recipe, **(parameters or {})),
        make_context(folder, artifact=artifact, **{"retrain_on_all_users": False, **changes}),
    )
    return trained, artifact


def planned(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """Where the course of a run matters more than its quality, as with few epochs."""
    of = TrainingPlan.from_data

    def changed(parameters: dict[str, str], events: int, items: int) -> TrainingPlan:
        return dataclasses.replace(of(parameters, events, items), **changes)

    monkeypatch.setattr(TrainingPlan, "from_data", changed)


def make_noise(users: int = 160, length: int = 8, items: int = 40) -> Histories:
    """Some items are popular, and nothing else can be learnt but by heart; enough users that some validate."""
    rng = np.random.default_rng(0)
    popularity = 1 / np.arange(1, items + 1)
    drawn = rng.choice(items, (users, length), p=popularity / popularity.sum())
    return took([[(int(item), 10 * t) for t, item in enumerate(of_user)] for of_user in drawn], items)


def load_weights(artifact: Path) -> dict[str, torch.Tensor]:
    return load_file(artifact / WEIGHTS)


def read_form(artifact: Path) -> dict[str, Any]:
    described: dict[str, Any] = orjson.loads((artifact / "model.json").read_bytes())["form"]
    return described


def assert_same_model(one: Path, other: Path) -> None:
    """Bit by bit: the weights, what was counted, and the weights of the blend."""
    expected = load_weights(other)
    assert load_weights(one).keys() == expected.keys()
    for name, tensor in load_weights(one).items():
        assert torch.equal(tensor, expected[name]), name
    assert read_form(one) == read_form(other)
    counted, as_counted = (
        {path.name: path.read_bytes() for path in (each / COUNTERS).glob("*")} for each in (one, other)
    )
    assert counted == as_counted
    assert bool(counted) == bool(read_form(one)["leaning"])


def stop_after(calls: int) -> Callable[[], bool]:
    asked = iter(range(10**9))
    return lambda: next(asked) >= calls


@dataclasses.dataclass
class StepCount:
    """How often a run asks whether to stop, and how many steps it takes."""

    calls: int = 0
    steps: int = 0

    def should_stop(self) -> bool:
        self.calls += 1
        return False


def make_trainer(histories: Histories, **options: Any) -> tuple[HrnnTrainer, Split]:
    split = Split.draw(histories, 0)
    events = int(histories.lengths[split.train].sum())
    return HrnnTrainer(make_task(training_data(histories), HRNN, settings(), make_context(**options)), events), split
