"""Who is asked what, when, and what counts; one metric code for all (shared/recipes/ranking_metrics.py).

    h10         of every user the oldest 90 % are trained on and are the input, the newest 10 % are to be found
    loo         of every user the last event is to be found, the one before is for validation, all before is trained
                on; the input is all before the last
    aws         AWS's: a tenth of the users is not trained on at all; of these as h10 (shared/recipes/evaluation.py)
    time        what was before a moment, at 90 % of all events, is trained on and is the input; all after it is to be
                found, for at most MOST_ASKED users with events on both sides
    asked-time  as time, as a client meets it: a few users ask today, long after the data ends
    asked-last  of a few users the newest tenth is to be found, all else is trained on; they ask today, too

Under h10 and aws the held-out part is 10 % rounded up, at least one event, and at least one event is input. But for
the last two, a query is asked when ``shared/recipes/request_time.py`` says.
"""

from __future__ import annotations

import math
import random
import time as clock
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.quality import data
from shared.data.arrays.histories import Histories
from shared.recipes import ranking_metrics
from shared.recipes.evaluation import TEST_SHARE, Split
from shared.recipes.request_time import resolve_request_time

COLUMNS = ("NDCG@10", "NDCG@25", "MRR@25", "P@25", "HR@10")
VIEWS = ("raw", "filtered", "unseen")
"""raw: items of the input may be recommended again, as Personalize does; filtered: they may not; unseen: nor are they
wanted, and users who took nothing new do not count."""

KNOWN_SHARE = 0.9
"""Of all events, under the splits by time; of a user's, under asked-last."""

MOST_ASKED = 2_000
"""Users of ``time``."""

CLIENTS = 400
LEAST_OF_CLIENT = 10
MOST_WANTED = 25
"""Users of asked-time and asked-last, the events one needs under asked-last, and how many of its events are wanted."""


@dataclass(frozen=True, eq=False)
class Query:
    """One user who asks at ``now`` after these events, oldest first."""

    items: npt.NDArray[np.int32]
    timestamps: npt.NDArray[np.int64]
    now: float
    wanted: npt.NDArray[np.int32]
    """Items of the events to be found, oldest first; one taken twice is wanted once."""
    user: int = -1
    """Its number in the histories that are trained on; -1: nobody's there."""
    most: int | None = None
    """So many of the events to be found count in each view, the first ones; None: all."""


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
    asked = np.flatnonzero(histories.lengths >= 2)
    return Task(
        training=(training := _before(histories, cuts)),
        users=np.flatnonzero(training.lengths),
        queries=[_query(histories, user, cuts[user], histories.offsets[user + 1]) for user in asked.tolist()],
    )


def loo(histories: Histories, _: int = 0) -> Task:
    asked = np.flatnonzero(histories.lengths >= 3)
    ends = histories.offsets[1:].copy()
    ends[asked] -= 2
    return Task(
        training=(training := _before(histories, ends)),
        users=np.flatnonzero(training.lengths),
        queries=[_query(histories, user, ends[user] + 1, ends[user] + 2) for user in asked.tolist()],
        validation=[_query(histories, user, ends[user], ends[user] + 1) for user in asked.tolist()],
    )


def aws(histories: Histories, seed: int) -> Task:
    split = Split.draw(histories, seed)
    cuts = histories.offsets[1:] - held_out(histories.lengths)
    return Task(
        training=histories,
        users=np.union1d(split.train, split.validation),
        queries=[_query(histories, user, cuts[user], histories.offsets[user + 1]) for user in split.test.tolist()],
        stopping=split.validation,
    )


def time(histories: Histories, _: int = 0) -> Task:
    """The same users are drawn for every seed, so that what differs among seeds is the model."""
    cuts, asked = _by_time(histories)
    if len(asked) > MOST_ASKED:
        asked = np.sort(np.random.default_rng(0).choice(asked, MOST_ASKED, replace=False))
    return Task(
        training=(training := _before(histories, cuts)),
        users=np.flatnonzero(training.lengths),
        queries=[_query(histories, user, cuts[user], histories.offsets[user + 1]) for user in asked.tolist()],
    )


def asked_time(histories: Histories, _: int = 0) -> Task:
    cuts, asked = _by_time(histories)
    return _asked_today(histories, cuts, asked)


def asked_last(histories: Histories, _: int = 0) -> Task:
    clients = _some_of(np.flatnonzero(histories.lengths >= LEAST_OF_CLIENT))
    cuts = histories.offsets[1:].copy()
    cuts[clients] -= [max(1, round(length * (1 - KNOWN_SHARE))) for length in histories.lengths[clients].tolist()]
    return _asked_today(histories, cuts, np.sort(clients))


PROTOCOLS: dict[str, Callable[[Histories, int], Task]] = {
    "h10": h10,
    "loo": loo,
    "aws": aws,
    "time": time,
    "asked-time": asked_time,
    "asked-last": asked_last,
}
ASKED = ("asked-time", "asked-last")
"""What the service answers today, so it trains here on whom it trains there."""


def held_out(lengths: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
    """Events to be found of each history: 10 % rounded up; none of a history of one event."""
    found: npt.NDArray[np.int64] = np.minimum(np.ceil(TEST_SHARE * lengths), np.maximum(lengths - 1, 0)).astype(
        np.int64
    )
    return found


def measure(answers: Answers, queries: Sequence[Query]) -> dict[str, dict[str, float]]:
    """View -> column -> figure; no figures of a view that no query counts in. Items alike in score are ranked by their
    number."""
    relevant = {view: np.zeros(len(queries), np.int64) for view in VIEWS}
    hits = {view: np.zeros((len(queries), ranking_metrics.LONGEST), np.bool_) for view in VIEWS}
    for number, (query, scores) in enumerate(zip(queries, answers(queries), strict=True)):
        scores_I = np.array(scores, np.float64)
        top = {"raw": _best(scores_I)}
        scores_I[query.items] = -math.inf
        top["filtered"] = top["unseen"] = _best(scores_I)
        new = query.wanted[~np.isin(query.wanted, query.items)]
        for view in VIEWS:
            wanted = np.unique((new if view == "unseen" else query.wanted)[: query.most])
            relevant[view][number] = len(wanted)
            hits[view][number, : len(top[view])] = np.isin(top[view], wanted)
    return {view: _figures(hits[view], relevant[view]) for view in VIEWS}


def _best(scores_I: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The numbers of the best items, metrics.LONGEST of them where so many have a score above -inf."""
    least = -math.inf
    if len(scores_I) > ranking_metrics.LONGEST:
        least = np.partition(scores_I, -ranking_metrics.LONGEST)[-ranking_metrics.LONGEST]
    able = np.flatnonzero((scores_I >= least) & np.isfinite(scores_I))
    best: npt.NDArray[np.int64] = able[np.argsort(-scores_I[able], kind="stable")[: ranking_metrics.LONGEST]]
    return best


def _figures(hits_QK: npt.NDArray[np.bool_], relevant_Q: npt.NDArray[np.int64]) -> dict[str, float]:
    hits_QK, relevant_Q = hits_QK[relevant_Q > 0], relevant_Q[relevant_Q > 0]
    if not len(relevant_Q):
        return {}
    ndcg = ranking_metrics.compute_ndcg
    return {
        "NDCG@10": ndcg(hits_QK, relevant_Q, 10),
        "NDCG@25": ndcg(hits_QK, relevant_Q, 25),
        "MRR@25": ranking_metrics.compute_mean_reciprocal_rank(hits_QK, 25),
        "P@25": ranking_metrics.compute_precision(hits_QK, 25),
        "HR@10": float(hits_QK[:, :10].any(axis=1).mean()),
    }


def _before(histories: Histories, cuts_U: npt.NDArray[np.int64]) -> Histories:
    """Of each user the events up to a place among all events."""
    return data.only(histories, np.arange(len(histories.items)) < np.repeat(cuts_U, histories.lengths))


def _by_time(histories: Histories) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(where each user's events stop to be known, the users with events on both sides of that)."""
    moment = np.sort(histories.timestamps)[int(len(histories.timestamps) * KNOWN_SHARE)]
    known_before = np.concatenate([[0], np.cumsum(histories.timestamps < moment)])
    known_U = np.diff(known_before[histories.offsets])
    return histories.offsets[:-1] + known_U, np.flatnonzero((known_U > 0) & (known_U < histories.lengths))


def _some_of(users: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """CLIENTS of the users, drawn as the clients of the service's own check are, so that both ask the same."""
    drawn = users.tolist()
    random.Random(1).shuffle(drawn)
    return np.array(drawn[:CLIENTS], np.int64)


def _asked_today(histories: Histories, cuts_U: npt.NDArray[np.int64], asked: npt.NDArray[np.int64]) -> Task:
    training, today = _before(histories, cuts_U), clock.time()
    return Task(
        training=training,
        users=np.flatnonzero(training.lengths),
        queries=[
            _query(histories, user, cuts_U[user], histories.offsets[user + 1], now=today, most=MOST_WANTED)
            for user in np.sort(_some_of(asked)).tolist()
        ],
    )


def _query(
    histories: Histories, user: int, cut: int, end: int, *, now: float | None = None, most: int | None = None
) -> Query:
    begin, times = histories.offsets[user], histories.timestamps
    return Query(
        items=histories.items[begin:cut],
        timestamps=times[begin:cut],
        now=resolve_request_time(float(times[cut - 1]), float(times[cut])) if now is None else now,
        wanted=histories.items[cut:end],
        user=user,
        most=most,
    )
