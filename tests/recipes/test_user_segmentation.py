"""Item-Affinity and Item-Attribute-Affinity: their declarations, what is held out, segments, and what acts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pytest
import torch

from shared.data.arrays.histories import TooLittleData
from shared.recipes import RECIPES, ranking_metrics
from shared.recipes.hrnn.counter_blend import CounterBlend
from shared.recipes.hrnn.counters import BlendWeights, Counters
from shared.recipes.hrnn.trainer import HrnnTrainer
from shared.recipes.scoring_api import Past, Query
from shared.recipes.user_segmentation import training
from shared.recipes.user_segmentation.scoring import Scorer
from shared.recipes.user_segmentation.training import HeldOutEvents, find_segments
from tests.recipes.runs import make_task, planned, train
from tests.recipes.synthetic import histories_of, training_data, walks
from tests.recipes.whole import history_log_shares

NAMES = ("aws-item-affinity", "aws-item-attribute-affinity")
METRICS = {"coverage", "hits_at_1_percent", "recall_at_1_percent"}


@pytest.mark.parametrize("name", NAMES)
def test_they_are_declared_as_aws_does(name: str) -> None:
    recipe = RECIPES[name]
    assert recipe.resolve_parameters(None) == {"hidden_dimension": "149"}
    assert (recipe.recipe_type, recipe.algorithm) == ("USER_SEGMENTATION", name)
    assert recipe.feature_transformation_arn == (
        f"arn:aws:personalize:::feature-transformation/{name.removeprefix('aws-')}"
    )
    ranges = {"integerHyperParameterRanges": [{"name": "hidden_dimension", "minValue": 32, "maxValue": 64}]}
    with pytest.raises(ValueError, match="not tunable"):
        recipe.resolve_parameters({"hpoConfig": {"algorithmHyperParameterRanges": ranges}})
    for value in ("31", "257"):
        with pytest.raises(ValueError, match=r"must lie in \[32, 256\]"):
            recipe.resolve_parameters({"algorithmHyperParameters": {"hidden_dimension": value}})


def test_the_newest_fifth_of_everybody_is_held_out() -> None:
    data = histories_of(
        {"a": [(f"i{n % 3}", n) for n in range(6)], "b": [("i0", 0)], "c": [("i1", 0), ("i2", 1)]}, unseen=("i9",)
    )
    held_out = HeldOutEvents.split_histories(data, np.arange(3), np.random.default_rng(0))
    assert held_out.older.tolist() == [True] * 4 + [False] * 2 + [True] + [True, False]
    assert held_out.firsts.tolist() == [4, 8]
    assert held_out.taken.tolist() == [[1, 0], [2, 0], [2, 1]]
    with pytest.raises(TooLittleData, match="there is no user to test on"):
        HeldOutEvents.split_histories(data, np.array([1]), np.random.default_rng(0))


def test_fewer_users_are_tested_of_a_catalogue_too_large_for_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "MOST_PLACES", 20)
    data = walks(users=300, events=4, items=10)
    held_out = HeldOutEvents.split_histories(data, np.arange(300), np.random.default_rng(0))
    assert len(held_out.firsts) == 200


def test_metrics_of_segments_are_by_item() -> None:
    taken = np.array([[0, 0], [0, 1], [0, 3], [1, 2]])
    found = ranking_metrics.compute_segment_metrics(np.array([[0, 1], [0, 1], [2, 3]]), taken, users=5)
    assert found == {"coverage": 0.8, "hits_at_1_percent": 1.0, "recall_at_1_percent": 0.3333}


@pytest.mark.parametrize("leans", [True, False], ids=["leaning", "alone"])
def test_a_segment_has_the_users_whose_own_answers_give_the_item_most(leans: bool) -> None:
    data = training_data(walks(users=20, events=8, items=10))
    recipe = RECIPES["aws-item-affinity"]
    learner = HrnnTrainer(make_task(data, recipe, {"hidden_dimension": "32"}), 160)
    histories = data.histories
    if leans:
        counters = Counters.count_events(histories, np.arange(20))
        learner.blend = CounterBlend(counters, BlendWeights(last=1.0, like=0.5, again_last=0.7))
    events_Q = histories.offsets[1:] - 2
    best = find_segments(learner, events_Q, 3)
    network = learner.build_served_network().eval()
    alone_QI = np.stack(
        [
            history_log_shares(
                network,
                learner.streams.items_E[begin:event].long(),
                torch.tensor(histories.timestamps[begin:event], dtype=torch.double),
                torch.zeros(event - begin, dtype=torch.long),
                float(histories.timestamps[event]),
                leaning=learner.blend,
            )
            .exp()
            .numpy()
            for begin, event in zip(histories.offsets[:-1], events_Q, strict=True)
        ]
    )
    assert best.shape == (10, 3)
    for item, users in enumerate(best):
        assert alone_QI[users, item] == pytest.approx(np.sort(alone_QI[:, item])[:-4:-1], rel=1e-4)


def test_the_hidden_dimension_acts_and_the_model_foretells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned(monkeypatch, epochs=1)
    sizes = []
    for hidden in ("32", "48"):
        folder = tmp_path / hidden
        trained, artifact = train(
            folder, walks(events=10), RECIPES["aws-item-affinity"], parameters={"hidden_dimension": hidden}
        )
        assert trained.metrics.keys() == trained.baseline.keys() == METRICS
        sizes.append(orjson.loads((artifact / "model.json").read_bytes())["form"]["hidden"])
    assert sizes == [32, 48]
    scorer = Scorer.load(artifact)
    answers = [scorer.scores(Query(now=2e6, history=[Past(item, 1e6)])) for item in ("i01", "i20")]
    assert not np.allclose(*answers)


def test_it_finds_who_will_take_an_item_better_than_activity_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned(monkeypatch, epochs=10)
    trained, _ = train(tmp_path, walks(users=60, events=10, items=8), RECIPES["aws-item-affinity"])
    assert trained.metrics["hits_at_1_percent"] > 2 * trained.baseline["hits_at_1_percent"]


def test_what_is_known_of_items_is_learnt_from_and_the_newest_fifth_by_retraining(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned(monkeypatch, epochs=1)
    histories = walks(events=10)
    data = training_data(histories, items=[{"GENRE": "odd" if n % 2 else "even"} for n in range(50)])
    recipe = RECIPES["aws-item-attribute-affinity"]
    assert recipe.training.datasets == ("INTERACTIONS", "ITEMS")
    (held_back, first), (trained, second) = (
        train(tmp_path / str(retrain), data, recipe, retrain_on_all_users=retrain) for retrain in (False, True)
    )
    assert held_back.metrics == trained.metrics
    assert trained.epochs > held_back.epochs
    query = Query(now=2e6, history=[Past("i01", 1e6)])
    assert not np.allclose(*(Scorer.load(artifact).scores(query) for artifact in (first, second)))
