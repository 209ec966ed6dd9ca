"""Trainings that were cut off: they resume at a checkpoint, and end bit by bit as those that were not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.data.arrays.histories import Histories
from shared.recipes import RECIPES
from shared.recipes.artifact import WEIGHTS
from shared.recipes.hrnn import trainer as learning
from shared.recipes.hrnn.batch_ranking import predict_next_item
from shared.recipes.hrnn.training import compute_fingerprint
from shared.recipes.training_api import TrainingStopped
from tests.recipes.networks import CELLS
from tests.recipes.runs import (
    HRNN,
    StepCount,
    assert_same_model,
    make_context,
    make_noise,
    planned,
    settings,
    stop_after,
    train,
)
from tests.recipes.synthetic import training_data, walks


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


def assert_taken_up_wherever_it_is_cut(
    folder: Path, data: Histories, counted: StepCount, cuts: int, *, seconds: float, **options: Any
) -> None:
    options |= {"checkpoint_seconds": seconds, "retrain_on_all_users": True}
    whole, expected = train(folder / "whole", data, should_stop=counted.should_stop, **options)
    steps, calls = counted.steps, counted.calls
    for calls_before in np.linspace(3, calls - 2, cuts).astype(int).tolist():
        counted.steps = 0
        cut = folder / f"cut{calls_before}"
        with pytest.raises(TrainingStopped):
            train(cut, data, should_stop=stop_after(calls_before), **options)
        again, found = train(cut, data, **options)
        assert again.metrics == whole.metrics, calls_before
        assert again.epochs == whole.epochs, calls_before
        assert_same_model(found, expected)
        if seconds == 0:  # none was left out, and no step was done twice but the last of an epoch not yet validated
            assert counted.steps - steps in (0, 1), calls_before


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(("cell", "cuts"), [("linear", 8), ("gru", 2)])
def test_a_run_cut_off_anywhere_and_taken_up_again_ends_as_one_that_was_not(
    tmp_path: Path, counted: StepCount, cell: str, cuts: int
) -> None:
    """With a checkpoint after each step: cut in each epoch, while validating, while evaluating, while retraining."""
    data = walks(users=120, events=8, items=20)
    assert_taken_up_wherever_it_is_cut(tmp_path, data, counted, cuts, seconds=0, cell=cell)


@pytest.mark.usefixtures("short")
def test_a_run_cut_off_between_its_checkpoints_too(tmp_path: Path, counted: StepCount) -> None:
    data = walks(users=120, events=8, items=20)
    assert_taken_up_wherever_it_is_cut(tmp_path, data, counted, 4, seconds=3600)


@pytest.mark.usefixtures("short")
def test_a_run_cut_off_after_the_last_step_of_an_epoch_too(
    tmp_path: Path, counted: StepCount, monkeypatch: pytest.MonkeyPatch
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
    assert_same_model(found, expected)


@pytest.mark.parametrize("phase", ["evaluating", "retraining"])
def test_a_training_that_was_over_is_not_taken_up_again(
    tmp_path: Path, counted: StepCount, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    """Where validation has ended it before its last epoch."""
    planned(monkeypatch, epochs=20, streams=16, bptt=8, learning_rate=0.02)
    whole, expected = train(tmp_path / "whole", make_noise(), retrain_on_all_users=True)
    steps = counted.steps
    counted.steps = 0
    told: list[str] = []
    with pytest.raises(TrainingStopped):
        train(
            tmp_path / "cut",
            make_noise(),
            should_stop=lambda: phase in told,
            progress=lambda progress: told.append(progress.phase),
            retrain_on_all_users=True,
        )
    again, found = train(tmp_path / "cut", make_noise(), retrain_on_all_users=True)
    assert again.epochs == whole.epochs
    assert_same_model(found, expected)
    assert counted.steps - steps in (0, 1)  # told of a second too late, a step of the retraining may be done


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("name", ["aws-hrnn-metadata", "aws-user-personalization"])
def test_a_run_with_metadata_too(name: str, tmp_path: Path, counted: StepCount) -> None:
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
            train(cut, data, recipe, should_stop=stop_after(calls_before), **options)
        _, found = train(cut, data, recipe, **options)
        assert_same_model(found, expected)


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
        assert_same_model(after, alone)


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
