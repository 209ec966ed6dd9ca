"""The simple peers, in numpy: each is fitted to a task. What libraries do better is in ``guests``.

Dense matrices over users or items: for catalogues of up to some 10,000 items, as all of the benchmark's are.

Shapes: U users, I items, T events of one user.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.quality.protocols import Answers, Query, Task

Array = npt.NDArray[Any]

WINDOW = 10
LAST = 5
FADING = 0.8
"""Of the Markov chain that looks at more than one event: pairs up to 10 apart, the last 5 events, 0.8 per step back."""

NEIGHBOURS = 100
RECENCY = 0.8
"""Of item-kNN: the most similar items that are kept, and the weight of each event against the one after it."""

RIDGE = 500.0
"""EASE's lambda."""

Score = Callable[[Array], Array]
"""items_T -> scores_I. None of these looks at the clock."""

TIE = 1e-6
"""What an interaction of anybody weighs in peers that would else leave most of the catalogue at 0."""


def popularity(task: Task) -> Score:
    counts_I = _counts(task)
    return lambda _: counts_I


def markov(task: Task) -> Score:
    """How often each item came right after the user's last one; ties by popularity."""
    after_II = _transitions(task, 1)
    tie_I = TIE * _counts(task)
    return lambda items_T: after_II[items_T[-1]] + tie_I


def markov_window(task: Task) -> Score:
    """How often each item came within WINDOW events after one of the user's LAST, the older the less."""
    after_II = _transitions(task, WINDOW)
    tie_I = TIE * _counts(task)

    def score(items_T: Array) -> Array:
        last = items_T[-LAST:]
        fading = FADING ** np.arange(len(last))[::-1]
        return np.asarray(fading @ after_II[last] + tie_I)

    return score


def item_knn(task: Task) -> Score:
    """Cosine between the users of two items, the best NEIGHBOURS of each, summed over the history by recency."""
    seen_UI = _seen(task)
    norms_I = np.sqrt(np.maximum((seen_UI**2).sum(0), 1e-9))
    like_II = (seen_UI.T @ seen_UI) / norms_I / norms_I[:, None]
    np.fill_diagonal(like_II, 0)
    if len(like_II) > NEIGHBOURS:
        like_II[like_II < np.partition(like_II, -NEIGHBOURS, axis=1)[:, -NEIGHBOURS, None]] = 0

    def score(items_T: Array) -> Array:
        fading = (RECENCY ** np.arange(len(items_T))[::-1]).astype(np.float32)
        return np.asarray(fading @ like_II[items_T])

    return score


def ease(task: Task) -> Score:
    """B = I - P / diag(P), P = (X'X + lambda I)^-1 (Steck, Embarrassingly Shallow Autoencoders, 2019)."""
    seen_UI = _seen(task)
    gram_II = seen_UI.T @ seen_UI
    gram_II[np.diag_indices_from(gram_II)] += RIDGE
    weights_II = np.linalg.inv(gram_II)
    weights_II /= -np.diag(weights_II)
    np.fill_diagonal(weights_II, 0)
    return lambda items_T: weights_II[np.unique(items_T)].sum(0)


PEERS: dict[str, Callable[[Task], Score]] = {
    "popularity": popularity,
    "markov": markov,
    "markov-window": markov_window,
    "item-knn": item_knn,
    "ease": ease,
}


def fitted(peer: str, task: Task) -> Answers:
    return answering(PEERS[peer](task))


def answering(score: Score) -> Answers:
    def answers(queries: Sequence[Query]) -> Iterator[Array]:
        return (score(query.items) for query in queries)

    return answers


def _events(task: Task) -> tuple[Array, Array]:
    """User and item of each event that may be learnt from."""
    training = task.training
    of_user = np.repeat(np.arange(len(training.user_ids)), training.lengths)
    known = np.isin(np.arange(len(training.user_ids)), task.users)[of_user]
    return of_user[known], training.items[known]


def _counts(task: Task) -> Array:
    _, items = _events(task)
    return np.bincount(items, minlength=len(task.training.item_ids))


def _seen(task: Task) -> Array:
    users, items = _events(task)
    seen_UI = np.zeros((len(task.training.user_ids), len(task.training.item_ids)), np.float32)
    seen_UI[users, items] = 1
    return seen_UI


def _transitions(task: Task, window: int) -> Array:
    """float32[I, I]: how often item j came at most ``window`` events after item i, of the same user."""
    users, items = _events(task)
    many = len(task.training.item_ids)
    after_II = np.zeros((many, many), np.float32)
    for distance in range(1, window + 1):
        same = users[distance:] == users[:-distance]
        np.add.at(after_II, (items[:-distance][same], items[distance:][same]), 1)
    return after_II
