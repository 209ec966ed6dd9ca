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
from shared.recipes import RECIPES
from shared.recipes.artifact import WEIGHTS
from shared.recipes.hrnn import warm_start as bases
from shared.recipes.hrnn.counters import COUNTERS, BlendWeights, Counters
from shared.recipes.hrnn.lightning_module import HrnnModule
from shared.recipes.hrnn.plan import RETRAINING_EPOCHS
from shared.recipes.hrnn.trainer import HrnnTrainer
from shared.recipes.hrnn.training import count_trailing_new
from shared.recipes.hrnn.warm_start import NEW, WarmStart, map_features
from shared.recipes.scoring_api import ArtifactError, Exploration, Past, Query
from shared.recipes.training_api import TrainingStopped
from shared.recipes.user_personalization.scoring import Scorer
from tests.recipes.networks import CELLS
from tests.recipes.runs import NDCG, make_task, planned, settings, train
from tests.recipes.synthetic import histories_of, training_data

RECIPE = RECIPES["aws-user-personalization"]
OLD_ITEMS, ITEMS = 30, 40
THEN, NOW = 1_000_000, 2_000_000

Sequences = dict[str, list[tuple[str, int]]]


def walk(rng: np.random.Generator, first: int, items: int, at: int, length: int = 10) -> list[tuple[str, int]]:
    """From one item to the next, of so many in a circle."""
    return [(f"i{(first + step) % items:02}", at + 60 * step + int(rng.integers(60))) for step in range(length)]


def before() -> Sequences:
    """80 users go from one of 30 items to the next."""
    rng = np.random.default_rng(0)
    return {f"u{user:03}": walk(rng, int(rng.integers(OLD_ITEMS)), OLD_ITEMS, THEN) for user in range(80)}


def after() -> Sequences:
    """Then 30 of these, and 10 who are new, do the same with ten more items."""
    rng = np.random.default_rng(1)
    sequences = before()
    for user in [*range(30), *range(80, 90)]:
        first = int(rng.integers(OLD_ITEMS - 8, OLD_ITEMS + 2))
        sequences.setdefault(f"u{user:03}", []).extend(walk(rng, first, ITEMS, NOW))
    return sequences


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
        data = described(histories_of(before()), items=request.param)
        folder = tmp_path_factory.mktemp("base")
        return request.param, train(folder, data, RECIPE, retrain_on_all_users=True)[1]


@pytest.fixture
def updates(monkeypatch: pytest.MonkeyPatch) -> None:
    planned(monkeypatch, hidden=32, streams=8, bptt=8)


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
    data = described(histories_of(after()), items=with_items)
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


def learner(data: TrainingData, base: WarmStart) -> HrnnTrainer:
    new_E = base.find_new_events(data.histories)
    return HrnnTrainer(make_task(data, RECIPE, settings(RECIPE)), int(new_E.sum()) or 1, base, new_E)


@pytest.mark.usefixtures("updates")
def test_before_it_has_learnt_anything_it_answers_as_the_version_it_goes_on_from(based: tuple[bool, Path]) -> None:
    """Though there are more items, users, categories and types, and all of these have other numbers."""
    with_items, artifact = based
    histories = histories_of({"t00": [("i000", 5), ("i05", 6)], **after()})
    data = described_anew(histories, with_items)
    going_on = learner(data, WarmStart.open(artifact))
    going_on.create_sampler(np.bincount(histories.items, minlength=len(histories.item_ids)))
    served = going_on.build_served_network()
    before_it = load_file(artifact / WEIGHTS)
    ids = WarmStart.open(artifact).histories.item_ids
    now = [histories.item_ids.index(item_id) for item_id in ids]
    torch.testing.assert_close(served.item.weight[now], before_it["item.weight"][:-1], atol=1e-5, rtol=0)
    # What is in fashion, of which the biases that are left tell too, is that of the events that there are now.
    assert going_on.blend is not None
    assert list(going_on.blend.weights.values) == form(artifact)["leaning"]
    counted = Counters.count_events(histories_of(before()), np.arange(80)).get_fashion(np.inf)
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
    histories = histories_of(after())
    new = base.find_new_events(histories)
    assert (new == (histories.timestamps >= NOW)).all()
    typed = replace(histories, event_types=np.zeros(len(new), np.int16), event_type_names=["click"])
    assert base.find_new_events(typed).all()
    assert not base.find_new_events(histories_of(before())).any()
    late = {**before(), "u000": [("i00", 5), *before()["u000"]]}
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
    sequences = {user: events[: len(before().get(user, [])) + 1] for user, events in after().items()}
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
    histories = histories_of(before(), unseen=("i99",) if news == "an item" else ())
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
    data = described(histories_of(after()), items=with_items)
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


# What is taken again, and what is counted


def favourites(rng: np.random.Generator, first: int, items: int, at: int, length: int = 12) -> list[tuple[str, int]]:
    """Four items, again and again, and days apart."""
    taken = rng.integers(0, 4, length)
    return [(f"i{(first + int(item)) % items:02}", at + 90_000 * step) for step, item in enumerate(taken)]


def fond(items: int = OLD_ITEMS, *, more: bool = False) -> TrainingData:
    """140 users have favourites; then 20 of them have others, and so have 5 new users."""
    rng = np.random.default_rng(0)
    sequences = {f"u{n:03}": favourites(rng, int(rng.integers(items)), items, THEN) for n in range(140)}
    for user in [*range(20), *range(140, 145)] if more else []:
        rows = favourites(rng, int(rng.integers(items - 4, items + 4)), items + 10, 3 * NOW)
        sequences.setdefault(f"u{user:03}", []).extend(rows)
    histories = histories_of(sequences)
    types = np.array([int(item) % 2 for item in histories.items], np.int16)
    return training_data(replace(histories, event_types=types, event_type_names=["click", "buy"]))


@pytest.fixture(scope="module")
def of_favourites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as monkeypatch:
        planned(monkeypatch, epochs=4, hidden=32, streams=8, bptt=8)
        return train(tmp_path_factory.mktemp("favourites"), fond(), RECIPE, retrain_on_all_users=True)[1]


def form(artifact: Path) -> dict[str, Any]:
    described: dict[str, Any] = orjson.loads((artifact / "model.json").read_bytes())["form"]
    return described


@pytest.mark.usefixtures("updates")
def test_what_is_known_of_taking_again_is_handed_on(of_favourites: Path) -> None:
    """With the range that it was learnt of, and all times that were learnt; items have other numbers."""
    histories = fond(more=True).histories
    assert form(of_favourites)["repeats"]
    base = WarmStart.open(of_favourites)
    going_on = learner(training_data(replace(histories, event_type_names=["buy", "click", "look"])), base)
    served, before_it = going_on.build_served_network().state_dict(), load_file(of_favourites / WEIGHTS)
    ids = base.histories.item_ids
    now = [histories.item_ids.index(item_id) for item_id in ids]
    new = np.setdiff1d(np.arange(len(histories.item_ids)), now)
    assert len(new)
    names = {name for name in before_it if name.startswith("again.")}
    assert names == {name for name in served if name.startswith("again.")}
    for name in names - {"again.bias.weight", "again.of_type.weight"}:
        torch.testing.assert_close(served[name], before_it[name], msg=name)
    assert (served["again.least"] > -1e6).all()
    assert (served["again.most"] < 1e6).all()
    torch.testing.assert_close(served["again.bias.weight"][now], before_it["again.bias.weight"])
    assert (served["again.bias.weight"][new] == 0).all()
    torch.testing.assert_close(served["again.of_type.weight"][[0, 2, 1]], before_it["again.of_type.weight"])
    assert (served["again.of_type.weight"][3] == 0).all()
    for name in ("scale.weight", "shift.weight", "gap.weight"):
        torch.testing.assert_close(served[name], before_it[name])
    assert going_on.network.config.longest == form(of_favourites)["longest"] < 1e9
    assert going_on.network.config.instead == form(of_favourites)["instead"] > 0


@pytest.mark.usefixtures("updates")
def test_without_new_events_it_leans_on_what_was_counted_as_before(tmp_path: Path, of_favourites: Path) -> None:
    _, artifact = train(tmp_path, fond(), RECIPE, base=of_favourites)
    assert form(artifact) == form(of_favourites)
    assert form(artifact)["leaning"] != list(BlendWeights().values)
    one, other = (
        {path.name: path.read_bytes() for path in (each / COUNTERS).iterdir()} for each in (artifact, of_favourites)
    )
    assert one == other
    now, before_it = Scorer.load(artifact), Scorer.load(of_favourites)
    for user in ("u000", "u077"):
        history = before_it.history(user)
        for later in (60, 7000, 10**9):
            query = Query(now=history[-1].timestamp + later, user_id=user, history=history)
            np.testing.assert_allclose(now.scores(query), before_it.scores(query), atol=1e-5)


@pytest.mark.usefixtures("updates")
def test_what_is_new_is_counted_too_and_the_weights_stay(tmp_path: Path, of_favourites: Path) -> None:
    data = fond(more=True)
    updated, artifact = train(tmp_path, data, RECIPE, base=of_favourites, retrain_on_all_users=True)
    assert updated.epochs == 2 * RETRAINING_EPOCHS
    for name in ("leaning", "longest", "instead", "repeats"):
        assert form(artifact)[name] == form(of_favourites)[name], name
    expected = Counters.count_events(data.histories, np.arange(len(data.histories.user_ids)))
    found = Counters.open(artifact / COUNTERS)
    np.testing.assert_array_equal(found.last.weights, expected.last.weights)
    np.testing.assert_array_equal(found.prior_I, expected.prior_I)
    scorer = Scorer.load(artifact)
    history = [Past(f"i{n}", 4e6 + 60 * n, "click") for n in (34, 35, 34)]
    scores = scorer.scores(Query(now=4e6 + 9000.0, history=history))
    assert scores.sum() == pytest.approx(1.0, abs=1e-5)
    assert (scores > 0).all()
    assert scores[scorer.item_ids.index("i34")] > 3 / len(scores)


@pytest.mark.usefixtures("updates")
def test_what_nobody_took_again_is_not_answered_after_an_update_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until a version is trained in full: who takes what again was never learnt, and the news tell too little of it."""
    planned(monkeypatch, epochs=1, hidden=32, streams=8, bptt=8)
    base = train(tmp_path / "base", training_data(histories_of(before())), RECIPE)[1]
    assert not form(base)["repeats"]
    rng = np.random.default_rng(1)
    again = {
        user: events + favourites(rng, user_at % 30, 30, NOW) for user_at, (user, events) in enumerate(before().items())
    }
    _, artifact = train(tmp_path, training_data(histories_of(again)), RECIPE, base=base)
    assert not form(artifact)["repeats"]
    scorer = Scorer.load(artifact)
    scores = scorer.scores(Query(now=4e6, history=[Past("i03", 3e6), Past("i07", 3e6 + 60)]))
    assert scores[[3, 7]].tolist() == [0.0, 0.0]
    assert scores.sum() == pytest.approx(1.0, abs=1e-5)
    in_full = train(tmp_path / "full", training_data(histories_of(again)), RECIPE)[1]
    assert form(in_full)["repeats"]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.usefixtures("updates")
def test_the_cell_and_the_parameters_are_those_of_the_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cell: str
) -> None:
    """Whatever the operator has chosen since then."""
    planned(monkeypatch, epochs=1)
    data = training_data(histories_of(before()))
    _, base = train(tmp_path / "base", data, RECIPE, cell=cell, parameters={"recency_mask": "false"})
    other = next(each for each in CELLS if each != cell)
    _, artifact = train(tmp_path, training_data(histories_of(after())), RECIPE, base=base, cell=other)
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
