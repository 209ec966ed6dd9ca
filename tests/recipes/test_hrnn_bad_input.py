"""Odd histories: a training of them ends with finite weights, or is refused with a reason."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.data.arrays.histories import Histories, TooLittleData
from shared.recipes.hrnn.scoring import Scorer
from shared.recipes.scoring_api import Query
from shared.recipes.training_api import TrainingProgress
from tests.recipes.networks import took
from tests.recipes.runs import (
    load_weights,
    planned,
    train,
)
from tests.recipes.synthetic import histories_of


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
    assert all(tensor.isfinite().all() for tensor in load_weights(artifact).values())
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
