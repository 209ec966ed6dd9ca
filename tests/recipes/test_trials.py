"""``validate``: one trial of HPO or AutoML, and that the training with its parameters goes on from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shared import recipes
from shared.data.training_data import TrainingData
from shared.metrics import foretelling
from shared.recipes.contract import Options, Progress
from shared.recipes.evaluation import Split, comparing
from shared.recipes.hrnn import training
from tests.recipes.synthetic import walks

HRNN = recipes.RECIPES["aws-hrnn"]
PARAMETERS = {**HRNN.settings({}), "hidden_dimension": "32", "bptt": "8"}
GAIN = "normalized_discounted_cumulative_gain_at_25"


def test_a_trial_tells_what_its_best_epoch_comes_to(tmp_path: Path) -> None:
    data = TrainingData(histories=walks(users=120, events=8, items=20))
    said: list[Progress] = []
    tried = training.validate(
        data,
        HRNN,
        PARAMETERS,
        workspace=tmp_path,
        progress=said.append,
        should_stop=lambda: False,
        options=Options(threads=1),
    )
    gains = [each.gain for each in said if each.gain is not None]
    assert tried.metrics[GAIN] == pytest.approx(max(gains), abs=0.02)
    assert len(gains) >= tried.epochs
    assert 0 < tried.errors[GAIN] < 0.2
    assert tried.metrics[GAIN] > 0.4


@pytest.mark.parametrize("users", [120, 20], ids=["validated anyway", "too few to validate with"])
def test_a_trial_never_looks_at_the_test_users(users: int) -> None:
    histories = walks(users=users, events=8, items=20)
    whole = Split.of(histories, 0)
    split, compared = comparing(whole, histories)
    assert len(compared)
    assert not np.intersect1d(compared, np.union1d(split.train, split.test)).size
    assert (split is whole) == (users == 120)


def test_metrics_of_single_items_and_their_errors() -> None:
    """Two users with two queries each: ranks 1 and 26, 3 and 26."""
    found, errors = foretelling(np.array([1, 26, 3, 26]), np.array([0, 0, 1, 1]), shown=5, items=10)
    assert found["coverage"] == 0.5
    assert found[GAIN] == pytest.approx((1 + 0.5) / 4)
    assert found["mean_reciprocal_rank_at_25"] == pytest.approx((1 + 1 / 3) / 4)
    assert found["precision_at_5"] == pytest.approx(2 / 4 / 5)
    # The users' sums differ from what they would be on average by +0.25 and -0.25.
    assert errors[GAIN] == pytest.approx(np.sqrt(0.25**2 + 0.25**2) / 4)
