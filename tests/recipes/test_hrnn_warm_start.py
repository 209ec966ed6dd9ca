"""Training in mode UPDATE: from the weights of a version trained in full, on what is new since then."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import torch
from safetensors.torch import load_file

from shared.data.arrays.features import FeatureColumn
from shared.data.arrays.histories import Histories
from shared.data.training.training_data import TrainingData
from shared.recipes.artifact import WEIGHTS
from shared.recipes.hrnn import warm_start as bases
from shared.recipes.hrnn.counters import COUNTERS, Counters
from shared.recipes.hrnn.lightning_module import HrnnModule
from shared.recipes.hrnn.plan import RETRAINING_EPOCHS
from shared.recipes.hrnn.trainer import HrnnTrainer
from shared.recipes.hrnn.training import count_trailing_new
from shared.recipes.hrnn.warm_start import NEW, WarmStart, map_features
from shared.recipes.scoring_api import ArtifactError, Exploration, Past, Query
from shared.recipes.training_api import TrainingStopped
from shared.recipes.user_personalization.scoring import Scorer
from tests.recipes.networks import CELLS
from tests.recipes.runs import NDCG, planned, read_form, train
from tests.recipes.synthetic import histories_of, training_data
from tests.recipes.updates import (
    ITEMS,
    NOW,
    OLD_ITEMS,
    RECIPE,
    THEN,
    make_new_sequences,
    make_old_sequences,
    make_update_trainer,
)


def described(histories: Histories, *, items: bool) -> TrainingData:
    """Users and events have features; items where it is asked for."""
    numbers = [int(item_id[1:]) for item_id in histories.item_ids]
    return training_data(
        histories,
        items=[{"half": "ab"[number % 2], "place": float(number)} for number in numbers] if items else None,
        users=[{"club": "xyz"[int(user_id[1:]) % 3]} for user_id in histories.user_ids],
        contexts=[{"device": ("tv", "phone", "pad")[event % 3]} for event in range(len(histories.items))],
    )


@pytest.fixture(scope="module", params=[True, False], ids=["with features of items", "without"])
def based(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[bool, Path]:
    """A version trained in full on what was before."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        planned(monkeypatch, epochs=8, hidden=32, streams=8, bptt=8)
        data = described(histories_of(make_old_sequences()), items=request.param)
        folder = tmp_path_factory.mktemp("base")
        return request.param, train(folder, data, RECIPE, retrain_on_all_users=True)[1]


def predicted(artifact: Path, items: range) -> float:
    """How many items, of some, are predicted in the place after each other."""
    scorer = Scorer.load(artifact)
    hits = 0
    for item in items:
        history = [Past(f"i{number % ITEMS:02}", NOW + 9000.0 + 60 * number) for number in range(item - 4, item)]
        known = [one for one in history if one.item_id in scorer.item_ids]
        scores = scorer.scores(Query(now=NOW + 9000.0 + 60 * item, history=known))
        hits += f"i{item % ITEMS:02}" in [scorer.item_ids[best] for best in np.argsort(-scores)[:3]]
    return hits / len(items)


@pytest.mark.usefixtures("updates")
def test_it_learns_what_is_new_and_forgets_nothing(tmp_path: Path, based: tuple[bool, Path]) -> None:
    with_items, base = based
    data = described(histories_of(make_new_sequences()), items=with_items)
    updated, artifact = train(tmp_path, data, RECIPE, base=base, retrain_on_all_users=True)
    assert updated.epochs == 2 * RETRAINING_EPOCHS
    assert updated.metrics.keys() == updated.baseline.keys()
    assert updated.report["raw"]["model"][NDCG] == updated.metrics[NDCG]
    assert predicted(base, range(34, 40)) == 0
    assert predicted(artifact, range(34, 40)) > 0.2
    assert updated.metrics[NDCG] > 1.5 * updated.baseline[NDCG]
    assert predicted(artifact, range(8, 26)) > predicted(base, range(8, 26)) - 0.2 > 0.5
    model = orjson.loads((artifact / "model.json").read_bytes())
    assert bases.WEIGHTS not in model["files"]  # only what was trained in full is gone on from
    assert model["test_users"] == 4


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    steps: list[int] = []
    training_step = HrnnModule.training_step

    def step(fitting: HrnnModule, window: Any, batch: int) -> Any:
        steps.append(batch)
        return training_step(fitting, window, batch)

    monkeypatch.setattr(HrnnModule, "training_step", step)
    return steps


@pytest.mark.usefixtures("updates")
def test_before_it_has_learnt_anything_it_answers_as_the_version_it_goes_on_from(based: tuple[bool, Path]) -> None:
    """Though there are more items, users, categories and types, and all of these have other numbers."""
    with_items, artifact = based
    histories = histories_of({"t00": [("i000", 5), ("i05", 6)], **make_new_sequences()})
    data = described_anew(histories, with_items)
    going_on = make_update_trainer(data, WarmStart.open(artifact))
    going_on.create_sampler(np.bincount(histories.items, minlength=len(histories.item_ids)))
    served = going_on.build_served_network()
    before_it = load_file(artifact / WEIGHTS)
    ids = WarmStart.open(artifact).histories.item_ids
    now = [histories.item_ids.index(item_id) for item_id in ids]
    torch.testing.assert_close(served.item.weight[now], before_it["item.weight"][:-1], atol=1e-5, rtol=0)
    # What is in fashion, of which the biases that are left tell too, is that of the events that there are now.
    assert going_on.blend is not None
    assert list(going_on.blend.weights.values) == read_form(artifact)["leaning"]
    counted = Counters.count_events(histories_of(make_old_sequences()), np.arange(80)).get_fashion(np.inf)
    fashion_I = torch.from_numpy(np.array(going_on.blend.weights.fashion, np.float32) @ counted)
    torch.testing.assert_close(served.bias[now], before_it["bias"][:-1] - fashion_I, atol=1e-5, rtol=0)
    torch.testing.assert_close(served.item.weight[-1], before_it["item.weight"][-1])
    clubs = [served.of_user.weight[data.users.columns[0].vocabulary.index(club)] for club in "xyz"]  # type: ignore[union-attr]
    columns = WarmStart.open(artifact).columns["users"]
    torch.testing.assert_close(
        torch.stack(clubs), before_it["of_user.weight"][[columns[0].vocabulary.index(club) for club in "xyz"]]
    )
    for name, tensor in before_it.items():
        if name.startswith("layers"):
            assert torch.equal(served.state_dict()[name], tensor)


def described_anew(histories: Histories, with_items: bool) -> TrainingData:
    """As ``described``, with a club and a device that are new and the most frequent."""
    data = described(histories, items=with_items)
    users = [{"club": "w" if int(u[1:] or 0) > 60 else "xyz"[int(u[1:] or 0) % 3]} for u in histories.user_ids]
    contexts = [{"device": ("fridge", "fridge", "phone", "pad", "tv")[n % 5]} for n in range(len(histories.items))]
    anew = training_data(histories, users=users, contexts=contexts)
    return replace(data, users=anew.users, contexts=anew.contexts)


def test_news_are_the_events_that_were_not_there(based: tuple[bool, Path]) -> None:
    base = WarmStart.open(based[1])
    histories = histories_of(make_new_sequences())
    new = base.find_new_events(histories)
    assert (new == (histories.timestamps >= NOW)).all()
    typed = replace(histories, event_types=np.zeros(len(new), np.int16), event_type_names=["click"])
    assert base.find_new_events(typed).all()
    assert not base.find_new_events(histories_of(make_old_sequences())).any()
    late = {**make_old_sequences(), "u000": [("i00", 5), *make_old_sequences()["u000"]]}
    assert np.flatnonzero(base.find_new_events(histories_of(late))).tolist() == [0]


def test_the_newest_that_are_new_may_be_held_out() -> None:
    new = np.array([0, 1, 1, 1, 0, 1, 1, 0, 0], np.bool_)
    assert count_trailing_new(new, np.array([0, 3, 5, 7, 9])).tolist() == [2, 0, 2, 0]


@pytest.mark.usefixtures("updates")
def test_it_is_tested_by_what_is_new_alone(
    tmp_path: Path, based: tuple[bool, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[np.ndarray, TrainingData]] = []
    recommend = HrnnTrainer.recommend

    def looked_at(self: HrnnTrainer, events_Q: Any, count: int) -> Any:
        asked.append((events_Q, self.data))
        return recommend(self, events_Q, count)

    monkeypatch.setattr(HrnnTrainer, "recommend", looked_at)
    sequences = {
        user: events[: len(make_old_sequences().get(user, [])) + 1] for user, events in make_new_sequences().items()
    }
    histories = histories_of({user: events for user, events in sequences.items() if len(events) > 1})
    train(tmp_path, described(histories, items=based[0]), RECIPE, base=based[1])
    (events_Q, _), *of_report = asked
    assert (histories.timestamps[events_Q] >= NOW).all()
    assert (np.diff(np.flatnonzero(np.isin(events_Q, histories.offsets[1:] - 1))) == 1).all()
    for of_unseen, _ in of_report:
        assert np.isin(of_unseen, events_Q).all()


@pytest.mark.usefixtures("updates")
@pytest.mark.parametrize("news", ["none", "an item"])
def test_without_new_events_nothing_is_learnt(tmp_path: Path, based: tuple[bool, Path], news: str) -> None:
    """But a new item has its place, and is explored."""
    with_items, base = based
    histories = histories_of(make_old_sequences(), unseen=("i99",) if news == "an item" else ())
    updated, artifact = train(tmp_path, described(histories, items=with_items), RECIPE, base=base)
    model = orjson.loads((base / "model.json").read_bytes())
    assert (updated.metrics, updated.baseline, updated.epochs) == (model["metrics"], model["baseline"], 0)
    assert updated.report == {}
    query = Query(now=NOW, history=[Past("i03", THEN)])
    scores, own = Scorer.load(artifact).scores(query), Scorer.load(base).scores(query)
    # One more item takes a little of the share of all others, against which is counted.
    rtol = 1e-5 if news == "none" else 0.01
    np.testing.assert_allclose(scores[:OLD_ITEMS] / scores[:OLD_ITEMS].sum(), own, rtol=rtol, atol=1e-5)
    if news == "none":
        for counted in (base / COUNTERS).iterdir():
            assert (artifact / COUNTERS / counted.name).read_bytes() == counted.read_bytes(), counted.name
    if news == "an item":
        assert 0 < scores[-1] < 0.2
        explored = replace(query, exploration=Exploration(weight=1.0, age_cut_off_days=30))
        assert Scorer.load(artifact).scores(explored)[-1] > 5 * scores[-1]


@pytest.mark.usefixtures("updates")
def test_an_update_that_was_cut_off_is_taken_up_again(
    tmp_path: Path, based: tuple[bool, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_items, base = based
    data = described(histories_of(make_new_sequences()), items=with_items)
    options: dict[str, Any] = {"base": base, "retrain_on_all_users": True, "checkpoint_seconds": 0}
    whole, expected = train(tmp_path / "whole", data, RECIPE, **options)
    told = iter(range(10**6))
    with pytest.raises(TrainingStopped):
        train(tmp_path / "cut", data, RECIPE, should_stop=lambda: next(told) > 12, **options)
    steps = counted(monkeypatch)
    again, found = train(tmp_path / "cut", data, RECIPE, **options)
    assert again.metrics == whole.metrics
    assert (found / WEIGHTS).read_bytes() == (expected / WEIGHTS).read_bytes()
    assert steps


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.usefixtures("updates")
def test_the_cell_and_the_parameters_are_those_of_the_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cell: str
) -> None:
    """Whatever the operator has chosen since then."""
    planned(monkeypatch, epochs=1)
    data = training_data(histories_of(make_old_sequences()))
    _, base = train(tmp_path / "base", data, RECIPE, cell=cell, parameters={"recency_mask": "false"})
    other = next(each for each in CELLS if each != cell)
    _, artifact = train(tmp_path, training_data(histories_of(make_new_sequences())), RECIPE, base=base, cell=other)
    model = orjson.loads((artifact / "model.json").read_bytes())
    assert model["form"]["cell"] == cell
    assert model["parameters"]["recency_mask"] == "false"


def test_what_has_nothing_to_go_on_from_is_refused(tmp_path: Path, based: tuple[bool, Path]) -> None:
    with pytest.raises(ArtifactError, match="cannot be continued from"):
        WarmStart.open(tmp_path)
    for path in based[1].rglob("*"):
        if path.is_file() and path.name != bases.WEIGHTS:
            target = tmp_path / path.relative_to(based[1])
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    with pytest.raises(ArtifactError, match=r"base\.safetensors"):
        WarmStart.open(tmp_path)


def test_features_are_known_again_by_what_they_mean() -> None:
    before = [
        FeatureColumn(name="genre", kind="categorical", first=0, vocabulary=("war", "love")),
        FeatureColumn(name="price", kind="numeric", first=2, edges=(10.0, 20.0)),
        FeatureColumn(name="gone", kind="categorical", first=5, vocabulary=("x",)),
    ]
    now = [
        FeatureColumn(name="price", kind="numeric", first=0, edges=(5.0, 18.0, 40.0)),
        FeatureColumn(name="genre", kind="categorical", first=4, vocabulary=("love", "space", "war")),
        FeatureColumn(name="age", kind="numeric", first=7, edges=()),
    ]
    assert map_features(before, now).tolist() == [2, 3, 4, 4, 1, NEW, 0, NEW]
    text = FeatureColumn(name="about", kind="textual", first=3, idf=[1.0] * 16_384)
    found = map_features([text], [replace(text, first=0)])
    assert (found[0], len(found)) == (3, 16_384)
    assert map_features([], []).tolist() == []
