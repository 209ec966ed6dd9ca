"""Trending-Now: what grows, over the interval that was chosen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shared.data.arrays.histories import Histories
from shared.recipes import RECIPES
from shared.recipes.scoring_api import Query
from shared.recipes.trending.scoring import Scorer
from shared.recipes.trending.training import compute_trend, compute_trend_accuracy, count_by_interval
from tests.recipes.runs import train
from tests.recipes.synthetic import histories_of

TRENDING = RECIPES["aws-trending-now"]
HOUR = 3600
NOW = 1_700_000_000


def counted(**hours_ago: list[int]) -> Histories:
    """An item, and how many took it in the newest hour, in the hour before it, and so on; everybody is someone else."""
    sequences = {
        f"{item}{ago}-{number}": [(item, NOW - ago * HOUR - 10 * number)]
        for item, counts in hours_ago.items()
        for ago, count in enumerate(counts)
        for number in range(count)
    }
    # So that the data ends at NOW whatever the newest hour holds.
    return histories_of({**sequences, "~": [("~", NOW)]})


def ranked(histories: Histories, interval: int = HOUR) -> list[str]:
    everybody = np.arange(len(histories.user_ids))
    scores = compute_trend(histories, everybody, NOW, interval)
    assert scores.sum() == pytest.approx(1.0)
    return [histories.item_ids[item] for item in np.argsort(-scores, kind="stable")]


def test_what_grows_comes_before_what_is_popular() -> None:
    histories = counted(old=[30, 30, 30, 30, 30], fading=[5, 20, 20], up=[9, 3, 1], new=[20, 0, 0])
    assert ranked(histories)[:2] == ["new", "up"]
    assert ranked(histories)[3:] == ["old", "fading"]


def test_the_newest_rise_counts_most() -> None:
    assert ranked(counted(now=[10, 0, 0, 0], before=[10, 10, 0, 0], long_ago=[10, 10, 10, 0]))[:3] == [
        "now",
        "before",
        "long_ago",
    ]


def test_an_interval_ends_with_its_last_second() -> None:
    histories = histories_of({"a": [("x", NOW - HOUR), ("x", NOW - HOUR + 1), ("y", NOW)]})
    counts = count_by_interval(histories, np.array([0]), NOW, HOUR)
    assert counts[:2].tolist() == [[1, 1], [1, 0]]
    assert count_by_interval(histories, np.array([0]), NOW - 1, HOUR)[:2].tolist() == [[2, 0], [0, 0]]


def test_the_frequency_says_what_a_trend_is(tmp_path: Path) -> None:
    """``burst`` was taken in the newest hour alone; ``slow`` grows from day to day, and less of late."""
    sequences = {f"b{n:02}": [("base", NOW - 90_000 * 6), ("burst", NOW - 60 * n)] for n in range(30)}
    sequences |= {f"s{n:02}": [("base", NOW - 90_000 * 6), ("slow", NOW - 5 * HOUR - 600 * n)] for n in range(60)}
    histories = histories_of(sequences)
    best = {}
    for frequency in ("1 hour", "1 day"):
        parameters = {"trend_discovery_frequency": frequency}
        trained, artifact = train(tmp_path, histories, TRENDING, parameters=parameters, retrain_on_all_users=True)
        scorer = Scorer.load(artifact)
        best[frequency] = scorer.item_ids[scorer.scores(Query(now=0.0)).argmax()]
        assert trained.metrics.keys() - trained.baseline.keys() == {"trend_prediction_accuracy"}
        assert 0 <= trained.metrics["trend_prediction_accuracy"] <= 1
    assert best == {"1 hour": "burst", "1 day": "slow"}


def test_the_accuracy_is_the_rise_of_what_was_foretold_over_the_greatest_there_was() -> None:
    """Of 30 items that had begun to rise, five go on; 30 others, that nobody could foretell, rise more."""
    steady = {f"a{n:02}": [8 if n < 5 else 4, 4, 1] for n in range(30)}
    surprises = {f"b{n:02}": [10, 0, 0] for n in range(30)}
    histories = counted(**steady, **surprises)
    assert compute_trend_accuracy(histories, NOW, HOUR) == pytest.approx(5 * 4 / (25 * 10))
    assert compute_trend_accuracy(counted(**steady), NOW, HOUR) == pytest.approx(20 / 21)
    assert compute_trend_accuracy(counted(fading=[1, 5, 9]), NOW, HOUR) == 0.0
