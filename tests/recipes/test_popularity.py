"""Popularity-Count: how many took an item, not how often. With it what all recipes that count do alike."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from shared.data.arrays.histories import Histories
from shared.recipes import RECIPES
from shared.recipes.artifact import Artifact
from shared.recipes.baskets import Baskets
from shared.recipes.distribution import COLUMNS, NEVER, find_best_items, hide_items, rank_weighted_first
from shared.recipes.popularity.scoring import Scorer
from shared.recipes.scoring_api import ArtifactError, Past, Query
from shared.recipes.training_api import TrainingProgress, TrainingStopped
from tests.recipes.runs import train
from tests.recipes.synthetic import histories_of, walks

POPULARITY = RECIPES["aws-popularity-count"]
COUNTING = [RECIPES[name] for name in ("aws-popularity-count", "aws-trending-now", "aws-sims")]


def fans() -> Histories:
    """One user takes ``loved`` a hundred times; everybody takes ``known`` once, and most of them ``liked``."""
    sequences = {f"u{user:02}": [("known", 10), ("liked", 20)] for user in range(40)}
    sequences["u00"] = [("loved", time) for time in range(100)]
    return histories_of(sequences, unseen=("unseen",))


def test_it_works(tmp_path: Path) -> None:
    trained, artifact = train(tmp_path, fans(), POPULARITY, retrain_on_all_users=True)
    scorer = Scorer.load(artifact)
    assert list(scorer.item_ids) == ["known", "liked", "loved", "unseen"]
    scores = scorer.scores(Query(now=0.0, user_id="u03", history=[Past("known", 10)], item_id="liked"))
    np.testing.assert_allclose(scores, np.array([39, 39, 1, 0]) / 79, rtol=1e-6)
    assert scores.dtype == np.float32
    assert len(trained.metrics) == 8
    assert trained.metrics["mean_reciprocal_rank_at_25"] >= 0.5
    assert trained.epochs == 2
    scores[:] = 0  # what is handed out is a copy
    assert scorer.scores(Query(now=0.0)).sum() == pytest.approx(1.0)
    assert scorer.history("u03") == [Past("known", 10), Past("liked", 20)]


def test_without_retraining_the_tested_users_are_not_counted(tmp_path: Path) -> None:
    _, artifact = train(tmp_path, walks(), POPULARITY)
    everybody = train(tmp_path, walks(), POPULARITY, retrain_on_all_users=True)[1]
    told, all_told = (Artifact.open(folder, (POPULARITY.name,)).popularity for folder in (artifact, everybody))
    assert np.abs(told - all_told).max() > 1e-4
    takers_I = Baskets.collect(walks(), np.arange(60)).takers
    np.testing.assert_allclose(all_told, takers_I / takers_I.sum(), rtol=1e-6)


def test_a_use_case_is_served_by_the_same_scorer(tmp_path: Path) -> None:
    _, artifact = train(tmp_path, fans(), RECIPES["aws-ecomm-popular-items-by-views"])
    assert Scorer.load(artifact).scores(Query(now=0.0)).argmax() == 0
    with pytest.raises(ArtifactError, match="holds a model of aws-ecomm-popular-items-by-views"):
        Artifact.open(artifact, ("aws-sims",))


@pytest.mark.parametrize("recipe", COUNTING, ids=lambda recipe: recipe.name)
@pytest.mark.parametrize("phase", ["training", "evaluating", "retraining", "writing"])
def test_recipes_that_count_stop_in_every_phase(tmp_path: Path, recipe: object, phase: str) -> None:
    said: list[str] = []

    def told(made: TrainingProgress) -> None:
        said.append(made.phase)

    begun = time.monotonic()
    with pytest.raises(TrainingStopped):
        train(
            tmp_path,
            walks(),
            recipe,  # type: ignore[arg-type]
            progress=told,
            should_stop=lambda: phase in said,
            retrain_on_all_users=True,
        )
    assert said[-1] == phase
    assert time.monotonic() - begun < 10
    assert not (tmp_path / "artifact0" / "model.json").exists()


def test_a_basket_holds_an_item_once_and_of_long_histories_the_newest() -> None:
    histories = histories_of({"a": [("x", 1), ("y", 2), ("x", 3), ("z", 4)], "b": [("y", 1)], "c": [("z", 9)]})
    baskets = Baskets.collect(histories, np.array([0, 2]))
    assert baskets.offsets.tolist() == [0, 3, 3, 4]
    assert baskets.items.tolist() == [0, 1, 2, 2]
    assert baskets.takers.tolist() == [1, 1, 2]
    assert Baskets.collect(histories, np.array([0, 2]), newest=2).items.tolist() == [0, 2, 2]


def test_what_has_a_weight_stands_before_all_that_is_only_popular() -> None:
    scores = rank_weighted_first(np.array([0.0, 0.2, 0.0, 1e-6]), np.array([0.9, 0.0, 0.1, 0.0]))
    assert np.argsort(-scores).tolist() == [1, 3, 0, 2]
    assert scores.sum() == pytest.approx(1.0)
    popular = np.array([0.25, 0.75])
    np.testing.assert_allclose(rank_weighted_first(np.zeros(2), popular), popular)
    np.testing.assert_allclose(rank_weighted_first(np.array([3.0, 1.0]), np.zeros(2)), [0.75, 0.25])


def test_an_item_that_is_never_shown_leaves_a_distribution_over_the_others() -> None:
    scores = hide_items(np.array([0.5, 0.3, 0.2], np.float32), 0)
    np.testing.assert_allclose(scores, [NEVER, 0.6, 0.4], rtol=1e-6)
    np.testing.assert_allclose(hide_items(np.array([1, 0, 0], np.float32), 0), [NEVER, 0.5, 0.5])


def test_of_equal_items_the_first_are_the_best() -> None:
    scores = np.array([0.1, 0.3, 0.3, 0.1, 0.1, 0.1], np.float32)
    assert find_best_items(scores, 4).tolist() == [1, 2, 0, 3]
    assert find_best_items(scores, 9).tolist() == [1, 2, 0, 3, 4, 5]
    assert find_best_items(scores, 9, least=0.2).tolist() == [1, 2]


@pytest.mark.parametrize("levels", [3, 10**6])
@pytest.mark.parametrize("count", [1, 25, 256, 257])
def test_the_best_of_a_large_catalogue_are_those_of_a_sort(levels: int, count: int) -> None:
    for items in (2 * COLUMNS - 1, 2 * COLUMNS, 9 * COLUMNS + 77):
        scores = np.random.default_rng(items).integers(0, levels, items).astype(np.float32)
        np.testing.assert_array_equal(find_best_items(scores, count), np.argsort(-scores, kind="stable")[:count])
