"""Training from histories to a model that serves: quality, stops, resumptions, sameness, bad input."""

from __future__ import annotations

import csv
import dataclasses
import functools
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import orjson
import pytest
import torch
from safetensors.torch import load_file

from shared.data.arrays.histories import Histories, TooLittleData, select_trained_users
from shared.data.training import training_data as preparing
from shared.data.training.training_data import DatasetFiles, TrainingData, TrainingSources
from shared.recipes import RECIPES
from shared.recipes.artifact import WEIGHTS
from shared.recipes.evaluation import Split
from shared.recipes.hrnn import candidates, training
from shared.recipes.hrnn import trainer as learning
from shared.recipes.hrnn.batch_ranking import predict_next_item
from shared.recipes.hrnn.counters import COUNTERS, NAMES, BlendWeights, Counters
from shared.recipes.hrnn.lightning_module import HrnnModule
from shared.recipes.hrnn.plan import RETRAINING_EPOCHS
from shared.recipes.hrnn.scoring import Scorer
from shared.recipes.hrnn.trainer import HrnnTrainer, compute_event_weights
from shared.recipes.hrnn.training import Measurement, compute_fingerprint, evaluate_trainer
from shared.recipes.scoring_api import Past, Query
from shared.recipes.training_api import Trained, TrainingProgress, TrainingStopped
from tests.recipes.networks import CELLS, took
from tests.recipes.runs import HRNN, MRR, NDCG, make_context, make_task, planned, settings, train
from tests.recipes.synthetic import histories_of, training_data, walks

DAY = 86_400

Run = tuple[Trained, Path]


def noise(users: int = 160, length: int = 8, items: int = 40) -> Histories:
    """Some items are popular, and nothing else can be learnt but by heart; enough users that some validate."""
    rng = np.random.default_rng(0)
    popularity = 1 / np.arange(1, items + 1)
    drawn = rng.choice(items, (users, length), p=popularity / popularity.sum())
    return took([[(int(item), 10 * t) for t, item in enumerate(of_user)] for of_user in drawn], items)


def weights(artifact: Path) -> dict[str, torch.Tensor]:
    return load_file(artifact / WEIGHTS)


def form(artifact: Path) -> dict[str, Any]:
    described: dict[str, Any] = orjson.loads((artifact / "model.json").read_bytes())["form"]
    return described


def assert_equal(one: Path, other: Path) -> None:
    """Bit by bit: the weights, what was counted, and the weights of the blend."""
    expected = weights(other)
    assert weights(one).keys() == expected.keys()
    for name, tensor in weights(one).items():
        assert torch.equal(tensor, expected[name]), name
    assert form(one) == form(other)
    counted, as_counted = (
        {path.name: path.read_bytes() for path in (each / COUNTERS).glob("*")} for each in (one, other)
    )
    assert counted == as_counted
    assert bool(counted) == bool(form(one)["leaning"])


# What is learnt


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


# Sameness, stops and resumptions


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the course of a run matters and its quality does not: 3 epochs of 7 windows, and 2 of 8."""
    planned(monkeypatch, epochs=3, streams=16, bptt=8)


def stopping_after(calls: int) -> Callable[[], bool]:
    asked = iter(range(10**9))
    return lambda: next(asked) >= calls


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("cell", CELLS)
def test_the_same_seed_gives_the_same_run(tmp_path: Path, cell: str) -> None:
    data = walks(users=60, events=8)
    one, first = train(tmp_path / "one", data, seed=3, cell=cell)
    two, second = train(tmp_path / "two", data, seed=3, cell=cell)
    _, third = train(tmp_path / "three", data, seed=4, cell=cell)
    assert one.metrics == two.metrics
    assert (first / WEIGHTS).read_bytes() == (second / WEIGHTS).read_bytes()
    assert (first / WEIGHTS).read_bytes() != (third / WEIGHTS).read_bytes()


@dataclasses.dataclass
class Counted:
    """How often a run asks whether to stop, and how many steps it takes."""

    calls: int = 0
    steps: int = 0

    def should_stop(self) -> bool:
        self.calls += 1
        return False


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    count = Counted()
    training_step = HrnnModule.training_step

    def step(fitting: HrnnModule, *args: Any) -> Any:
        count.steps += 1
        return training_step(fitting, *args)

    monkeypatch.setattr(HrnnModule, "training_step", step)
    return count


def assert_taken_up_wherever_it_is_cut(
    folder: Path, data: Histories, counted: Counted, cuts: int, *, seconds: float, **options: Any
) -> None:
    options |= {"checkpoint_seconds": seconds, "retrain_on_all_users": True}
    whole, expected = train(folder / "whole", data, should_stop=counted.should_stop, **options)
    steps, calls = counted.steps, counted.calls
    for calls_before in np.linspace(3, calls - 2, cuts).astype(int).tolist():
        counted.steps = 0
        cut = folder / f"cut{calls_before}"
        with pytest.raises(TrainingStopped):
            train(cut, data, should_stop=stopping_after(calls_before), **options)
        again, found = train(cut, data, **options)
        assert again.metrics == whole.metrics, calls_before
        assert again.epochs == whole.epochs, calls_before
        assert_equal(found, expected)
        if seconds == 0:  # none was left out, and no step was done twice but the last of an epoch not yet validated
            assert counted.steps - steps in (0, 1), calls_before


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(("cell", "cuts"), [("linear", 8), ("gru", 2)])
def test_a_run_cut_off_anywhere_and_taken_up_again_ends_as_one_that_was_not(
    tmp_path: Path, counted: Counted, cell: str, cuts: int
) -> None:
    """With a checkpoint after each step: cut in each epoch, while validating, while evaluating, while retraining."""
    data = walks(users=120, events=8, items=20)
    assert_taken_up_wherever_it_is_cut(tmp_path, data, counted, cuts, seconds=0, cell=cell)


@pytest.mark.usefixtures("short")
def test_a_run_cut_off_between_its_checkpoints_too(tmp_path: Path, counted: Counted) -> None:
    data = walks(users=120, events=8, items=20)
    assert_taken_up_wherever_it_is_cut(tmp_path, data, counted, 4, seconds=3600)


@pytest.mark.usefixtures("short")
def test_a_run_cut_off_after_the_last_step_of_an_epoch_too(
    tmp_path: Path, counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a machine fails while the validation users are looked at."""
    data = walks(users=120, events=8, items=20)
    options = {"checkpoint_seconds": 0}
    _, expected = train(tmp_path / "whole", data, **options)
    steps = counted.steps
    counted.steps = 0
    validations = iter((False, True))

    def fails(*args: Any, **more: Any) -> Any:
        if next(validations):
            raise TrainingStopped
        return predict_next_item(*args, **more)

    with monkeypatch.context() as patched:
        patched.setattr(learning, "predict_next_item", fails)
        with pytest.raises(TrainingStopped):
            train(tmp_path / "cut", data, **options)
    assert counted.steps == steps * 2 / 3
    _, found = train(tmp_path / "cut", data, **options)
    assert_equal(found, expected)


@pytest.mark.parametrize("phase", ["evaluating", "retraining"])
def test_a_training_that_was_over_is_not_taken_up_again(
    tmp_path: Path, counted: Counted, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    """Where validation has ended it before its last epoch."""
    planned(monkeypatch, epochs=20, streams=16, bptt=8, learning_rate=0.02)
    whole, expected = train(tmp_path / "whole", noise(), retrain_on_all_users=True)
    steps = counted.steps
    counted.steps = 0
    told: list[str] = []
    with pytest.raises(TrainingStopped):
        train(
            tmp_path / "cut",
            noise(),
            should_stop=lambda: phase in told,
            progress=lambda progress: told.append(progress.phase),
            retrain_on_all_users=True,
        )
    again, found = train(tmp_path / "cut", noise(), retrain_on_all_users=True)
    assert again.epochs == whole.epochs
    assert_equal(found, expected)
    assert counted.steps - steps in (0, 1)  # told of a second too late, a step of the retraining may be done


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("name", ["aws-hrnn-metadata", "aws-user-personalization"])
def test_a_run_with_metadata_too(name: str, tmp_path: Path, counted: Counted) -> None:
    """Items that were cold in the first fit, and are none in the retraining, are the same after a cut."""
    recipe, histories = RECIPES[name], walks(users=120, events=8, items=20)
    data = training_data(
        histories,
        items=[{"GENRE": "abcde"[item % 5]} for item in range(20)],
        users=[{"AGE": float(user % 7)} for user in range(120)],
        contexts=[{"DEVICE": "xyz"[event % 3]} for event in range(len(histories.items))],
    )
    options = {"checkpoint_seconds": 0, "retrain_on_all_users": True}
    _, expected = train(tmp_path / "whole", data, recipe, should_stop=counted.should_stop, **options)
    for calls_before in (counted.calls // 3, counted.calls - 3):
        cut = tmp_path / f"cut{calls_before}"
        with pytest.raises(TrainingStopped):
            train(cut, data, recipe, should_stop=stopping_after(calls_before), **options)
        _, found = train(cut, data, recipe, **options)
        assert_equal(found, expected)


@pytest.mark.usefixtures("short")
def test_a_checkpoint_of_another_run_is_not_taken_up(tmp_path: Path) -> None:
    data = walks(users=40, events=8)
    train(tmp_path / "shared", data)
    others: list[tuple[Histories, dict[str, Any]]] = [
        (walks(users=40, events=8, seed=2), {}),
        (data, {"parameters": {"recency_mask": "false"}}),
        (data, {"cell": "gru"}),
        (data, {"seed": 1}),
    ]
    for number, (other, options) in enumerate(others):
        _, after = train(tmp_path / "shared", other, **options)
        _, alone = train(tmp_path / f"alone{number}", other, **options)
        assert_equal(after, alone)


def test_a_run_is_named_by_all_that_makes_it_what_it_is() -> None:
    def named(histories: Histories | None = None, **changes: Any) -> str:
        asked: dict[str, Any] = {"recipe": HRNN, "parameters": settings(), "context": make_context()} | changes
        return compute_fingerprint(training_data(histories or walks()), **asked)

    names = {
        "itself": named(),
        "items": named(walks(items=49)),
        "times": named(replace(walks(), timestamps=walks().timestamps + 1)),
        "types": named(replace(walks(), event_types=walks().event_types + np.int16(1), event_type_names=["click"])),
        "percentiles": named(replace(walks(), in_training=np.arange(60) > 0)),
        "parameters": named(parameters=settings(bptt="8")),
        "cell": named(context=make_context(cell="gru")),
        "seed": named(context=make_context(seed=1)),
        "recipe": named(recipe=RECIPES["aws-hrnn-metadata"]),
    }
    assert len(set(names.values())) == len(names), names
    assert named() == named(context=make_context(checkpoint_seconds=1.0, logger="csv"))


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("phase", ["training", "evaluating", "retraining"])
def test_it_stops_at_once_when_asked_to(tmp_path: Path, phase: str) -> None:
    asked_at: list[float] = []

    def told(progress: TrainingProgress) -> None:
        if progress.phase == phase and not asked_at:
            asked_at.append(time.monotonic())

    with pytest.raises(TrainingStopped):
        train(
            tmp_path,
            walks(users=40),
            progress=told,
            should_stop=lambda: bool(asked_at),
            retrain_on_all_users=True,
        )
    assert time.monotonic() - asked_at[0] < 2.0
    assert not (tmp_path / "artifact0" / "model.json").exists()


@pytest.mark.parametrize(("module", "name"), [(Counters, "count_events"), (learning, "fit_blend")])
def test_it_stops_at_once_while_it_counts_and_looks_how_far_to_lean_on_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, name: str
) -> None:
    planned(monkeypatch, epochs=1)
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, 15_000, (400, 40)).tolist()
    data = took([[(item, 10 * t) for t, item in enumerate(of_user)] for of_user in drawn], 15_000)
    asked_at: list[float] = []
    plain = getattr(module, name)

    def told(*args: Any, **more: Any) -> Any:
        asked_at.append(time.monotonic())
        return plain(*args, **more)

    monkeypatch.setattr(module, name, told)
    with pytest.raises(TrainingStopped):
        train(tmp_path, data, should_stop=lambda: bool(asked_at) and time.monotonic() > asked_at[0] + 0.05)
    assert len(asked_at) == 1
    assert time.monotonic() - asked_at[0] < 2.0
    assert not (tmp_path / "artifact0" / "model.json").exists()


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
    assert len(form(artifact)["leaning"]) == len(BlendWeights().values)
    assert form(artifact)["leaning"] != list(BlendWeights().values)
    _, alone = train(tmp_path / "few", walks(users=40, events=8))
    assert form(alone)["leaning"] == []
    assert not (alone / COUNTERS).exists()


def test_it_stops_before_it_has_begun(tmp_path: Path) -> None:
    with pytest.raises(TrainingStopped):
        train(tmp_path, walks(), should_stop=lambda: True)


def test_every_second_somebody_asks_whether_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large catalogue, whose steps are slow, once the kernels of a CPU are compiled."""
    planned(monkeypatch, epochs=1)
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, 15_000, (110, 12)).tolist()
    sequences = [[(item, 10 * t) for t, item in enumerate(of_user)] for of_user in drawn]
    train(tmp_path, took(sequences[:40], 15_000))
    asked_at = [time.process_time()]

    def should_stop() -> bool:
        asked_at.append(time.process_time())
        return False

    train(tmp_path, took(sequences, 15_000), should_stop=should_stop)
    assert np.diff(asked_at).max() < 1.0


# When it ends


def learner_of(histories: Histories, **options: Any) -> tuple[HrnnTrainer, Split]:
    split = Split.draw(histories, 0)
    events = int(histories.lengths[split.train].sum())
    return HrnnTrainer(make_task(training_data(histories), HRNN, settings(), make_context(**options)), events), split


@pytest.mark.parametrize(("precision", "fast"), [("auto", True), ("32-true", False), ("bf16-mixed", True)])
def test_whoever_asks_for_float32_gets_nothing_else(
    monkeypatch: pytest.MonkeyPatch, precision: str, fast: bool
) -> None:
    monkeypatch.setattr(learning, "has_bfloat16_units", lambda _: True)
    learner, _ = learner_of(walks(), precision=precision)
    assert learner.network.fast == fast


def test_it_takes_the_weights_of_the_best_epoch_and_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to learn but the training users by heart: the validation users are predicted worse and worse."""
    planned(monkeypatch, epochs=40, streams=16, bptt=8, learning_rate=0.02)
    learner, _ = learner_of(noise(), logger="csv")
    users, validation = np.arange(60), np.arange(60, 160)
    epochs = learner.fit(users, validation, tmp_path / "training.ckpt", tmp_path / "logs")
    with (tmp_path / "logs" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    gains = [float(row["validation_gain"]) for row in rows]
    assert epochs == 1 + int(np.argmax(gains))
    assert epochs < len(gains) < 40
    losses = [float(row["training_loss"]) for row in rows]
    assert losses[-1] < losses[0]
    gain = predict_next_item(learner.network.fold_features(), learner.streams, validation, lambda: None).ndcg
    assert gain == pytest.approx(gains[epochs - 1], abs=1e-6)
    assert gain > gains[-1]
    leaning = predict_next_item(
        learner.build_served_network(), learner.streams, validation, lambda: None, blend=learner.blend
    ).ndcg
    assert leaning > gain


def test_validation_leaves_the_training_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout goes on after it."""
    planned(monkeypatch, epochs=2, streams=16, bptt=8)
    modes: list[bool] = []
    training_step = HrnnModule.training_step

    def step(fitting: HrnnModule, *args: Any) -> Any:
        modes.append(fitting.network.training)
        return training_step(fitting, *args)

    monkeypatch.setattr(HrnnModule, "training_step", step)
    learner, split = learner_of(walks(users=120, events=8))
    learner.fit(split.train, split.validation, tmp_path / "training.ckpt")
    assert len(modes) > 2
    assert all(modes)


def test_without_validation_users_all_epochs_are_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned(monkeypatch, epochs=6)
    result, _ = train(tmp_path, noise(users=30))
    assert result.epochs == 6


@pytest.mark.usefixtures("short")
def test_retraining_on_all_users_can_be_left_out_and_changes_no_metric(tmp_path: Path) -> None:
    data = walks(users=60, events=8)
    told: list[TrainingProgress] = []
    without, kept = train(tmp_path / "without", data, progress=told.append)
    retrained, more = train(tmp_path / "with", data, retrain_on_all_users=True)
    assert "retraining" not in {p.phase for p in told}
    assert without.metrics == retrained.metrics
    assert retrained.epochs == without.epochs + RETRAINING_EPOCHS
    assert not torch.equal(weights(kept)["item.weight"], weights(more)["item.weight"])


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


@pytest.mark.usefixtures("short")
def test_the_network_is_compiled_where_it_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[torch.nn.Module] = []

    def compile_(module: torch.nn.Module, **_: Any) -> torch.nn.Module:
        compiled.append(module)
        return module

    monkeypatch.setattr(torch, "compile", compile_)
    train(tmp_path / "plain", walks(users=30, events=8))
    assert not compiled
    train(tmp_path / "compiled", walks(users=30, events=8), compile=True)
    assert len(compiled) == 1


@pytest.mark.usefixtures("short")
def test_a_checkpoint_is_taken_up_whether_compiled_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the operator changes the setting between two attempts."""
    kept: list[set[str]] = []
    saved = HrnnModule.on_save_checkpoint

    def save(fitting: HrnnModule, checkpoint: dict[str, Any]) -> None:
        kept.append(set(checkpoint["state_dict"]))
        saved(fitting, checkpoint)

    class Wrapped(torch.nn.Module):
        """As torch.compile's: the network under a name of its own."""

        def __init__(self, module: torch.nn.Module) -> None:
            super().__init__()
            self._orig_mod = module

        def __getattr__(self, name: str) -> Any:
            return getattr(super().__getattr__("_orig_mod"), name) if name != "_orig_mod" else super().__getattr__(name)

        def forward(self, *args: Any) -> Any:
            return self._orig_mod(*args)

    monkeypatch.setattr(HrnnModule, "on_save_checkpoint", save)
    monkeypatch.setattr(torch, "compile", lambda module, **_: Wrapped(module))
    for compiled in (False, True):
        train(tmp_path / str(compiled), walks(users=30, events=8), compile=compiled)
    assert all(names == kept[0] for names in kept)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("cell", CELLS)
def test_it_trains_in_half_precision(tmp_path: Path, cell: str) -> None:
    result, artifact = train(tmp_path, walks(users=60, events=8), precision="bf16-mixed", cell=cell)
    assert all(math.isfinite(value) for value in result.metrics.values())
    assert {tensor.dtype for tensor in weights(artifact).values()} == {torch.float32}
    assert all(tensor.isfinite().all() for tensor in weights(artifact).values())


@pytest.mark.parametrize("bptt", ["2", "7", "40"])
def test_any_bptt_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bptt: str) -> None:
    planned(monkeypatch, epochs=2)
    result, _ = train(tmp_path, walks(users=30, events=5), parameters={"bptt": bptt})
    assert result.epochs == 2


# What counts, and whom


def test_with_recency_mask_newer_events_count_more() -> None:
    data = walks()
    of = compute_event_weights(data, recency_mask=True)
    order = np.argsort(data.timestamps, kind="stable")
    assert (np.diff(of[order]) >= 0).all()
    assert of[order][-1] > 1.5 * of[order][0]
    assert of.mean() == pytest.approx(1.0, abs=1e-5)
    assert (compute_event_weights(data, recency_mask=False) == 1.0).all()


def test_a_long_pause_in_the_data_changes_no_weight() -> None:
    data = walks()
    middle = np.median(data.timestamps)
    later = replace(data, timestamps=data.timestamps + 900 * DAY * (data.timestamps > middle))
    np.testing.assert_allclose(
        compute_event_weights(later, recency_mask=True), compute_event_weights(data, recency_mask=True), atol=0.02
    )


def test_users_outside_the_percentiles_do_not_count() -> None:
    data = replace(walks(), in_training=np.arange(60) % 4 > 0)
    for recency_mask in (True, False):
        of = compute_event_weights(data, recency_mask=recency_mask).reshape(60, -1)
        assert (of[::4] == 0).all()
        assert (of[1] > 0).all()
        assert of[of > 0].mean() == pytest.approx(1.0, abs=1e-5)


def test_one_moment_for_all_events_is_no_reason_to_fail() -> None:
    data = histories_of({"a": [("x", 5), ("y", 5)], "b": [("x", 5)]})
    assert compute_event_weights(data, recency_mask=True).tolist() == [1.0, 1.0, 1.0]


def test_where_tastes_drift_recency_mask_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everyone takes an item and then what goes with it; what goes with it changed a little after half of the time.

    To the network alone: what was counted lately tells some of it without any mask.
    """
    planned(monkeypatch, epochs=8, streams=16, bptt=8)
    monkeypatch.setattr(HrnnTrainer, "_fit_blend", lambda *_: None)
    rng = np.random.default_rng(0)
    items, before, after = 20, rng.permutation(20), rng.permutation(20)
    sequences = []
    for day in np.sort(rng.uniform(0, 1, 700)):
        at, item = int(day * 400 * DAY), int(rng.integers(items))
        sequences.append([(item, at), (int((before if day < 0.55 else after)[item]), at + 60)])
    shares = {}
    for mask in ("true", "false"):
        _, artifact = train(tmp_path / mask, took(sequences, items), parameters={"recency_mask": mask})
        scorer = Scorer.load(artifact)
        asked = [
            scorer.scores(Query(user_id="nobody", history=[Past(scorer.item_ids[item], 0.0)], now=60.0))
            for item in range(items)
        ]
        newer = [scores[after[item]] > scores[before[item]] for item, scores in enumerate(asked)]
        shares[mask] = float(np.mean([one for item, one in enumerate(newer) if before[item] != after[item]]))
    assert shares["true"] > shares["false"] + 0.2, shares


def test_a_robot_is_dropped_by_the_longest_percentile_and_still_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned(monkeypatch, epochs=4)
    sequences = {f"u{n:03}": [(f"i{(n + step) % 40:02}", 60 * step) for step in range(20)] for n in range(120)}
    sequences["robot"] = [("spam", second) for second in range(3000)]
    histories = histories_of(sequences)
    robot = histories.user_ids.index("robot")
    inside = select_trained_users(histories.lengths, min_percentile=0.0, max_percentile=0.99, event_type=None)
    assert np.flatnonzero(~inside).tolist() == [robot]
    for seed in range(20):
        split = Split.draw(replace(histories, in_training=inside), seed)
        assert robot not in [*split.train, *split.validation, *split.test]
    _, artifact = train(tmp_path, replace(histories, in_training=inside), retrain_on_all_users=True)
    scorer = Scorer.load(artifact)
    assert len(scorer.history("robot")) == 3000
    spam = scorer.item_ids.index("spam")
    scores = scorer.scores(Query(user_id="u001", history=scorer.history("u001"), now=2000.0))
    new_I = np.setdiff1d(np.arange(41), [scorer.item_ids.index(one.item_id) for one in scorer.history("u001")])
    assert scores[spam] < 1.25 * np.median(scores[new_I])  # nothing is known of it
    assert scores[spam] < 0.01
    assert scores.argmax() == scorer.item_ids.index("i21")
    assert not form(artifact)["repeats"]  # of all events, more than half are the robot's
    assert scorer.scores(Query(user_id="nobody", now=0.0))[spam] == 0.0


# Bad input


def one_user_with_two() -> Histories:
    sequences = {f"u{n:03}": [(f"i{n % 7}", n)] for n in range(60)}
    return histories_of(sequences | {"a": [("i1", 1), ("i2", 2)], "b": [("i2", 1), ("i3", 2)]})


def at(timestamps: Callable[[int, int], int]) -> Histories:
    return histories_of(
        {f"u{n}": [(f"i{(n + step) % 9}", timestamps(n, step)) for step in range(8)] for n in range(30)}
    )


BAD: dict[str, Callable[[], Histories]] = {
    "one event for nearly everyone": one_user_with_two,
    "all at one timestamp": lambda: at(lambda n, step: 1_600_000_000),
    "in the future": lambda: at(lambda n, step: 4_000_000_000 + 3600 * step),
    "in milliseconds": lambda: at(lambda n, step: 1_600_000_000_000 + 3_600_000 * step),
    "seconds and milliseconds mixed": lambda: at(lambda n, step: 1_600_000_000 * (1000 if step > 4 else 1)),
    "before the epoch": lambda: at(lambda n, step: -1_000_000 + step),
    "one item only": lambda: histories_of({f"u{n}": [("x", step) for step in range(6)] for n in range(30)}),
    "ten of a hundred thousand items": lambda: replace(
        at(lambda n, step: step), item_ids=[f"i{number:06}" for number in range(100_000)]
    ),
}


@pytest.mark.parametrize("histories", BAD.values(), ids=BAD.keys())
def test_bad_input_is_trained_on(histories: Callable[[], Histories], tmp_path: Path, monkeypatch: Any) -> None:
    planned(monkeypatch, epochs=2)
    told: list[TrainingProgress] = []
    data = histories()
    result, artifact = train(tmp_path, data, progress=told.append, retrain_on_all_users=True)
    assert all(math.isfinite(value) for value in result.metrics.values())
    assert all(p.loss is None or math.isfinite(p.loss) for p in told)
    assert told[-1].loss is not None
    assert all(tensor.isfinite().all() for tensor in weights(artifact).values())
    scorer = Scorer.load(artifact)
    user = data.user_ids[0]
    assert np.isfinite(scorer.scores(Query(user_id=user, history=scorer.history(user), now=1_600_000_000.0))).all()


def test_one_event_for_everyone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TooLittleData, match="Fewer than 2 users"):
        train(tmp_path, histories_of({f"u{n}": [("x", n)] for n in range(50)}))


def test_a_history_of_a_hundred_thousand_events_is_trained_on_in_bounded_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned(monkeypatch, epochs=1)
    rng = np.random.default_rng(0)
    walk = (np.cumsum(rng.integers(1, 3, 100_000)) % 40).tolist()
    sequences = [[(item, 60 * step) for step, item in enumerate(walk)]]
    sequences += [[((n + step) % 40, 60 * step) for step in range(10)] for n in range(30)]
    began = time.process_time()
    result, artifact = train(tmp_path, took(sequences, 40))
    assert time.process_time() - began < 30.0
    assert all(math.isfinite(value) for value in result.metrics.values())
    scorer = Scorer.load(artifact)
    history = scorer.history("u0000")
    began = time.process_time()
    scores = scorer.scores(Query(user_id="u0000", history=history, now=history[-1].timestamp + 60))
    assert time.process_time() - began < 2.0
    assert np.isfinite(scores).all()


# The whole of it


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


def test_validation_users_whose_events_do_not_count_end_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where nobody among them took any action."""
    planned(monkeypatch, epochs=5)
    histories = walks(users=20, events=6)
    counts = np.ones(len(histories.items), np.float32)
    counts[: histories.offsets[5]] = 0.0
    data = replace(training_data(histories), event_weights=counts)
    learner = HrnnTrainer(make_task(data, HRNN, settings()), len(counts))
    assert learner.fit(np.arange(5, 20), np.arange(5), tmp_path / "training.ckpt") == 5
