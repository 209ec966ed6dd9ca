"""``validate``: one trial of HPO or AutoML, and that the training with its parameters goes on from it."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from shared.data.arrays.histories import Histories
from shared.data.training.training_data import TrainingData
from shared.recipes import RECIPES
from shared.recipes.artifact import WEIGHTS
from shared.recipes.declaration import Recipe
from shared.recipes.evaluation import Split, recommend_related, split_for_trials
from shared.recipes.hrnn import trainer as hrnn
from shared.recipes.progress import ProgressReporter
from shared.recipes.ranking_metrics import compute_next_item_metrics
from shared.recipes.similar_items.fit import VectorFit
from shared.recipes.similar_items.trainer import VectorTrainer
from shared.recipes.similar_items.vector_search import ItemVectors
from shared.recipes.training_api import TrainingProgress, TrainingStopped, Validated
from tests.recipes.runs import make_context, settings, train
from tests.recipes.synthetic import walks

HRNN = RECIPES["aws-hrnn"]
POPULARITY, SIMS, SIMILAR = (RECIPES[f"aws-{name}"] for name in ("popularity-count", "sims", "similar-items"))
TRIED = [HRNN, POPULARITY, SIMS, SIMILAR]
GAIN = "normalized_discounted_cumulative_gain_at_25"
AWS_KEYS = {
    "coverage",
    "mean_reciprocal_rank_at_25",
    *(f"{name}_at_{k}" for name in ("normalized_discounted_cumulative_gain", "precision") for k in (5, 10, 25)),
}
SMALL = {
    HRNN: {"bptt": "8"},
    SIMS: {"max_item_interaction_count_percentile": "1.0", "min_cointeraction_count": "1"},
}

by_name = pytest.mark.parametrize("recipe", TRIED, ids=lambda recipe: recipe.name)


def followed(users: int = 120) -> Histories:
    """Every item is followed by the next one, mostly."""
    return walks(users=users, events=8, items=40)


def trial(
    folder: Path,
    recipe: Recipe,
    histories: Histories,
    **changes: Any,
) -> Validated:
    trainer = importlib.import_module(f"{recipe.module}.training")
    validated: Validated = trainer.validate(
        TrainingData(histories=histories),
        recipe,
        settings(recipe, **SMALL.get(recipe, {})),
        make_context(folder, **changes),
    )
    return validated


@by_name
@pytest.mark.parametrize("users", [120, 20], ids=["validated anyway", "too few to validate with"])
def test_a_trial_tells_what_its_best_epoch_comes_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: Recipe, users: int
) -> None:
    """Of a network that leans on nothing: what was counted comes to it after its last epoch."""
    monkeypatch.setattr(hrnn.HrnnTrainer, "_fit_blend", lambda *_: None)
    said: list[TrainingProgress] = []
    tried = trial(tmp_path, recipe, followed(users), progress=said.append)
    gains = [each.ndcg for each in said if each.ndcg is not None]
    assert len(gains) >= tried.epochs
    assert tried.metrics[GAIN] == pytest.approx(gains[tried.epochs - 1], abs=1e-6)
    assert tried.metrics.keys() == tried.errors.keys() == AWS_KEYS
    assert all(0 <= value <= 1 for value in tried.metrics.values())
    assert 0 < tried.errors[GAIN] < 0.2
    assert [each.epoch for each in said if each.ndcg is not None] == list(range(1, len(gains) + 1))


@pytest.mark.parametrize("users", [120, 20], ids=["validated anyway", "too few to validate with"])
def test_a_trial_of_a_network_tells_what_it_comes_to_with_what_was_counted(tmp_path: Path, users: int) -> None:
    """How far it leans on that makes what they take likelier, and the ranks hardly worse."""
    said: list[TrainingProgress] = []
    tried = trial(tmp_path, HRNN, followed(users), progress=said.append)
    alone = [each.ndcg for each in said if each.ndcg is not None][tried.epochs - 1]
    assert 0.97 * alone < tried.metrics[GAIN] <= 1
    assert tried.metrics[GAIN] != alone


def test_what_is_learnt_in_a_trial_shows(tmp_path: Path) -> None:
    """One item follows another, and none is popular."""
    gains = {recipe: trial(tmp_path, recipe, followed()).metrics[GAIN] for recipe in TRIED}
    assert gains[SIMS] > 1.5 * gains[POPULARITY]
    assert gains[SIMILAR] > 1.5 * gains[POPULARITY]
    assert gains[HRNN] > 0.4


@by_name
@pytest.mark.parametrize("phase", ["training", "evaluating"])
def test_a_trial_stops_in_every_phase(tmp_path: Path, recipe: Recipe, phase: str) -> None:
    said: list[str] = []
    with pytest.raises(TrainingStopped):
        trial(
            tmp_path,
            recipe,
            followed(),
            progress=lambda made: said.append(made.phase),
            should_stop=lambda: phase in said,
        )
    assert said[-1] == phase


def test_training_of_similar_items_goes_on_from_the_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, alone = train(tmp_path / "alone", followed(), SIMILAR)
    trial(tmp_path / "both", SIMILAR, followed())
    monkeypatch.delattr(VectorFit, "run_epoch")  # nothing is learnt again
    _, after = train(tmp_path / "both", followed(), SIMILAR)
    np.testing.assert_array_equal(*(load_file(folder / WEIGHTS)["vectors"] for folder in (alone, after)))


def test_training_does_not_go_on_from_a_trial_that_learnt_of_fewer(tmp_path: Path) -> None:
    train(tmp_path, followed(20), SIMILAR)
    trial(tmp_path, SIMILAR, followed(20))
    names = sorted(path.name for path in (tmp_path / "workspace").iterdir())
    assert names == [names[0], f"{names[0]}.trial"]


@pytest.mark.parametrize("discount", ["0.0", "0.7"])
def test_many_items_at_once_are_ranked_as_one_by_one(tmp_path: Path, discount: str) -> None:
    histories = followed()
    parameters: dict[str, Any] = settings(SIMILAR, popularity_discount_factor=discount)
    reporter = ProgressReporter.create_silent()
    learner = VectorTrainer(TrainingData(histories=histories), parameters, make_context(tmp_path), reporter, tmp_path)
    learner.fit(Split.draw(histories, 0))
    vectors = ItemVectors(learner.get_vectors().numpy(), float(discount))
    events_Q = histories.offsets[1:] - 1
    one_by_one = recommend_related(vectors.compute_scores, histories, events_Q, 25)
    np.testing.assert_array_equal(learner.find_similar(events_Q, 25, lambda: None), one_by_one)


@pytest.mark.parametrize("users", [120, 20], ids=["validated anyway", "too few to validate with"])
def test_a_trial_never_looks_at_the_test_users(users: int) -> None:
    histories = walks(users=users, events=8, items=20)
    whole = Split.draw(histories, 0)
    split, compared = split_for_trials(whole, histories)
    assert len(compared)
    assert not np.intersect1d(compared, np.union1d(split.train, split.test)).size
    assert (split is whole) == (users == 120)


def test_metrics_of_single_items_and_their_errors() -> None:
    """Two users with two queries each: ranks 1 and 26, 3 and 26."""
    found, errors = compute_next_item_metrics(np.array([1, 26, 3, 26]), np.array([0, 0, 1, 1]), shown=5, items=10)
    assert found["coverage"] == 0.5
    assert found[GAIN] == pytest.approx((1 + 0.5) / 4)
    assert found["mean_reciprocal_rank_at_25"] == pytest.approx((1 + 1 / 3) / 4)
    assert found["precision_at_5"] == pytest.approx(2 / 4 / 5)
    # The users' sums differ from what they would be on average by +0.25 and -0.25.
    assert errors[GAIN] == pytest.approx(np.sqrt(0.25**2 + 0.25**2) / 4)
