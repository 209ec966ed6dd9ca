"""Weights of events: the recency mask, and users outside the percentiles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shared.data.arrays.histories import select_trained_users
from shared.recipes.evaluation import Split
from shared.recipes.hrnn.scoring import Scorer
from shared.recipes.hrnn.trainer import HrnnTrainer, compute_event_weights
from shared.recipes.scoring_api import Past, Query
from tests.recipes.networks import took
from tests.recipes.runs import (
    planned,
    read_form,
    train,
)
from tests.recipes.synthetic import histories_of, walks

DAY = 86_400


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
    assert not read_form(artifact)["repeats"]  # of all events, more than half are the robot's
    assert scorer.scores(Query(user_id="nobody", now=0.0))[spam] == 0.0
