"""Quality as a client meets it: trained on what was, asked today, and never behind what can be counted.

The data are made up, each kind the home of another simple recommender (benchmarks/quality/kinds.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality import kinds, ours, peers, protocols
from benchmarks.quality.data import histories_of
from benchmarks.quality.protocols import Query
from shared.data.arrays.histories import Histories
from shared.data.training.training_data import TrainingData
from shared.recipes import RECIPES, scoring_api
from shared.recipes.hrnn import training
from shared.recipes.hrnn.scoring import Scorer
from shared.recipes.request_time import SESSION_SECONDS, resolve_request_time
from tests.recipes.runs import make_context

LEVEL = 0.93
"""Of a peer's gain: some hundred users tell no smaller difference from none."""

YEARS = 6 * 365 * 24 * 3600


@pytest.mark.parametrize(
    ("kind", "view", "home"),
    [
        pytest.param("habits", "raw", "personal", marks=pytest.mark.nightly),
        pytest.param("chain", "raw", "markov", marks=pytest.mark.nightly),
        pytest.param("fashion", "raw", "recent", marks=pytest.mark.nightly),
        pytest.param("sessions", "raw", "stan", marks=pytest.mark.nightly),
        pytest.param("baskets", "raw", "tifu-knn", marks=pytest.mark.nightly),
        ("tastes", "unseen", "ease"),
    ],
)
def test_it_is_never_behind_what_can_be_counted(kind: str, view: str, home: str) -> None:
    histories = kinds.KINDS[kind](seed=1, size=0.5)
    task = protocols.PROTOCOLS["asked-time"](histories, 0)
    trained = ours.train(task, ours.Setting(), seed=0)
    found = protocols.measure(trained.answers, task.queries)[view]["NDCG@25"]
    best = protocols.measure(peers.fitted(home, task), task.queries)[view]["NDCG@25"]
    assert found >= LEVEL * best, f"{kind}: ours {found:.4f}, {home} {best:.4f}"


def test_data_that_end_years_ago_are_asked_today_as_they_were_asked_then() -> None:
    """Users come once a week, and what they take has nothing to do with when: neither has the answer."""
    histories = weekly(seed=0)
    task = protocols.PROTOCOLS["h10"](histories, 0)
    trained = ours.train(task, ours.Setting(), seed=0)
    today = [replace(query, now=query.now + YEARS) for query in task.queries]
    then, now = (protocols.measure(trained.answers, asked)["raw"]["NDCG@25"] for asked in (task.queries, today))
    assert then > 0.2
    assert now == pytest.approx(then, rel=0.01)


def test_the_order_of_a_file_within_one_moment_is_not_learnt() -> None:
    """Baskets sorted by id, the other way round and shuffled are the same baskets."""
    histories = kinds.KINDS["baskets"](seed=2, size=0.3)
    rng = np.random.default_rng(0)
    orders: Sequence[Callable[[np.ndarray], np.ndarray]] = (np.sort, lambda items: -np.sort(-items), rng.permutation)
    figures = []
    for order in orders:
        task = protocols.PROTOCOLS["asked-time"](reordered(histories, order), 0)
        trained = ours.train(task, ours.Setting(epochs=6), seed=0)
        figures.append(protocols.measure(trained.answers, task.queries)["raw"]["NDCG@25"])
    assert max(figures) == pytest.approx(min(figures), rel=0.04), figures


def test_a_wanted_event_may_stand_anywhere_within_its_visit() -> None:
    """Nothing of the event to be found enters: moved within the visit it is asked for at the same moment."""
    histories = weekly(seed=1)
    task = protocols.PROTOCOLS["h10"](histories, 0)
    trained = ours.train(task, ours.Setting(epochs=1), seed=0)
    asked = [query for query in task.queries if len(query.items)][:40]
    scores = [
        np.stack(list(trained.answers([moved(query, seconds) for query in asked])))
        for seconds in (0, 60, SESSION_SECONDS - 1)
    ]
    np.testing.assert_array_equal(scores[0], scores[1])
    np.testing.assert_array_equal(scores[0], scores[2])


def moved(query: Query, seconds: float) -> Query:
    """The same, whose wanted event came so long after the last."""
    last = float(query.timestamps[-1])
    return replace(query, now=resolve_request_time(last, last + seconds))


def weekly(seed: int, *, users: int = 300, visits: int = 12, items: int = 120) -> Histories:
    """Each user walks on through a circle of items, five to a visit, a visit a week."""
    rng = np.random.default_rng(seed)
    steps = rng.choice([1, 2, 3], p=[0.7, 0.2, 0.1], size=(users, visits * 5))
    at = (rng.integers(items, size=(users, 1)) + np.cumsum(steps, axis=1)) % items
    days = rng.integers(6, 9, size=(users, visits)).cumsum(axis=1)
    times = 1_500_000_000 + days.repeat(5, axis=1) * 86_400 + np.tile(np.arange(5) * 90, visits)
    return histories_of(
        np.repeat(np.arange(users), visits * 5),
        at.ravel(),
        times.ravel(),
        user_ids=[f"u{number:04}" for number in range(users)],
        item_ids=[f"i{number:04}" for number in range(items)],
    )


def reordered(histories: Histories, order: Callable[[np.ndarray], np.ndarray]) -> Histories:
    """The same, where the items of each moment stand in this order."""
    users = np.repeat(np.arange(len(histories.user_ids)), histories.lengths)
    moments = np.flatnonzero(np.diff(users, prepend=-1) | np.diff(histories.timestamps, prepend=-1))
    parts = np.split(histories.items, moments[1:])
    return replace(histories, items=np.concatenate([order(part) for part in parts]).astype(np.int32))


def test_where_what_was_had_is_hidden_only_what_is_new_is_answered(tmp_path: Path) -> None:
    """A filter knows the newest hundred events alone; whoever asks for something new does not want the older ones."""
    histories = kinds.KINDS["baskets"](seed=3, size=0.3)
    artifact = tmp_path / "artifact"
    artifact.mkdir()
    recipe = RECIPES["aws-hrnn"]
    training.train(
        TrainingData(histories=histories),
        recipe,
        recipe.resolve_parameters({}),
        make_context(tmp_path, artifact=artifact),
    )
    scorer = Scorer.load(artifact)
    user_id = histories.user_ids[0]
    asked = scoring_api.Query(now=2e9, user_id=user_id, history=scorer.history(user_id))
    had = np.unique(histories.items[: histories.offsets[1]])
    new = np.setdiff1d(np.arange(len(histories.item_ids)), had)
    raw, anew = scorer.scores(asked), scorer.scores(replace(asked, unseen_only=True))
    assert raw[had].sum() > 0.1
    assert anew[had].sum() == 0
    assert anew.sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(anew[new], raw[new] / raw[new].sum(), rtol=1e-4, atol=1e-9)
