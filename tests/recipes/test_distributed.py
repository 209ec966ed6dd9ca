"""Training in several processes: what one process would learn, said and written by rank zero alone, and no rank left
behind. On CPUs, by gloo.

Dropout is off, so that the same is learnt but for the order in which floats are added up.
"""

from __future__ import annotations

import functools
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import torch
from safetensors.torch import load_file

from shared.jobs.entrypoint import WorkFailed
from shared.recipes import RECIPES
from shared.recipes.artifact import WEIGHTS
from shared.recipes.hrnn import trainer as learning
from shared.recipes.hrnn.distributed import launcher, state_transfer
from shared.recipes.hrnn.lightning_module import EpochWindows, HrnnModule, compute_window_loss, seed_torch
from shared.recipes.hrnn.network import HrnnNetwork
from shared.recipes.hrnn.plan import TrainingPlan
from shared.recipes.hrnn.rank import Rank
from shared.recipes.hrnn.scoring import Scorer
from shared.recipes.hrnn.trainer import HrnnTrainer
from shared.recipes.scoring_api import Past, Query
from shared.recipes.training_api import Trained, TrainingProgress, TrainingStopped
from tests.recipes.runs import NDCG, make_context, make_task, planned, settings, train
from tests.recipes.synthetic import training_data, walks

DATA = walks(users=160, events=16)

EXACT = {"precision": "32-true"}

Run = tuple[Trained, Path, list[TrainingProgress]]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared(monkeypatch)


def prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    """3 epochs of 17 steps, without dropout."""
    planned(monkeypatch, epochs=3, streams=16, bptt=8)
    monkeypatch.setattr(learning, "HrnnNetwork", functools.partial(HrnnNetwork, dropout=0.0))


LEFT, LEARNT = HrnnTrainer.build_final_network, "learnt.pt"


def left_also(learner: HrnnTrainer, path: Path) -> HrnnNetwork:
    """Leaves behind what was learnt, too."""
    torch.save(learner.network.state_dict(), path)
    return LEFT(learner)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Run]:
    """By how many processes."""
    found = {}
    with pytest.MonkeyPatch.context() as patched:
        prepared(patched)
        for processes in (1, 2):
            told: list[TrainingProgress] = []
            folder = tmp_path_factory.mktemp(f"in{processes}")
            patched.setattr(HrnnTrainer, "build_final_network", functools.partialmethod(left_also, folder / LEARNT))
            found[processes] = (
                *train(folder, DATA, progress=told.append, strategy="ddp", devices=processes, **EXACT),
                told,
            )
    return found


@pytest.fixture(scope="module")
def learnt(runs: dict[int, Run]) -> dict[int, dict[str, torch.Tensor]]:
    """What was learnt in each of the runs, before it was given the weights of a blend."""
    return {processes: torch.load(artifact.parent / LEARNT) for processes, (_, artifact, _) in runs.items()}


def weights(artifact: Path) -> dict[str, torch.Tensor]:
    return load_file(artifact / WEIGHTS)


def assert_alike(one: Path, other: Path, tolerance: float) -> None:
    assert_all_alike(weights(one), weights(other), tolerance)


def assert_all_alike(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name], atol=tolerance, rtol=0.0, msg=name)


# What is learnt


def test_two_processes_learn_what_one_does(runs: dict[int, Run], learnt: dict[int, dict[str, torch.Tensor]]) -> None:
    """Floats that are added up in another order are all the difference: 0.001 of a weight, 0.01 of a metric.

    What is served has these weights many times, as a blend tells, whose search goes in steps.
    """
    (alone, of_one, _), (together, of_two, _) = runs[1], runs[2]
    assert together.epochs == alone.epochs
    assert together.metrics == pytest.approx(alone.metrics, abs=0.01)
    assert together.metrics[NDCG] > 1.5 * together.baseline[NDCG]
    assert_all_alike(learnt[2], learnt[1], 1e-3)
    assert weights(of_two).keys() == weights(of_one).keys()


def test_rank_zero_alone_says_how_far_it_is(runs: dict[int, Run]) -> None:
    (_, _, alone), (_, _, together) = runs[1], runs[2]
    ended = [(p.phase, p.epoch) for p in alone if p.ndcg is not None]
    assert [(p.phase, p.epoch) for p in together if p.ndcg is not None] == ended
    assert len(ended) == 3
    assert [p.ndcg for p in together if p.ndcg] == pytest.approx([p.ndcg for p in alone if p.ndcg], abs=0.01)


def test_the_model_is_written_once_and_serves(runs: dict[int, Run]) -> None:
    result, artifact, _ = runs[2]
    assert sorted(file.name for file in artifact.iterdir()) == sorted(file.name for file in runs[1][1].iterdir())
    assert orjson.loads((artifact / "model.json").read_bytes())["metrics"] == result.metrics
    left = [file.suffix for file in (artifact.parent / "workspace").rglob("*") if file.is_file()]
    assert left == [".ckpt"]
    asked = Query(user_id="new", history=[Past("i03", 1e6), Past("i04", 1e6 + 900)], now=1e6 + 1800)
    assert Scorer.load(artifact).scores(asked).argmax() == 5


# Ends


class Seen(launcher.RankProcesses):
    """Ranks that a test may kill."""

    last: Seen | None = None

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        Seen.last = self


def processes() -> list[subprocess.Popen[bytes]]:
    assert Seen.last is not None
    return list(Seen.last._processes.values())


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "RankProcesses", Seen)
    monkeypatch.setattr(Seen, "last", None)


@pytest.mark.usefixtures("seen")
def test_a_rank_that_dies_fails_the_work_with_a_reason(tmp_path: Path) -> None:
    killed_at: list[float] = []

    def kill(made: TrainingProgress) -> None:
        if made.ndcg is not None and not killed_at:
            killed_at.append(time.monotonic())
            processes()[0].kill()

    with pytest.raises(WorkFailed, match="Process 1 of the 2 that trained together died: signal SIGKILL"):
        train(tmp_path, DATA, progress=kill, strategy="ddp", devices=2, **EXACT)
    assert time.monotonic() - killed_at[0] < 5.0
    assert not torch.distributed.is_initialized()
    assert not list(tmp_path.rglob("model.json"))


@pytest.mark.usefixtures("seen")
def test_it_stops_when_asked_to_and_goes_on_from_there(tmp_path: Path, runs: dict[int, Run]) -> None:
    asked_at: list[float] = []

    def should_stop() -> bool:
        if not asked_at and list(tmp_path.rglob("training.ckpt")):
            asked_at.append(time.monotonic())
        return bool(asked_at)

    with pytest.raises(TrainingStopped):
        train(tmp_path, DATA, should_stop=should_stop, strategy="ddp", devices=2, checkpoint_seconds=0, **EXACT)
    assert time.monotonic() - asked_at[0] < 5.0
    assert all(process.poll() is not None for process in processes())
    (checkpoint,) = tmp_path.rglob("training.ckpt")
    kept = torch.load(checkpoint, weights_only=True)["fitting"]
    assert kept["batch"] == 1
    assert kept["state"].shape[1] == 16
    again, artifact = train(tmp_path, DATA, strategy="ddp", devices=2, checkpoint_seconds=0, **EXACT)
    assert again.metrics == runs[2][0].metrics
    assert_alike(artifact, runs[2][1], 1e-6)


@pytest.mark.usefixtures("seen")
def test_it_can_be_stopped_while_the_ranks_are_waited_for(tmp_path: Path) -> None:
    with pytest.raises(TrainingStopped):
        train(tmp_path, DATA, should_stop=lambda: Seen.last is not None, strategy="ddp", devices=2, **EXACT)
    assert all(process.poll() is not None for process in processes())


def test_a_rank_ends_with_who_started_it() -> None:
    """As when a job is killed: that closes the pipe."""
    command = [sys.executable, "-m", "shared.recipes.hrnn.distributed.worker", "127.0.0.1", "1", "1", "1", ""]
    rank = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert rank.stdin is not None
    rank.stdin.close()
    assert rank.wait(timeout=60) == 1


# Further nodes


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def node(port: int) -> Iterator[subprocess.Popen[bytes]]:
    environment = os.environ | {
        "FORETASTE_TRAINING_STRATEGY": "ddp",
        "FORETASTE_TRAINING_NUM_NODES": "2",
        "FORETASTE_TRAINING_NODE_RANK": "1",
        "FORETASTE_TRAINING_MASTER": f"127.0.0.1:{port}",
    }
    process = subprocess.Popen([sys.executable, "-m", "workers.training.node"], env=environment)
    yield process
    process.kill()
    process.wait()


def test_a_further_node_takes_part_in_each_training(
    tmp_path: Path, runs: dict[int, Run], port: int, node: subprocess.Popen[bytes]
) -> None:
    """In the training and in the retraining, which is one more."""
    options = {"strategy": "ddp", "num_nodes": 2, "master": f"127.0.0.1:{port}", "retrain_on_all_users": True}
    trained, _ = train(tmp_path, DATA, **options, **EXACT)
    assert trained.metrics == runs[2][0].metrics
    assert node.poll() is None


def test_without_the_further_node_it_fails_with_advice(
    tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "JOIN_SECONDS", 0.1)
    with pytest.raises(WorkFailed, match=r"Of 2 processes .* 1 came .*python -m workers.training.node"):
        train(tmp_path, DATA, strategy="ddp", num_nodes=2, master=f"127.0.0.1:{port}", **EXACT)


@pytest.mark.parametrize("master", ["", "node0", ":1", "node0:http"])
def test_where_nodes_meet_is_host_and_port(master: str) -> None:
    with pytest.raises(WorkFailed, match="must be host:port"):
        launcher.parse_address(master)


# Without other processes


def learner() -> HrnnTrainer:
    data = training_data(
        DATA,
        items=[{"GENRE": "abcde"[item % 5]} for item in range(50)],
        users=[{"AGE": float(user % 7)} for user in range(160)],
        contexts=[{"DEVICE": "xyz"[event % 3]} for event in range(len(DATA.items))],
    )
    recipe = RECIPES["aws-user-personalization"]
    return HrnnTrainer(make_task(data, recipe, settings(recipe), make_context(precision="32-true")), len(DATA.items))


def fitting_of(learner: HrnnTrainer) -> HrnnModule:
    counts_I = np.bincount(DATA.items, minlength=50)
    return learner._create_module(np.arange(160), counts_I, 3, 0.01, 0)


def losses(fitting: HrnnModule) -> Iterator[float]:
    state = fitting.network.create_state(fitting.plan.streams)
    for number, window in enumerate(fitting.create_epoch(0)):
        seed_torch(number)
        loss, state = compute_window_loss(fitting.network, fitting.streams, fitting.choose, window, state)
        yield loss.item()


def test_what_is_handed_over_is_the_same_but_for_the_weights(tmp_path: Path) -> None:
    given = fitting_of(learner())
    given.streams.prepare_network(given.network, given.users, 0)
    terms = state_transfer.FitSettings(
        checkpoint=str(tmp_path / "training.ckpt"),
        resumed=True,
        every_seconds=7.5,
        precision="32-true",
        threads=3,
        processes=2,
        nodes=4,
        cuda=False,
    )
    state_transfer.save_fit(given, terms, tmp_path / "training.ranks")
    taken, read = state_transfer.load_fit(tmp_path / "training.ranks", torch.device("cpu"))
    assert read == terms
    assert (taken.plan, taken.epochs, taken.seed, taken.learning_rate) == (given.plan, 3, 0, 0.01)
    for name, buffer in taken.network.named_buffers():
        assert torch.equal(buffer, dict(given.network.named_buffers())[name])
    taken.network.load_state_dict(given.network.state_dict())
    assert list(losses(taken)) == list(losses(given))


@pytest.mark.parametrize("size", [2, 3, 5])
def test_each_rank_has_as_many_streams_and_all_of_them_every_event(size: int) -> None:
    plan = TrainingPlan.from_data({"bptt": "8", "hidden_dimension": "32"}, len(DATA.items), 50)
    fitting = fitting_of(learner())
    fitting.join_ranks(Rank(0, size))
    assert fitting.plan == replace(plan, streams=-(-16 // size) * size)
    for window in EpochWindows(fitting.streams, fitting.users, fitting.plan, (0, 0)):
        parts = [Rank(number, size).select_streams(window) for number in range(size)]
        assert {part.events.shape for part in parts} == {(len(window.events), fitting.plan.streams // size)}
        for name, whole in window._asdict().items():
            found = torch.cat([getattr(part, name) for part in parts], 1)
            assert torch.equal(found.sort(1).values, whole.sort(1).values)


@pytest.mark.parametrize("repeats", [True, False])
def test_the_mean_of_what_the_ranks_learn_from_is_what_one_learns_from(repeats: bool) -> None:
    """Targets that count more, or nothing where nobody takes items again, and streams that are filled up, make no
    difference."""
    given = learner()
    given.streams.weights_E = torch.rand(len(DATA.items))
    given.streams.new_E &= torch.arange(len(DATA.items)) % 3 > 0
    given.streams.repeats = repeats
    if not repeats:
        given.network = HrnnNetwork(replace(given.network.config, repeats=False), dropout=0.0)

    def loss(rank: Rank) -> torch.Tensor:
        fitting = fitting_of(given)
        fitting.network.id_dropout = fitting.network.dropout = 0.0
        fitting._trainer = None
        fitting.join_ranks(rank)
        fitting._state = fitting.network.create_state(fitting.plan.streams // rank.size)
        *_, window = fitting.create_epoch(0)
        return fitting.training_step(window, 0)

    of_ranks = [loss(Rank(number, 2)).item() for number in range(2)]
    assert np.mean(of_ranks) == pytest.approx(loss(Rank()).item(), rel=1e-5)


def test_who_was_cut_off_within_an_epoch_begins_anew_with_other_streams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the operator changes how many processes there are, between two attempts."""
    planned(monkeypatch, streams=15)
    with pytest.raises(TrainingStopped):
        train(tmp_path, DATA, should_stop=lambda: any(tmp_path.rglob("training.ckpt")), checkpoint_seconds=0, **EXACT)
    planned(monkeypatch, streams=16)
    _, taken_up = train(tmp_path, DATA, **EXACT)
    _, anew = train(tmp_path / "anew", DATA, **EXACT)
    assert_alike(taken_up, anew, 0.0)
