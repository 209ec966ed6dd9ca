"""Training from histories to a model that serves: its quality, its progress, and the files it leaves."""

from __future__ import annotations

import csv
import functools
import math
from pathlib import Path

import duckdb
import numpy as np
import orjson
import pytest

from shared.data.training import training_data as preparing
from shared.data.training.training_data import DatasetFiles, TrainingData, TrainingSources
from shared.recipes.evaluation import Split
from shared.recipes.hrnn import candidates, training
from shared.recipes.hrnn.counters import COUNTERS, NAMES, BlendWeights, Counters
from shared.recipes.hrnn.scoring import Scorer
from shared.recipes.hrnn.trainer import HrnnTrainer, compute_event_weights
from shared.recipes.hrnn.training import Measurement, evaluate_trainer
from shared.recipes.scoring_api import Past, Query
from shared.recipes.training_api import Trained, TrainingProgress
from tests.recipes.runs import (
    MRR,
    NDCG,
    planned,
    read_form,
    settings,
    train,
)
from tests.recipes.synthetic import walks


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, Path, list[TrainingProgress]]:
    told: list[TrainingProgress] = []
    folder = tmp_path_factory.mktemp("trained")
    return *train(folder, walks(users=160), progress=told.append, retrain_on_all_users=True), told


def test_it_learns_what_comes_next(trained: tuple[Trained, Path, list[TrainingProgress]]) -> None:
    result, _, _ = trained
    assert len(result.metrics) == 8
    assert result.metrics.keys() == result.baseline.keys()
    assert result.metrics[NDCG] > 1.8 * result.baseline[NDCG]
    assert result.metrics[MRR] > 3.0 * result.baseline[MRR]
    assert result.seconds > 0


def test_its_report_is_kept_with_the_model(trained: tuple[Trained, Path, list[TrainingProgress]]) -> None:
    """Nobody walks a round twice: what comes next is new, and a user's own items are not."""
    result, artifact, _ = trained
    assert orjson.loads((artifact / "model.json").read_bytes())["report"] == result.report
    raw, unseen = result.report["raw"], result.report["unseen"]
    assert raw["model"] == {name: result.metrics[name] for name in raw["model"]}
    assert raw["popularity"] == {name: result.baseline[name] for name in raw["model"]}
    assert unseen["users"] <= raw["users"] == 16
    assert unseen["model"][MRR] > 3.0 * unseen["popularity"][MRR]
    assert unseen["personal_frequency"] == unseen["popularity"]


def test_the_report_leaves_out_what_the_network_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It leaves out of a longer list what a user had; the network answers 10 that are new of itself."""
    planned(monkeypatch, epochs=1)
    histories, answers = walks(users=40), []
    events_Q = histories.offsets[1:11] - 3

    def looked_at(learner: HrnnTrainer, split: Split) -> Measurement:
        answers.extend((learner.recommend(events_Q, 50), learner.recommend(events_Q, 10, unseen=True)))
        return evaluate_trainer(learner, split)

    monkeypatch.setattr(training, "evaluate_trainer", looked_at)
    train(tmp_path, histories)
    for begin, event, all_K, unseen_K in zip(histories.offsets, events_Q, *answers, strict=False):
        had = histories.items[begin:event]
        assert all_K[~np.isin(all_K, had)][:10].tolist() == unseen_K.tolist()


def test_the_classic_cell_learns_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned(monkeypatch, epochs=10)
    result, artifact = train(tmp_path, walks(users=240), cell="gru")
    assert result.metrics[MRR] > 4.0 * result.baseline[MRR]
    assert orjson.loads((artifact / "model.json").read_bytes())["form"]["cell"] == "gru"
    assert Scorer.load(artifact).scores(Query(user_id="u000", history=[Past("i03", 100.0)], now=200.0)).argmax() == 4


def test_a_sample_of_the_items_is_enough_to_learn_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sampled = functools.partial(candidates.create_candidate_sampler, negatives=10, full=0)
    monkeypatch.setattr(candidates, "create_candidate_sampler", sampled)
    planned(monkeypatch, epochs=10, streams=2)
    result, _ = train(tmp_path, walks(users=240))
    assert result.metrics[MRR] > 4.0 * result.baseline[MRR]


def test_it_tells_how_far_it_is(trained: tuple[Trained, Path, list[TrainingProgress]]) -> None:
    result, _, told = trained
    assert list(dict.fromkeys(p.phase for p in told)) == ["training", "evaluating", "retraining", "writing"]
    assert all(p.epoch <= p.epochs for p in told)
    # Validation may end the training before the epochs planned, and take an earlier epoch's weights.
    assert told[0].epochs >= told[-1].epochs == told[-1].epoch == result.epochs
    for phase in ("training", "retraining"):
        epochs = [p.epoch for p in told if p.phase == phase]
        assert epochs == sorted(epochs)
        assert set(epochs) >= set(range(epochs[0] + 1, epochs[-1] + 1))
    assert told[0].loss is None
    assert told[0].eta_seconds is None
    assert told[-1].eta_seconds == 0.0
    assert any(p.eta_seconds for p in told)
    losses = [p.loss for p in told if p.loss is not None]
    assert losses[-1] < losses[0]
    assert all(math.isfinite(loss) for loss in losses)


def test_it_serves_what_it_learnt(trained: tuple[Trained, Path, list[TrainingProgress]]) -> None:
    _, artifact, _ = trained
    scorer = Scorer.load(artifact)
    assert list(scorer.item_ids) == [f"i{number:02}" for number in range(50)]
    data = walks(users=160)
    end = int(data.offsets[1])
    assert scorer.history("u000") == [
        Past(data.item_ids[item], int(at), None)
        for item, at in zip(data.items[:end], data.timestamps[:end], strict=True)
    ]
    hits = 0
    for number in range(40):
        history = [Past(f"i{(number + step) % 50:02}", 1_000_000.0 + 900 * step) for step in range(8)]
        scores = scorer.scores(Query(user_id="new", history=history, now=history[-1].timestamp + 900))
        hits += int(scores.argmax() == (number + 8) % 50)
    assert hits >= 30


def test_what_is_written_says_what_was_done(trained: tuple[Trained, Path, list[TrainingProgress]]) -> None:
    result, artifact, _ = trained
    model = orjson.loads((artifact / "model.json").read_bytes())
    assert model["recipe"] == "aws-hrnn"
    assert model["parameters"] == settings()
    assert model["metrics"] == result.metrics
    assert (model["users"], model["test_users"], model["interactions"]) == (160, 16, 4800)
    popular = Scorer.load(artifact).scores(Query(user_id="nobody", now=0.0))
    of = compute_event_weights(walks(users=160), recency_mask=True)
    np.testing.assert_allclose(popular, np.bincount(walks(users=160).items, of) / of.sum(), rtol=1e-4)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("retrain_on_all_users", [False, True])
def test_what_was_counted_is_left_beside_the_network_with_how_far_it_leans_on_it(
    tmp_path: Path, retrain_on_all_users: bool
) -> None:
    """Counted of whom the network has learnt of; where nobody validates, there is no blend."""
    data = walks(users=120, events=8, items=20)
    _, artifact = train(tmp_path, data, retrain_on_all_users=retrain_on_all_users)
    found = Counters.open(artifact / COUNTERS)
    split = Split.draw(data, 0)
    users = np.arange(120) if retrain_on_all_users else split.train
    expected = Counters.count_events(data, users)
    np.testing.assert_array_equal(found.prior_I, expected.prior_I)
    for name in NAMES:
        for one, other in zip(getattr(found, name), getattr(expected, name), strict=True):
            np.testing.assert_array_equal(one, other)
    assert len(read_form(artifact)["leaning"]) == len(BlendWeights().values)
    assert read_form(artifact)["leaning"] != list(BlendWeights().values)
    _, alone = train(tmp_path / "few", walks(users=40, events=8))
    assert read_form(alone)["leaning"] == []
    assert not (alone / COUNTERS).exists()


@pytest.mark.usefixtures("short")
def test_a_csv_log_stands_in_the_artifact_where_it_is_wanted(tmp_path: Path) -> None:
    _, artifact = train(tmp_path, walks(users=30, events=8), logger="csv")
    with (artifact / "logs" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3
    assert all(float(row["training_loss"]) > 0 for row in rows)
    assert "logs/metrics.csv" in orjson.loads((artifact / "model.json").read_bytes())["files"]
    assert Scorer.load(artifact).item_ids
    _, quiet = train(tmp_path / "quiet", walks(users=30, events=8))
    assert not (quiet / "logs").exists()


def prepared(folder: Path, films: Path) -> TrainingData:
    """MovieLens 100k, or the demo's films."""
    duckdb.read_csv(str(films / "interactions.csv"), all_varchar=True).write_parquet(str(folder / "rows.parquet"))
    names = ("USER_ID", "ITEM_ID", "TIMESTAMP")
    schema = {
        "type": "record",
        "name": "Interactions",
        "namespace": "com.amazonaws.personalize.schema",
        "fields": [{"name": name, "type": "long" if name == "TIMESTAMP" else "string"} for name in names],
        "version": "1.0",
    }
    interactions = DatasetFiles(files=[folder / "rows.parquet"], schema=orjson.dumps(schema).decode())
    return preparing.prepare_training_data(
        folder / "data", TrainingSources(interactions=interactions, max_percentile=0.99), memory_mb=512
    )


def test_a_hundred_thousand_interactions_beat_popularity_by_far(
    tmp_path: Path, films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned(monkeypatch, epochs=3)
    result, _ = train(tmp_path, prepared(tmp_path, films))
    assert result.metrics[NDCG] > 2.0 * result.baseline[NDCG]
    assert result.metrics[MRR] > 2.0 * result.baseline[MRR]
