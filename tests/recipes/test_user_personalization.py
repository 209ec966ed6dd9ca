"""User-Personalization and Personalized-Ranking: their declarations, and the HRNN's network behind them."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from shared.data.training.rewards import EMPHASIS, SENSITIVITIES, Rewards
from shared.recipes import RECIPES
from shared.recipes.artifact import WEIGHTS
from shared.recipes.declaration import Recipe
from shared.recipes.hrnn import training
from shared.recipes.scoring_api import ArtifactError, Exploration, Past, Query, Scorer
from tests.recipes.networks import took
from tests.recipes.runs import planned, train
from tests.recipes.synthetic import training_data, walks

FIRST = ("aws-user-personalization", "aws-personalized-ranking")
SECOND = ("aws-user-personalization-v2", "aws-personalized-ranking-v2")
USE_CASES = ("aws-vod-top-picks", "aws-ecomm-recommended-for-you")
ALL = (*FIRST, *SECOND, *USE_CASES)

DAY = 86_400
TODAY = 1_700_000_000


def loaded(recipe: Recipe, artifact: Path) -> Any:
    scorer: type[Scorer] = importlib.import_module(f"{recipe.module}.scoring").Scorer
    return scorer.load(artifact)


# Declarations


@pytest.mark.parametrize("name", FIRST)
def test_the_first_versions_let_the_network_be_set(name: str) -> None:
    recipe = RECIPES[name]
    assert recipe.resolve_parameters(None) == {
        "hidden_dimension": "149",
        "bptt": "32",
        "recency_mask": "true",
        "min_user_history_length_percentile": "0.0",
        "max_user_history_length_percentile": "0.99",
    }
    assert recipe.default_ranges == RECIPES["aws-hrnn"].default_ranges
    assert (recipe.training.takes_objective, recipe.training.takes_events_config) == (True, False)


@pytest.mark.parametrize("name", SECOND)
def test_the_second_versions_let_the_recency_be_set(name: str) -> None:
    recipe = RECIPES[name]
    assert recipe.resolve_parameters(None) == {"apply_recency_bias": "true"}
    assert not recipe.hyperparameters[0].tunable
    assert (recipe.training.takes_objective, recipe.training.takes_events_config, recipe.serving.explores) == (
        False,
        True,
        False,
    )


def test_what_they_are_to_requests() -> None:
    def told(name: str) -> tuple[Any, ...]:
        recipe = RECIPES[name]
        return (
            recipe.recipe_type,
            recipe.domain,
            recipe.serving.hidden_event_type,
            recipe.serving.explores,
            recipe.serving.shows_scores,
        )

    assert {name: told(name) for name in ALL} == {
        "aws-user-personalization": ("USER_PERSONALIZATION", None, None, True, True),
        "aws-user-personalization-v2": ("USER_PERSONALIZATION", None, None, False, True),
        "aws-personalized-ranking": ("PERSONALIZED_RANKING", None, None, False, True),
        "aws-personalized-ranking-v2": ("PERSONALIZED_RANKING", None, None, False, True),
        "aws-vod-top-picks": ("USER_PERSONALIZATION", "VIDEO_ON_DEMAND", "Watch", True, False),
        "aws-ecomm-recommended-for-you": ("USER_PERSONALIZATION", "ECOMMERCE", "Purchase", True, False),
    }
    assert all(RECIPES[name].training.uses_metadata and RECIPES[name].serving.reads_live_events for name in ALL)
    assert [name for name in ALL if not RECIPES[name].training.cold_items] == ["aws-personalized-ranking"]


# Training and serving


@pytest.mark.parametrize("name", ALL)
def test_they_train_and_serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    planned(monkeypatch, epochs=2, hidden=32, streams=16, bptt=8)
    recipe = RECIPES[name]
    _, artifact = train(tmp_path, walks(users=40, events=8), recipe)
    assert orjson.loads((artifact / "model.json").read_bytes())["recipe"] == name
    scorer = loaded(recipe, artifact)
    scores = scorer.scores(Query(now=200.0, user_id="u000", history=[Past("i03", 100.0)]))
    assert scores.shape == (50,)
    assert scores.sum() == pytest.approx(1.0, abs=1e-5)
    with pytest.raises(ArtifactError, match=f"a model of {name}"):
        loaded(RECIPES["aws-hrnn"] if "user" in recipe.module else RECIPES["aws-user-personalization"], artifact)


@pytest.mark.parametrize("name", [FIRST[0], SECOND[0]])
def test_the_switch_of_recency_acts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The popularity that strangers are shown is weighed as the losses are."""
    planned(monkeypatch, epochs=1, hidden=32)
    recipe = RECIPES[name]
    [switch] = [one.name for one in recipe.hyperparameters if one.name in ("recency_mask", "apply_recency_bias")]
    rng = np.random.default_rng(0)
    days = np.sort(rng.integers(0, 400, 200))
    data = took([[(int(day > 200), int(day) * DAY), (2, int(day) * DAY + 60)] for day in days], 3)
    shares = {}
    for value in ("true", "false"):
        _, artifact = train(tmp_path / value, data, recipe, parameters={switch: value})
        strangers = loaded(recipe, artifact).scores(
            Query(now=0.0, exploration=Exploration(weight=0, age_cut_off_days=1))
        )
        shares[value] = strangers[1] / strangers[0]
    assert shares["true"] > 1.2 * shares["false"]


# Exploration


@pytest.fixture(scope="module")
def with_new_items(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Artifacts of both versions: 30 items have been taken for long, mostly each after the one before, 10 new ones by
    nobody, and nothing is known of any but when they were made: 5 of the new ones yesterday, 5 some 60 days ago."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        planned(monkeypatch, epochs=6, hidden=32)
        rng = np.random.default_rng(0)
        sequences = [
            [(int(item), TODAY - (12 - step) * 30 * DAY) for step, item in enumerate(walk)]
            for walk in np.where(
                rng.random((60, 12)) < 0.7,
                (rng.integers(30, size=(60, 1)) + np.arange(12)) % 30,
                rng.integers(30, size=(60, 12)),
            )
        ]
        created = [TODAY - 900 * DAY] * 30 + [TODAY - 31 * DAY] * 5 + [TODAY - 90 * DAY] * 5
        data = training_data(took(sequences, 40), item_created=created)
        folder = tmp_path_factory.mktemp("exploring")
        return {name: train(folder / name, data, RECIPES[name])[1] for name in (FIRST[0], SECOND[0])}


def asked(exploration: Exploration | None) -> Query:
    return Query(now=TODAY + 60.0, history=[Past("i0003", TODAY + 1.0)], exploration=exploration)


def test_new_items_are_shown_the_more_the_weight_and_the_cut_off_say(with_new_items: dict[str, Path]) -> None:
    scorer = loaded(RECIPES[FIRST[0]], with_new_items[FIRST[0]])
    scorer.rng = np.random.default_rng(0)
    own = scorer.scores(asked(None))
    np.testing.assert_array_equal(scorer.scores(asked(Exploration(weight=0.0, age_cut_off_days=30))), own)
    assert 0 < own[30:].sum() < 0.5
    shares = {
        (weight, days): scorer.scores(asked(Exploration(weight=weight, age_cut_off_days=days)))
        for weight in (0.3, 1.0)
        for days in (30, 90)
    }
    new, older = slice(30, 35), slice(35, 40)
    assert own[new].sum() < shares[0.3, 30][new].sum() < shares[1.0, 30][new].sum()
    assert shares[1.0, 30][older].sum() < own[older].sum() < shares[1.0, 90][older].sum()
    # Before all but what this user wants by far the most.
    wanted = int(own.argmax())
    assert own[wanted] > 2 * np.delete(own, wanted).max()
    assert set(np.argsort(-shares[1.0, 30])[:6]) == {*range(30, 35), wanted}
    assert shares[1.0, 30][new].sum() > 0.5


def test_two_answers_of_one_scorer_differ_while_it_explores(with_new_items: dict[str, Path]) -> None:
    scorer = loaded(RECIPES[FIRST[0]], with_new_items[FIRST[0]])
    query = asked(Exploration(weight=0.5, age_cut_off_days=30))
    assert not np.array_equal(scorer.scores(query), scorer.scores(query))
    np.testing.assert_array_equal(scorer.scores(asked(None)), scorer.scores(asked(None)))


@pytest.mark.parametrize("name", [FIRST[0], SECOND[0]])
def test_a_seed_decides_what_is_explored(with_new_items: dict[str, Path], name: str) -> None:
    first, second = (loaded(RECIPES[name], with_new_items[name]) for _ in range(2))
    query = replace(asked(Exploration(weight=0.5, age_cut_off_days=30)), seed=5)
    scores = first.scores(query)
    first.scores(replace(query, seed=None))
    for scorer in (first, second):
        np.testing.assert_array_equal(scorer.scores(query), scores)
    assert not np.array_equal(first.scores(replace(query, seed=6)), scores)


def test_the_second_version_explores_a_little_by_itself(with_new_items: dict[str, Path]) -> None:
    first, second = (loaded(RECIPES[name], with_new_items[name]) for name in (FIRST[0], SECOND[0]))
    told = second.explained(asked(None))
    own, with_a_little = (float(one[30:35].sum()) for one in (told.unexplored, told.scores))
    assert own < with_a_little < 4 * own
    np.testing.assert_array_equal(first.scores(asked(None)), first.explained(asked(None)).unexplored)


def test_the_second_version_tells_what_it_would_answer_without_exploring(with_new_items: dict[str, Path]) -> None:
    first, second = (loaded(RECIPES[name], with_new_items[name]) for name in (FIRST[0], SECOND[0]))
    for query, popular in ((asked(None), False), (Query(now=TODAY, history=[Past("?", TODAY)]), True)):
        scores, unexplored, told, rough = second.explained(query)
        assert told == popular
        assert rough is None
        gain = scores / np.maximum(unexplored, unexplored[unexplored > 0].min())
        assert (gain[30:35] > 1.1).all()
        assert (gain[:30] < 1).all()
        assert scores.sum() == pytest.approx(unexplored.sum(), abs=1e-5) == pytest.approx(1.0, abs=1e-5)
        own = first.explained(query)
        assert own.unexplored is own.scores
        np.testing.assert_array_equal(own.scores, first.scores(query))
        own.scores[:] = 0  # the caller's
        assert first.scores(query).sum() == pytest.approx(1.0, abs=1e-5)


def test_what_is_known_of_new_items_must_be_there(with_new_items: dict[str, Path], tmp_path: Path) -> None:
    name = FIRST[0]
    model = orjson.loads((with_new_items[name] / "model.json").read_bytes())
    assert {"age.npy", "interactions.npy"} <= model["files"].keys()
    for path in with_new_items[name].rglob("*"):
        if path.is_file() and path.name != "age.npy":
            target = tmp_path / path.relative_to(with_new_items[name])
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    with pytest.raises(ArtifactError, match=r"age\.npy is missing"):
        loaded(RECIPES[name], tmp_path)


# Objectives

AVERAGE_REWARDS = "average_rewards_at_k"


@pytest.mark.parametrize("name", FIRST)
def test_the_sensitivity_moves_what_is_recommended_brings_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    planned(monkeypatch, epochs=2, hidden=32, streams=16, bptt=8)
    recipe = RECIPES[name]
    histories = walks(users=60, events=8, items=50)
    prices = np.random.default_rng(0).uniform(1, 100, 50)
    without, plain = train(tmp_path / "without", training_data(histories), recipe)
    assert AVERAGE_REWARDS not in without.metrics
    queries = Query(now=1e6, history=[Past("i03", 100.0)]), Query(now=0.0)
    own = [loaded(recipe, plain).scores(query) for query in queries]
    # How much of what was had is among it is told by more than what each brings in.
    had_of = [np.arange(50) == 3, np.zeros(50, np.bool_)]
    earned: list[list[float]] = []
    expected: list[list[float]] = []
    for sensitivity in SENSITIVITIES:
        data = replace(training_data(histories), rewards=Rewards.from_numbers(prices, sensitivity))
        trained, artifact = train(tmp_path / sensitivity, data, recipe)
        assert 0 <= trained.metrics[AVERAGE_REWARDS] <= 1
        assert list(trained.metrics) == sorted(trained.metrics)
        shown = [loaded(recipe, artifact).scores(query) for query in queries]
        if sensitivity == "OFF":
            assert {**without.metrics, AVERAGE_REWARDS: trained.metrics[AVERAGE_REWARDS]} == trained.metrics
            np.testing.assert_allclose(shown, own, rtol=1e-6)
        expected.append(
            [float(np.average(prices[~had], weights=scores[~had])) for had, scores in zip(had_of, shown, strict=True)]
        )
        earned.append([prices[np.argsort(-scores)[:10]].mean() for scores in shown])
        for scores in shown:
            assert scores.sum() == pytest.approx(1.0, abs=1e-5)
    assert (np.diff(expected, axis=0) > 0).all(), expected
    # From one to the next the first ten may stay the same.
    assert (np.diff(earned, axis=0) >= 0).all(), earned
    assert (np.diff(earned[::2], axis=0) > 0).all(), earned
    assert (np.diff(earned[1::2], axis=0) > 0).all(), earned


@pytest.mark.parametrize("repeats", [False, True], ids=["once", "again and again"])
def test_what_is_evaluated_is_what_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repeats: bool) -> None:
    """An objective that outweighs all else: the most expensive items are evaluated, and shown."""
    monkeypatch.setitem(EMPHASIS, "HIGH", 1000.0)
    planned(monkeypatch, epochs=1, hidden=32, streams=16, bptt=8)
    prices = np.arange(50.0)
    once = took([[((user + step) % 50, 60 * step) for step in range(8)] for user in range(60)], 50)
    histories = walks(users=60, events=8) if repeats else once
    data = replace(training_data(histories), rewards=Rewards.from_numbers(prices, "HIGH"))
    shown: list[Any] = []
    evaluate = training.evaluate_recommender

    def looked_at(recommend: Any, *args: Any, **more: Any) -> Any:
        shown.append(recommend(np.array([5, 53]), 5))
        return evaluate(recommend, *args, **more)

    monkeypatch.setattr(training, "evaluate_recommender", looked_at)
    _, artifact = train(tmp_path, data, RECIPES[FIRST[0]])
    scorer = loaded(RECIPES[FIRST[0]], artifact)
    for user, row in zip((0, 6), shown[0].tolist(), strict=True):
        history = scorer.history(histories.user_ids[user])[:5]
        had = {scorer.item_ids.index(one.item_id) for one in history}
        dearest = [item for item in range(49, -1, -1) if item not in had]
        assert [item for item in row if item not in had][:2] == dearest[:2]
        served = scorer.scores(Query(now=float(histories.timestamps[8 * user + 5]), history=history))
        if repeats:
            # How much what was had is worth beside what is new has its weight, and p(again) is by no means 0 or 1.
            first = np.argsort(-served)[:2].tolist()
            assert (first, served[first].sum()) == (row[:2], pytest.approx(1.0, abs=1e-5))
            assert dearest[0] in first
            assert first[1 - first.index(dearest[0])] in (dearest[1], max(had))
        else:
            assert row == dearest[:5]
            assert served.argmax() == dearest[0]


# Events that count differently

WEIGHTED = "normalized_discounted_cumulative_gain_with_event_weights_at_k"


@pytest.mark.parametrize("name", SECOND)
def test_the_weight_of_an_event_type_moves_what_is_recommended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Who has looked at item 0 clicks on item 1 or buys item 2, half of them each."""
    planned(monkeypatch, epochs=16, hidden=32, streams=16, bptt=8)
    recipe = RECIPES[name]
    histories = took([[(0, 0), (1 + user % 2, 60)] for user in range(480)], 3, [[0, user % 2] for user in range(480)])
    bought = histories.event_types == 1
    shares: dict[float, list[float]] = {}
    for weight in (0.1, 0.9):
        weights = np.where(bought, weight, 1 - weight).astype(np.float32)
        data = replace(training_data(histories), event_weights=weights)
        trained, artifact = train(tmp_path / str(weight), data, recipe)
        assert AVERAGE_REWARDS not in trained.metrics
        assert 0 < trained.metrics[WEIGHTED] <= 1
        scorer = loaded(recipe, artifact)
        queries = Query(now=60.0, history=[Past("i0000", 0.0, "type0")]), Query(now=0.0)
        shares[weight] = [float(scores[2] / scores[1]) for scores in map(scorer.scores, queries)]
    assert shares[0.1][0] < 0.3
    assert shares[0.9][0] > 3
    assert shares[0.1][1] == pytest.approx(1 / 9, rel=0.3)
    assert shares[0.9][1] == pytest.approx(9, rel=0.3)


def test_only_the_ratio_of_the_weights_acts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned(monkeypatch, epochs=2, hidden=32, streams=16, bptt=8)
    histories = walks(users=40, events=8)
    weights = np.random.default_rng(0).choice([0.25, 0.5], len(histories.items)).astype(np.float32)
    results = [
        train(tmp_path / str(by), replace(training_data(histories), event_weights=by * weights), RECIPES[SECOND[0]])
        for by in (1, 2)
    ]
    (one, first), (other, second) = results
    assert one.metrics == other.metrics
    assert (first / WEIGHTS).read_bytes() == (second / WEIGHTS).read_bytes()
