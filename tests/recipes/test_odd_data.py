"""Data that is legal and strange: every recipe trains on it, measures numbers, and answers as the runtime wants it."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.data.training.training_data import TrainingData
from shared.recipes import RECIPES
from shared.recipes.scoring_api import Past, Query
from shared.recipes.similar_items import trainer as similar_items
from tests.recipes.runs import make_context, planned, settings, train
from tests.recipes.synthetic import histories_of, training_data

NOW = 2_000_000.0


def typed(data: TrainingData) -> TrainingData:
    """All events are of one type, that of actions taken."""
    events = np.zeros(len(data.histories.items), np.int16)
    return replace(data, histories=replace(data.histories, event_types=events, event_type_names=["taken"]))


def one_item() -> TrainingData:
    return typed(training_data(histories_of({f"u{n}": [("a", 1_000_000 + t) for t in range(4)] for n in range(12)})))


def one_item_taken() -> TrainingData:
    """Of three, described by a column that says the same of all."""
    histories = histories_of({f"u{n}": [("b", 1_000_000 + t) for t in range(4)] for n in range(12)}, unseen=("a", "c"))
    return typed(training_data(histories, items=[{"GENRE": "x"}] * 3))


def one_moment() -> TrainingData:
    """Everything happened in one second."""
    histories = histories_of({f"u{n}": [(item, 1_000_000) for item in "abcd"[n % 3 :]] for n in range(12)})
    return typed(training_data(histories))


def hardly_described() -> TrainingData:
    """No item, user or event has a value in a column that others, excluded since, had one in."""
    histories = histories_of({f"u{n}": [(item, 1_000_000 + n) for item in "abcd"[n % 3 :]] for n in range(12)})
    described = training_data(
        histories,
        items=[{"GENRE": "x"}, *[{}] * 3],
        users=[{"PLAN": "x"}, *[{}] * 11],
        contexts=[{"DEVICE": "x"}, *[{}] * (len(histories.items) - 1)],
    )
    return typed(described)


@pytest.mark.parametrize("odd", [one_item, one_item_taken, one_moment, hardly_described])
@pytest.mark.parametrize(
    "name",
    [
        "aws-hrnn",
        "aws-user-personalization",
        "aws-similar-items",
        "aws-sims",
        "aws-popularity-count",
        "aws-trending-now",
        "aws-next-best-action",
        "aws-item-affinity",
    ],
)
def test_it_trains_and_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, odd: Callable[[], TrainingData]
) -> None:
    planned(monkeypatch, epochs=1)
    monkeypatch.setattr(similar_items, "WITHOUT_VALIDATION", 2)
    recipe, data = RECIPES[name], odd()
    losses: list[float | None] = []
    trained, artifact = train(tmp_path, data, recipe, progress=lambda said: losses.append(said.loss))
    views = [view for view in trained.report.values() if view is not None]
    assert ("raw" in trained.report) == (name not in ("aws-next-best-action", "aws-item-affinity"))
    told = [figure for view in views for by, of in view.items() if by != "users" for figure in of.values()]
    assert all(math.isfinite(figure) for figure in (*trained.metrics.values(), *trained.baseline.values(), *told))
    assert all(loss is None or math.isfinite(loss) for loss in losses)
    scoring: Any = importlib.import_module(f"{recipe.module}.scoring")
    scorer = scoring.Scorer.load(artifact)
    for item_id in (None, *data.histories.item_ids):
        history = [Past(item_id, NOW - 60, "taken")] if item_id else []
        scores = scorer.scores(Query(now=NOW, history=history, item_id=item_id))
        assert np.isfinite(scores).all()
        shown = scores[scores >= 0]
        assert shown.sum() == pytest.approx(1.0 if len(shown) else 0.0, abs=1e-4)


def taken_once() -> TrainingData:
    """Few have an event that could be foretold from others: by seed 0 none of the validation users."""
    sequences = {f"u{n:03}": [("abc"[n % 3], 1_000_000)] for n in range(120)}
    return typed(training_data(histories_of(sequences | {f"v{n}": [("a", 1), ("b", 2)] for n in range(18)})))


@pytest.mark.parametrize("odd", [one_item, one_item_taken, one_moment, hardly_described, taken_once])
@pytest.mark.parametrize("name", ["aws-hrnn", "aws-similar-items", "aws-sims", "aws-popularity-count"])
def test_a_trial_tells_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, odd: Callable[[], TrainingData]
) -> None:
    planned(monkeypatch, epochs=1)
    monkeypatch.setattr(similar_items, "EPOCHS", 2)
    monkeypatch.setattr(similar_items, "WITHOUT_VALIDATION", 2)
    recipe = RECIPES[name]
    trainer: Any = importlib.import_module(f"{recipe.module}.training")
    tried = trainer.validate(
        odd(),
        recipe,
        settings(recipe),
        make_context(tmp_path),
    )
    assert all(0 <= value <= 1 for value in tried.metrics.values())
    assert all(math.isfinite(error) for error in tried.errors.values())
