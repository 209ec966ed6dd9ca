"""Who is asked what, and what counts: three protocols, one metric code (shared/metrics.py).

    h10   of every user the oldest 90 % are trained on and are the input, the newest 10 % are to be found
    loo   of every user the last event is to be found, the one before is for validation, all before is trained on;
          the input is all before the last
    aws   AWS's: a tenth of the users is not trained on at all; of these as h10 (shared/recipes/evaluation.py)

Under h10 and aws the held-out part is 10 % rounded up, at least one event, and at least one event is input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.quality import data
from shared import metrics
from shared.data.histories import Histories
from shared.recipes.evaluation import TEST_SHARE, Split

COLUMNS = ("NDCG@10", "NDCG@25", "MRR@25", "P@25", "HR@10")
VIEWS = ("raw", "filtered")
"""raw: items of the input may be recommended again, as Personalize does; filtered: they may not."""


@dataclass(frozen=True, eq=False)
class Query:
    """One user who asks at ``now`` (that of the first event to be found) after these events, oldest first."""

    items: npt.NDArray[np.int32]
    timestamps: npt.NDArray[np.int64]
    now: float
    wanted: npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Task:
    """What may be learnt from, and what is asked afterwards."""

    training: Histories
    users: npt.NDArray[np.int64]
    """Numbers of the users who may be learnt from."""
    queries: Sequence[Query]
    validation: Sequence[Query] = ()
    stopping: npt.NDArray[np.int64] | None = None
    """Those of the users who only tell when to stop; None: the model may choose some, and then go on with all."""


Answers = Callable[[Sequence[Query]], Iterable[npt.NDArray[Any]]]
"""Queries -> the scores_I of each, one after the other: what a fitted model is here."""


def h10(histories: Histories, _: int = 0) -> Task:
    cuts = histories.offsets[1:] - held_out(histories.lengths)
    place = np.arange(len(histories.items))
    training = data.only(histories, place < np.repeat(cuts, histories.lengths))
    asked = np.flatnonzero(histories.lengths >= 2)
    return Task(
        training=training,
        users=np.flatnonzero(training.lengths),
        queries=[_query(histories, user, cuts[user], histories.offsets[user + 1]) for user in asked.tolist()],
    )


def loo(histories: Histories, _: int = 0) -> Task:
    asked = np.flatnonzero(histories.lengths >= 3)
    ends = histories.offsets[1:].copy()
    ends[asked] -= 2
    place = np.arange(len(histories.items))
    training = data.only(histories, place < np.repeat(ends, histories.lengths))
    return Task(
        training=training,
        users=np.flatnonzero(training.lengths),
        queries=[_query(histories, user, ends[user] + 1, ends[user] + 2) for user in asked.tolist()],
        validation=[_query(histories, user, ends[user], ends[user] + 1) for user in asked.tolist()],
    )


def aws(histories: Histories, seed: int) -> Task:
    split = Split.of(histories, seed)
    cuts = histories.offsets[1:] - held_out(histories.lengths)
    return Task(
        training=histories,
        users=np.union1d(split.train, split.validation),
        queries=[_query(histories, user, cuts[user], histories.offsets[user + 1]) for user in split.test.tolist()],
        stopping=split.validation,
    )


PROTOCOLS: dict[str, Callable[[Histories, int], Task]] = {"h10": h10, "loo": loo, "aws": aws}


def held_out(lengths: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
    """Events to be found of each history: 10 % rounded up; none of a history of one event."""
    found: npt.NDArray[np.int64] = np.minimum(np.ceil(TEST_SHARE * lengths), np.maximum(lengths - 1, 0)).astype(
        np.int64
    )
    return found


def measure(answers: Answers, queries: Sequence[Query]) -> dict[str, dict[str, float]]:
    """View -> column -> figure. Items alike in score are ranked by their number."""
    relevant_Q = np.array([len(np.unique(query.wanted)) for query in queries])
    hits = {view: np.zeros((len(queries), metrics.LONGEST), np.bool_) for view in VIEWS}
    for number, (query, scores) in enumerate(zip(queries, answers(queries), strict=True)):
        scores_I = np.array(scores, np.float64)
        for view in VIEWS:
            if view == "filtered":
                scores_I[query.items] = -math.inf
            top = np.argsort(-scores_I, kind="stable")[: metrics.LONGEST]
            hits[view][number, : len(top)] = np.isin(top, query.wanted) & np.isfinite(scores_I[top])
    return {view: _figures(hits[view], relevant_Q) for view in VIEWS}


def _figures(hits_QK: npt.NDArray[np.bool_], relevant_Q: npt.NDArray[np.int64]) -> dict[str, float]:
    ndcg = metrics.normalized_discounted_cumulative_gain
    return {
        "NDCG@10": ndcg(hits_QK, relevant_Q, 10),
        "NDCG@25": ndcg(hits_QK, relevant_Q, 25),
        "MRR@25": metrics.mean_reciprocal_rank(hits_QK, 25),
        "P@25": metrics.precision(hits_QK, 25),
        "HR@10": float(hits_QK[:, :10].any(axis=1).mean()),
    }


def _query(histories: Histories, user: int, cut: int, end: int) -> Query:
    begin = histories.offsets[user]
    return Query(
        items=histories.items[begin:cut],
        timestamps=histories.timestamps[begin:cut],
        now=float(histories.timestamps[cut]),
        wanted=histories.items[cut:end],
    )
