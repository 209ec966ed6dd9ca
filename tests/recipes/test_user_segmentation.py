"""Item-Affinity and Item-Attribute-Affinity: their declarations, what is held out, segments, and what acts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pytest
import torch

from shared.data.arrays.histories import Histories, TooLittleData
from shared.recipes import RECIPES, ranking_metrics
from shared.recipes.hrnn.counter_blend import CounterBlend
from shared.recipes.hrnn.counters import BlendWeights, Counters
from shared.recipes.hrnn.trainer import HrnnTrainer
from shared.recipes.scoring_api import ItemGroups, Past, Query
from shared.recipes.user_segmentation import training
from shared.recipes.user_segmentation.scoring import Scorer
from shared.recipes.user_segmentation.training import HeldOutEvents, find_segments
from shared.serving.segment_scores import Segment, SegmentScores
from shared.serving.segment_users import SegmentUsers
from tests.recipes.runs import make_task, planned, train
from tests.recipes.synthetic import histories_of, training_data, walks
from tests.recipes.whole import history_log_shares
from tests.unit.shared.serving.segment_world import write_events

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


TASTES = {"tea": range(10), "coffee": range(10, 20)}


def tastes() -> Histories:
    """60 users, of whom each third drinks tea; coffee drinkers have many more events."""
    rng = np.random.default_rng(0)
    sequences = {}
    for user in range(60):
        items, events = (TASTES["tea"], 12) if user % 3 == 0 else (TASTES["coffee"], 30)
        taken = rng.choice(np.array(items), events).tolist()
        sequences[f"u{user:02}"] = [(f"i{item:02}", 1_000_000 + 3600 * step) for step, item in enumerate(taken)]
    return histories_of(sequences)


def test_segments_have_the_users_of_a_taste_and_activity_and_chance_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned(monkeypatch, epochs=4)
    histories = tastes()
    _, artifact = train(tmp_path, histories, RECIPES["aws-item-affinity"])
    drink_tea = np.arange(60) % 3 == 0
    segments = [*([item] for item in TASTES["tea"]), list(TASTES["tea"])]  # of each item, and of all of them
    scorer, folder = Scorer.load(artifact), tmp_path / "scores"
    folder.mkdir()
    scores = SegmentScores(
        folder=folder,
        scorer=scorer,
        users=SegmentUsers(scorer, write_events(tmp_path, []), replaced=False),
        segments=[Segment(places=np.array(items)) for items in segments],
        wanted=20,
        now=1_200_000.0,
        block_users=16,
    )
    scores.compute_scores(lambda _users: None)
    found = [drink_tea[scores.find_users(segment)].mean() for segment in range(len(segments))]
    active = drink_tea[np.argsort(-histories.lengths, kind="stable")[:20]].mean()
    assert min(found) >= 0.9
    assert active == 0.0
    assert drink_tea.mean() == pytest.approx(1 / 3)  # of users drawn by chance


def test_users_of_a_group_of_items_have_the_sum_of_their_probabilities(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned(monkeypatch, epochs=1)
    _, artifact = train(tmp_path, walks(users=30, events=10, items=12), RECIPES["aws-item-affinity"])
    scorer = Scorer.load(artifact)
    queries = [Query(now=2e6, user_id=user, history=scorer.history(user)) for user in (*scorer.user_ids[:5], "unknown")]
    groups = ItemGroups(places=np.array([3, 0, 7, 11, 3]), starts=np.array([0, 1, 4]))
    alone = np.stack([scorer.scores(query) for query in queries])
    expected = np.stack([alone[:, 3], alone[:, [0, 7, 11]].sum(1), alone[:, 3]], axis=1)
    assert scorer.score_users(queries, groups) == pytest.approx(expected, abs=1e-6)
    assert len(scorer.user_ids) == 30
