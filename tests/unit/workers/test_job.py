"""The child process of a training, called in this one: what it decides before and after the recipe's trainer."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import redis

from shared.jobs.entrypoint import WorkFailed, WorkStopped
from shared.recipes.hrnn import warm_start
from shared.recipes.hrnn.plan import RETRAINING_EPOCHS
from shared.recipes.training_api import TrainingContext, TrainingOptions, TrainingProgress, get_setting_name
from shared.settings import Settings
from shared.store.redis import RedisStore
from tests.recipes.runs import planned
from tests.unit.workers.world import World
from workers.training import job

ROWS = """SELECT 'u' || (n % 50) AS USER_ID, 'i' || (n % 7) AS ITEM_ID, n AS TIMESTAMP
    FROM range(1000) AS numbers(n)"""


@pytest.fixture
def world(tmp_path: Path, redis_server: str, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("FORETASTE_REDIS_URL", redis_server)
    monkeypatch.setenv("FORETASTE_ARTIFACTS_DIR", str(tmp_path / "artifacts"))
    redis.Redis.from_url(redis_server).flushall()
    return World(tmp_path, RedisStore(redis_server))


def make_context(**changes: Any) -> TrainingContext:
    nowhere = Path("/dev/null")
    return TrainingContext(
        workspace=nowhere, artifact=nowhere, report_progress=lambda _: None, should_stop=lambda: False, **changes
    )


def test_every_option_is_filled_from_the_setting_of_its_name() -> None:
    """So that a new training setting is declared in ``shared/settings.py``, and as a field of TrainingOptions."""
    settings = {each.name: each for each in dataclasses.fields(Settings)}
    kinds = get_type_hints(Settings)
    for option, kind in get_type_hints(TrainingOptions).items():
        name = get_setting_name(option)
        assert name in (f"training_{option}", option)
        assert (kinds[name], settings[name].default) == (kind, getattr(TrainingOptions(), option)), option
        marked = dataclasses.replace(Settings(), **{name: "marked"})  # type: ignore[arg-type]
        expected = dataclasses.replace(TrainingOptions(), **{option: "marked"})  # type: ignore[arg-type]
        assert TrainingOptions.from_settings(marked) == expected


def test_every_training_setting_is_an_option_or_the_workers_own() -> None:
    of_the_worker = {"training_node_rank", "training_jobs_per_device", "training_silence_seconds"}
    settings = {each.name for each in dataclasses.fields(Settings) if each.name.startswith("training_")}
    filled = {get_setting_name(each.name) for each in dataclasses.fields(TrainingOptions)}
    assert settings == {name for name in filled if name.startswith("training_")} | of_the_worker


def test_every_option_is_a_setting() -> None:
    configured = Settings(
        training_threads=3,
        retrain_on_all_users=False,
        training_cell="gru",
        training_precision="32-true",
        training_compile=True,
        training_logger="csv",
        checkpoint_seconds=7.5,
        training_strategy="ddp",
        training_devices=2,
        training_num_nodes=3,
        training_master="node0:29500",
        training_sentence_encoder="/models/encoder",
    )
    chosen = job.choose_options(configured)
    assert chosen == TrainingOptions(
        threads=3,
        retrain_on_all_users=False,
        cell="gru",
        precision="32-true",
        compile=True,
        logger="csv",
        checkpoint_seconds=7.5,
        strategy="ddp",
        devices=2,
        num_nodes=3,
        master="node0:29500",
        sentence_encoder="/models/encoder",
    )
    defaults = dataclasses.asdict(TrainingOptions())
    assert dataclasses.asdict(job.choose_options(Settings())) == defaults
    assert all(value != defaults[name] for name, value in dataclasses.asdict(chosen).items())


def test_the_ndcg_of_an_epoch_is_sent_as_gain() -> None:
    made = TrainingProgress(epoch=2, epochs=5, loss=0.25, eta_seconds=9.0, phase="training", ndcg=0.5)
    assert made.as_message() == {
        "epoch": 2, "epochs": 5, "loss": 0.25, "eta_seconds": 9.0, "phase": "training", "gain": 0.5
    }  # fmt: skip


def test_without_ddp_a_training_is_one_process() -> None:
    configured = Settings(training_devices=4, training_num_nodes=2, training_master="node0:29500")
    alone = make_context(options=job.choose_options(configured), gpus=(1,))
    assert (alone.processes, alone.nodes) == (1, 1)


def test_a_training_on_one_gpu_is_on_its_own() -> None:
    assert make_context(gpus=(3,)).torch_device == "cuda:3"
    assert make_context().torch_device == "cuda:0"


def test_with_ddp_and_no_gpu_the_setting_says_how_many_processes() -> None:
    for devices, processes in ((2, 2), (0, 1)):
        options = job.choose_options(Settings(training_strategy="ddp", training_devices=devices))
        assert make_context(options=options).processes == processes


def test_with_ddp_there_is_a_process_for_each_gpu_granted() -> None:
    options = job.choose_options(Settings(training_strategy="ddp", training_devices=0))
    granted = make_context(options=options, gpus=(1, 3))
    assert (granted.processes, granted.nodes, granted.torch_device) == (2, 1, "cuda:1")


def test_several_nodes_must_know_where_to_meet() -> None:
    with pytest.raises(WorkFailed, match="FORETASTE_TRAINING_MASTER must say where they meet"):
        job.choose_options(Settings(training_strategy="ddp", training_num_nodes=2))


def test_tensorboard_that_is_not_installed_fails_the_work_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(WorkFailed, match=r"install foretaste\[tensorboard\]"):
        job.choose_options(Settings(training_logger="tensorboard"))


def train(world: World, should_stop: Any = lambda: False) -> Any:
    return job.train_solution_version(world.version().arn, 1, lambda _: None, should_stop)


def test_it_stops_while_the_data_is_loaded(world: World) -> None:
    world.imported(world.dataset("Interactions"), rows=ROWS)
    with pytest.raises(WorkStopped):
        train(world, lambda: True)
    assert not list((world.artifacts_root / "work").rglob("data"))


def test_what_is_too_little_fails_in_the_words_of_aws(world: World) -> None:
    world.imported(world.dataset("Interactions"), rows=f"{ROWS} LIMIT 999")
    with pytest.raises(WorkFailed, match="Dataset has fewer than 1000 interactions"):
        train(world)


def test_a_dataset_made_anew_with_other_columns_fails_with_the_name_of_the_column(world: World) -> None:
    world.imported(world.dataset("Interactions"), rows=ROWS)
    config = {"trainingDataConfig": {"excludedDatasetColumns": {"Interactions": ["GONE"]}}}
    world.solution("aws-hrnn-metadata", solutionConfig=config)
    with pytest.raises(WorkFailed, match="names GONE, no column of the INTERACTIONS dataset"):
        train(world)


def test_an_update_goes_on_from_the_version_in_its_record(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    planned(monkeypatch, epochs=1, hidden=32)
    monkeypatch.setenv("FORETASTE_TRAINING_THREADS", "1")
    interactions = world.dataset("Interactions")
    world.imported(interactions, rows=ROWS)
    world.solution("aws-user-personalization")
    full = world.version()
    job.train_solution_version(full.arn, 1, lambda _: None, lambda: False)
    world.imported(interactions, "INCREMENTAL", rows=ROWS.replace("n AS TIMESTAMP", "n + 5000 AS TIMESTAMP"))
    update = world.version("UPDATE", base=full.arn)
    outcome = job.train_solution_version(update.arn, 1, lambda _: None, lambda: False)
    assert outcome["epochs"] == 2 * RETRAINING_EPOCHS
    assert (world.artifacts.open_artifact(full.arn) / warm_start.WEIGHTS).exists()
    assert not (world.artifacts.open_artifact(update.arn) / warm_start.WEIGHTS).exists()


def test_an_update_of_nothing_fails_with_advice(world: World) -> None:
    world.imported(world.dataset("Interactions"), rows=ROWS)
    world.solution("aws-user-personalization")
    alone = world.version("UPDATE")
    with pytest.raises(WorkFailed, match="no active version trained in mode FULL to continue from"):
        job.train_solution_version(alone.arn, 1, lambda _: None, lambda: False)
    gone = world.version("UPDATE", base=f"{alone.arn}x")
    with pytest.raises(WorkFailed, match=r"missing or has no .* trainingMode FULL"):
        job.train_solution_version(gone.arn, 1, lambda _: None, lambda: False)
