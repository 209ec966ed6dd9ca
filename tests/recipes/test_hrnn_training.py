"""Training of aws-hrnn from histories to a model that serves: quality, stops, resumptions, sameness."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from shared.data import histories
from shared.data.histories import Histories
from shared.recipes import RECIPES
from shared.recipes.artifact import WEIGHTS
from shared.recipes.contract import ArtifactError, Progress, Stopped, Trained
from shared.recipes.hrnn import training
from shared.recipes.hrnn.scoring import Scorer
from shared.recipes.hrnn.training import Plan, event_weights, fingerprint, granted_cores
from tests.recipes.synthetic import histories_of, walks

NDCG = "normalized_discounted_cumulative_gain_at_25"
SETTINGS = RECIPES["aws-hrnn"].settings({"algorithmHyperParameters": {"hidden_dimension": "32"}})


def never() -> bool:
    return False


def train(
    folder: Path,
    data: Histories,
    *,
    should_stop: Callable[[], bool] = never,
    progress: Callable[[Progress], None] = lambda _: None,
    **options: Any,
) -> tuple[Trained, Path]:
    """Trains in folder/workspace into a new folder/artifact..., and returns that too."""
    artifact = folder / f"artifact{len(list(folder.glob('artifact*')))}"
    artifact.mkdir(parents=True)
    settings = SETTINGS | options.pop("settings", {})
    options = {"threads": 1, "retrain_on_all_users": False, **options}
    trained = training.train(
        data,
        settings,
        workspace=folder / "workspace",
        artifact=artifact,
        progress=progress,
        should_stop=should_stop,
        **options,
    )
    return trained, artifact


@pytest.fixture
def few_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the course of a run matters and its quality does not."""
    monkeypatch.setattr(Plan, "of", lambda parameters, _: Plan(32, int(parameters["bptt"]), 4, 3))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, Path, list[Progress]]:
    told: list[Progress] = []
    folder = tmp_path_factory.mktemp("trained")
    return *train(folder, walks(), progress=told.append, retrain_on_all_users=True), told


def test_it_learns_what_comes_next(trained: tuple[Trained, Path, list[Progress]]) -> None:
    result, _, _ = trained
    assert len(result.metrics) == 8
    assert result.metrics.keys() == result.baseline.keys()
    assert result.metrics[NDCG] > 1.8 * result.baseline[NDCG]
    assert result.seconds > 0


def test_it_tells_how_far_it_is(trained: tuple[Trained, Path, list[Progress]]) -> None:
    result, _, told = trained
    assert list(dict.fromkeys(p.phase for p in told)) == ["training", "evaluating", "retraining", "writing"]
    assert {p.epochs for p in told} == {result.epochs}
    assert set(range(result.epochs + 1)) == {p.epoch for p in told}
    assert [p.epoch for p in told] == sorted(p.epoch for p in told)
    assert told[0].loss is None
    assert told[-1].loss is not None
    assert told[-1].eta_seconds == 0.0
    first, last = (next(p.loss for p in order if p.loss) for order in (told, told[::-1]))
    assert last < first


def test_it_serves_what_it_learnt(trained: tuple[Trained, Path, list[Progress]]) -> None:
    _, artifact, _ = trained
    scorer = Scorer.load(artifact)
    assert scorer.item_ids == [f"i{number:02}" for number in range(50)]
    data = walks()
    end = int(data.offsets[1])
    expected = [
        (data.item_ids[item], int(at)) for item, at in zip(data.items[:end], data.timestamps[:end], strict=True)
    ]
    history = scorer.history("u000")
    assert history == expected
    assert scorer.history("nobody") == []
    hits = 0
    for number in range(40):
        steps = [(f"i{(number + step) % 50:02}", 1_000_000.0 + 900 * step) for step in range(8)]
        scores = scorer.scores(steps, steps[-1][1] + 900)
        assert scores.shape == (50,)
        assert scores.dtype == np.float32
        assert scores.sum() == pytest.approx(1.0, abs=1e-5)
        hits += int(scores.argmax() == (number + 8) % 50)
    assert hits >= 30


def test_a_new_event_moves_the_scores(trained: tuple[Trained, Path, list[Progress]]) -> None:
    scorer = Scorer.load(trained[1])
    history = [("i03", 100.0), ("i04", 200.0)]
    before = scorer.scores(history, 300.0)
    after = scorer.scores([*history, ("i20", 300.0)], 310.0)
    assert after[21] > before[21]


def test_a_stranger_is_shown_what_is_popular(trained: tuple[Trained, Path, list[Progress]]) -> None:
    scorer = Scorer.load(trained[1])
    popular = scorer.scores([], 0.0)
    assert popular.sum() == pytest.approx(1.0, abs=1e-5)
    weights = event_weights(walks(), recency_mask=True)
    np.testing.assert_allclose(popular, np.bincount(walks().items, weights) / weights.sum(), rtol=1e-4)
    np.testing.assert_array_equal(scorer.scores([("never heard of", 5.0)], 9.0), popular)


def test_unknown_items_in_a_history_are_passed_over(trained: tuple[Trained, Path, list[Progress]]) -> None:
    scorer = Scorer.load(trained[1])
    with_unknown = scorer.scores([("i01", 10.0), ("?", 20.0), ("i02", 30.0)], 40.0)
    np.testing.assert_array_equal(with_unknown, scorer.scores([("i01", 10.0), ("i02", 30.0)], 40.0))


def test_weights_cut_short_are_refused(
    trained: tuple[Trained, Path, list[Progress]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, artifact, _ = trained
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in artifact.rglob("*"):
        if path.is_file():
            (copy / path.relative_to(artifact)).parent.mkdir(exist_ok=True)
            (copy / path.relative_to(artifact)).write_bytes(path.read_bytes())
    size = (copy / WEIGHTS).stat().st_size
    (copy / WEIGHTS).write_bytes(bytes(size))
    with pytest.raises(ArtifactError, match=r"model\.safetensors cannot be read"):
        Scorer.load(copy)
    (copy / WEIGHTS).write_bytes((artifact / WEIGHTS).read_bytes()[: size // 2])
    with pytest.raises(ArtifactError, match="the model is incomplete"):
        Scorer.load(copy)


@pytest.mark.usefixtures("few_epochs")
def test_the_same_seed_gives_the_same_run(tmp_path: Path) -> None:
    data = walks(users=30)
    one, first = train(tmp_path / "one", data, seed=3)
    two, second = train(tmp_path / "two", data, seed=3)
    _, third = train(tmp_path / "three", data, seed=4)
    assert one.metrics == two.metrics
    assert (first / WEIGHTS).read_bytes() == (second / WEIGHTS).read_bytes()
    assert (first / WEIGHTS).read_bytes() != (third / WEIGHTS).read_bytes()


@pytest.mark.usefixtures("few_epochs")
@pytest.mark.parametrize("calls", [20, 35, 70])
def test_a_run_cut_off_and_taken_up_again_ends_as_one_that_was_not(tmp_path: Path, calls: int) -> None:
    """13 batches an epoch, 12 users to evaluate: cut in the second epoch, in the third, and while retraining."""
    data = walks(users=60)
    whole, expected = train(tmp_path / "whole", data, retrain_on_all_users=True)
    asked = iter(range(10**9))
    told: list[Progress] = []
    with pytest.raises(Stopped):
        train(tmp_path / "cut", data, retrain_on_all_users=True, should_stop=lambda: next(asked) >= calls)
    again, found = train(tmp_path / "cut", data, retrain_on_all_users=True, progress=told.append)
    assert again.metrics == whole.metrics
    for name, weights in load_file(expected / WEIGHTS).items():
        torch.testing.assert_close(load_file(found / WEIGHTS)[name], weights, rtol=0, atol=0)
    assert next(p.epoch for p in told[1:]) >= 1


@pytest.mark.usefixtures("few_epochs")
def test_a_checkpoint_of_other_data_is_not_taken_up(tmp_path: Path) -> None:
    train(tmp_path, walks(users=30, seed=1))
    _, after_other = train(tmp_path, walks(users=30, seed=2))
    _, alone = train(tmp_path / "alone", walks(users=30, seed=2))
    assert (after_other / WEIGHTS).read_bytes() == (alone / WEIGHTS).read_bytes()
    same = fingerprint(walks(), SETTINGS, 0)
    assert same == fingerprint(walks(), SETTINGS, 0)
    assert len({same, fingerprint(walks(), SETTINGS | {"bptt": "8"}, 0), fingerprint(walks(), SETTINGS, 1)}) == 3


def test_it_stops_at_once_when_asked_to(tmp_path: Path) -> None:
    asked_at: list[float] = []

    def told(progress: Progress) -> None:
        if progress.epoch >= 1 and not asked_at:
            asked_at.append(time.monotonic())

    with pytest.raises(Stopped):
        train(tmp_path, walks(), progress=told, should_stop=lambda: bool(asked_at))
    assert time.monotonic() - asked_at[0] < 2.0
    assert list((tmp_path / "workspace").rglob("training.ckpt"))
    assert not list((tmp_path / "artifact0").iterdir())


@pytest.mark.usefixtures("few_epochs")
def test_users_outside_the_percentiles_teach_nothing_and_are_served(tmp_path: Path) -> None:
    sequences = {f"u{n}": [(f"i{(n + step) % 9}", 60 * step) for step in range(20)] for n in range(40)}
    sequences["robot"] = [("spam", second) for second in range(300)]
    data = histories_of(sequences, excluded=("robot",))
    _, artifact = train(tmp_path, data)
    scorer = Scorer.load(artifact)
    assert len(scorer.history("robot")) == 300
    spam = scorer.item_ids.index("spam")
    scores = scorer.scores(scorer.history("u1"), 2000.0)
    assert scores.argmin() == spam
    assert scores[spam] < 0.01


@pytest.mark.usefixtures("few_epochs")
@pytest.mark.parametrize("bptt", ["2", "7", "40"])
def test_any_bptt_trains(tmp_path: Path, bptt: str) -> None:
    result, _ = train(tmp_path, walks(users=30, events=5), settings={"bptt": bptt})
    assert result.epochs == 3


def test_the_plan_follows_the_size_of_the_data_and_bptt_does_not_change_the_step() -> None:
    plans = [Plan.of(SETTINGS, events) for events in (1_000, 100_000, 1_000_000, 25_000_000)]
    assert [plan.epochs for plan in plans] == sorted((plan.epochs for plan in plans), reverse=True)
    assert [plan.streams for plan in plans] == sorted(plan.streams for plan in plans)
    short = Plan.of(SETTINGS | {"bptt": "2"}, 100_000)
    assert short.streams * short.bptt == plans[1].streams * plans[1].bptt == 512


def test_a_wider_network_learns_slower() -> None:
    narrow, wide = (Plan.of(SETTINGS | {"hidden_dimension": hidden}, 100_000) for hidden in ("43", "172"))
    assert narrow.learning_rate == training.LEARNING_RATE
    assert wide.learning_rate == pytest.approx(narrow.learning_rate / 4)


def test_with_recency_mask_newer_events_count_more() -> None:
    data = walks()
    weights = event_weights(data, recency_mask=True)
    order = np.argsort(data.timestamps, kind="stable")
    assert (np.diff(weights[order]) >= 0).all()
    assert weights.max() / weights.min() == pytest.approx(training.RECENT, rel=0.01)
    assert weights.mean() == pytest.approx(1.0, abs=1e-5)
    assert (event_weights(data, recency_mask=False) == 1.0).all()


def test_one_moment_for_all_events_is_no_reason_to_fail() -> None:
    data = histories_of({"a": [("x", 5), ("y", 5)], "b": [("x", 5)]})
    assert event_weights(data, recency_mask=True).tolist() == [1.0, 1.0, 1.0]


def test_at_least_one_core_is_granted() -> None:
    assert granted_cores() >= 1


def test_a_hundred_thousand_interactions_beat_popularity_by_far(tmp_path: Path, films: Path) -> None:
    duckdb.read_csv(str(films / "interactions.csv"), all_varchar=True).write_parquet(str(tmp_path / "rows.parquet"))
    defaults = RECIPES["aws-hrnn"].settings(None)
    data = histories.load(
        [tmp_path / "rows.parquet"],
        event_type=None,
        event_value_threshold=None,
        min_percentile=0.0,
        max_percentile=float(defaults["max_user_history_length_percentile"]),
        memory_mb=512,
    )
    result, _ = train(tmp_path, data, settings=defaults)
    assert result.metrics[NDCG] > 3.0 * result.baseline[NDCG]
    assert result.metrics["mean_reciprocal_rank_at_25"] > 3.0 * result.baseline["mean_reciprocal_rank_at_25"]
