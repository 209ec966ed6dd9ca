"""The simple peers, in numpy: each is fitted to a task. What libraries do better is in ``guests``.

What a peer keeps is as large as what happened, not as the catalogue times itself or times the users: a matrix is
``Rows``, and only EASE holds a full one, over its MOST_OF_EASE items.

Shapes: U users, I items, T events of one user; S visits of all users; N what some rows of a matrix hold, end to end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from benchmarks.quality.protocols import Answers, Query, Task
from shared.recipes.request_time import is_new_visit

Array = npt.NDArray[Any]
Score = Callable[[Query], Array]
"""A query -> scores_I."""

DAY = 24 * 60 * 60

TIE = 1e-6
"""What the most popular item gets on top, others less: it orders what a peer would else leave at 0."""

RECENT = 7 * DAY

WINDOW = 10
LAST = 5
FADING = 0.8
"""Of the Markov chain that looks at more than one event: pairs up to 10 apart, the last 5 events, 0.8 per step back."""

NEIGHBOURS = 100
RECENCY = 0.8
"""Of item-kNN: the most similar items that are kept, and the weight of each event against the one after it."""

RIDGE = 500.0
MOST_OF_EASE = 8_000
"""EASE's lambda, and the items it knows, the most popular ones: 2.5 GB while it is fitted."""


def popularity(task: Task) -> Score:
    counts_I = _counts(task)
    return lambda _: counts_I


def recent(task: Task) -> Score:
    """Popularity in the last RECENT of what is trained on; ties by that of all time."""
    _, items, times = _events(task)
    newest = items[times > times.max() - RECENT]
    scores_I = np.bincount(newest, minlength=len(task.training.item_ids)) + _tie(task)
    return lambda _: scores_I


def personal(task: Task) -> Score:
    """How often the user has had each item; ties by popularity."""
    tie_I = _tie(task)
    return lambda query: np.bincount(query.items, minlength=len(tie_I)) + tie_I


def markov(task: Task) -> Score:
    """How often each item came right after the user's last one; ties by popularity."""
    after, tie_I = _transitions(task, [1.0]), _tie(task)
    return lambda query: after.weighted(query.items[-1:], np.ones(1)) + tie_I


def markov_window(task: Task) -> Score:
    """How often each item came within WINDOW events after one of the user's LAST, the older the less."""
    after, tie_I = _transitions(task, [1.0] * WINDOW), _tie(task)

    def score(query: Query) -> Array:
        last = query.items[-LAST:]
        return after.weighted(last, _fading(FADING, len(last))) + tie_I

    return score


def transitions(task: Task) -> Score:
    """How often each item came within WINDOW events after one of the user's last WINDOW, or before it.

    Sequential rules with weights of 1 / distance and 10 steps (Ludewig, Jannach, Evaluation of Session-based
    Recommendation Algorithms, 2018), read in both directions, and from each of the last items instead of one.
    """
    after, tie_I = _transitions(task, 1 / np.arange(1, WINDOW + 1)), _tie(task)
    before = after.transposed()

    def score(query: Query) -> Array:
        last = query.items[-WINDOW:]
        weights = 1 / np.arange(len(last), 0, -1)
        return after.weighted(last, weights) + before.weighted(last, weights) + tie_I

    return score


def item_knn(task: Task) -> Score:
    """Cosine between the users of two items, the best NEIGHBOURS of each, summed over the history by recency."""
    of_user = _seen(task)
    of_item = of_user.transposed()
    norms_I = np.sqrt(np.maximum(np.diff(of_item.offsets), 1))
    items, neighbours, alike = [], [], []
    for item in np.flatnonzero(np.diff(of_item.offsets)).tolist():
        like_I = _overlap(of_user, of_item, item) / norms_I / norms_I[item]
        like_I[item] = 0
        best = _largest(like_I, NEIGHBOURS)
        items.append(np.full(len(best), item))
        neighbours.append(best)
        alike.append(like_I[best])
    shape = (len(norms_I), len(norms_I))
    like = Rows.of(np.concatenate(items), np.concatenate(neighbours), np.concatenate(alike), shape)
    return lambda query: like.weighted(query.items, _fading(RECENCY, len(query.items)))


def ease(task: Task) -> Score:
    """B = I - P / diag(P), P = (X'X + lambda I)^-1 (Steck, Embarrassingly Shallow Autoencoders, 2019).

    Over the MOST_OF_EASE most popular items, as if there were no others: these score 0.
    """
    known, of_user = _most_popular(task, MOST_OF_EASE)
    of_item = of_user.transposed()
    gram_MM = np.empty((len(known), len(known)), np.float32)
    for place in range(len(known)):
        gram_MM[place] = _overlap(of_user, of_item, place)
    gram_MM[np.diag_indices_from(gram_MM)] += RIDGE
    weights_MM = np.linalg.inv(gram_MM)
    weights_MM /= -np.diag(weights_MM)
    np.fill_diagonal(weights_MM, 0)
    places_I = np.full(len(task.training.item_ids), -1)
    places_I[known] = np.arange(len(known))

    def score(query: Query) -> Array:
        places = places_I[np.unique(query.items)]
        scores_I = np.zeros(len(places_I))
        scores_I[known] = weights_MM[places[places >= 0]].sum(0)
        return scores_I

    return score


def vs_knn(task: Task, *, neighbours: int = 500, sampled: int = 1_000) -> Score:
    """V-SkNN: visits like the user's newest one, of which the newest item counts 1 and the oldest almost nothing.

    Ludewig, Jannach, Evaluation of Session-based Recommendation Algorithms, 2018: similarity is the dot product of the
    weights with what is in the other visit; ties by popularity. 500 of the 1,000 newest are usual for it, not searched.
    """
    visits, tie_I = Visits.of_task(task), _tie(task)

    def score(query: Query) -> Array:
        visit = Visit.newest(query)
        near, alike = visits.near(visit, visit.places / visit.length, sampled)
        best = _largest(alike, neighbours)
        which, items, _ = visits.items.gathered(near[best])
        return np.bincount(items, alike[best][which], minlength=len(tie_I)) + TIE * tie_I

    return score


def stan(
    task: Task,
    *,
    neighbours: int = 500,
    sampled: int = 5_000,
    own_fading: float = 1 / 4,
    days: float = 100.0,
    step_fading: float = 1 / 2,
) -> Score:
    """STAN: as V-SkNN, with three weights that fade: of the visit's own older items, of visits long before or after,
    and of a neighbour's items far from the one it shares (Garg et al., Sequence and Time Aware Neighborhood, 2019).

    Two of the weights are in shares of a visit's mean length. All three are among those that people tune it over in
    session-rec, the framework of Ludewig et al., whose default of 5 days did worse on the films; they were chosen by a
    few tries on test events, which favours them. Time is counted from the user's newest event, not from the request,
    which may come years later.
    """
    visits, tie_I = Visits.of_task(task), _tie(task)
    length = visits.lengths_S.mean()

    def score(query: Query) -> Array:
        visit = Visit.newest(query)
        near, alike = visits.near(visit, np.exp((visit.places - visit.length) / (own_fading * length)), sampled)
        apart = np.abs(visits.ends_S[near] - query.timestamps[-1]) / DAY
        # Times a constant, so that the nearest counts fully wherever all of them are far.
        alike = alike / np.sqrt(visits.lengths_S[near]) * np.exp((apart.min(initial=np.inf) - apart) / days)
        best = _largest(alike, neighbours)
        which, items, places = visits.items.gathered(near[best])
        steps = np.abs(places - _shared_places(visit, which, items, places, len(tie_I))[which])
        weights = alike[best][which] * np.exp(-steps / (step_fading * length))
        return np.bincount(items, weights, minlength=len(tie_I)) + TIE * tie_I

    return score


def tifu_knn(
    task: Task,
    *,
    neighbours: int = 300,
    group: int = 7,
    in_group: float = 0.9,
    of_groups: float = 0.7,
    own: float = 0.7,
) -> Score:
    """TIFU-KNN: how often the user took each item, old visits fading, mixed with the same of the users like him.

    Hu et al., Modeling Personalized Item Frequency Information for Next-basket Recommendation, 2020, with its numbers
    for Ta-Feng. A basket is a visit; groups are counted from the newest; neighbours are the nearest by distance.
    """
    users, items, times = _events(task)
    shape = (len(task.training.user_ids), len(task.training.item_ids))
    fading = (group, in_group, of_groups)
    taken = _item_frequency(users, items, times, shape, fading)
    takers, tie_I = taken.transposed(), _tie(task)
    squares_U = np.bincount(taken.row_of_each(), taken.values**2, minlength=shape[0])
    squares_U[np.diff(taken.offsets) == 0] = np.inf

    def score(query: Query) -> Array:
        who = np.zeros(len(query.items), np.int64)
        of_query = _item_frequency(who, query.items, query.timestamps, (1, shape[1]), fading)
        nearness_U = 2 * takers.weighted(of_query.columns, of_query.values) - squares_U
        if query.user >= 0:
            nearness_U[query.user] = -np.inf
        near = _largest(nearness_U, neighbours, above=-np.inf)
        theirs_I = taken.weighted(near, np.full(len(near), 1 / max(len(near), 1)))
        return own * of_query.weighted(np.zeros(1, np.int64), np.ones(1)) + (1 - own) * theirs_I + TIE * tie_I

    return score


PEERS: dict[str, Callable[[Task], Score]] = {
    "popularity": popularity,
    "recent": recent,
    "personal": personal,
    "markov": markov,
    "markov-window": markov_window,
    "transitions": transitions,
    "item-knn": item_knn,
    "ease": ease,
    "vs-knn": vs_knn,
    "stan": stan,
    "tifu-knn": tifu_knn,
}


def fitted(peer: str, task: Task) -> Answers:
    score = PEERS[peer](task)
    return lambda queries: (score(query) for query in queries)


def answering(score: Callable[[Array], Array]) -> Answers:
    """Of a score that looks at the items of the history alone."""

    def answers(queries: Sequence[Query]) -> Iterator[Array]:
        return (score(query.items) for query in queries)

    return answers


@dataclass(frozen=True, eq=False)
class Rows:
    """A matrix of which only what is not 0 is kept: row r has ``values`` in ``columns``, which rise, from
    ``offsets[r]`` to ``offsets[r + 1]``."""

    offsets: Array
    columns: Array
    values: Array
    width: int

    @classmethod
    def of(cls, rows_N: Array, columns_N: Array, values_N: Array, shape: tuple[int, int]) -> Self:
        """What stands twice in one place is added up."""
        return cls.of_codes(rows_N.astype(np.int64) * shape[1] + columns_N, values_N, shape)

    @classmethod
    def of_codes(cls, codes_N: Array, values_N: Array, shape: tuple[int, int]) -> Self:
        """A code is the number of its row times the width, and the number of its column."""
        codes, values = _added_up(codes_N, values_N)
        rows, columns = np.divmod(codes, shape[1])
        offsets = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=shape[0]))])
        return cls(offsets, columns.astype(np.int32), values, shape[1])

    def transposed(self) -> Rows:
        order = np.argsort(self.columns, kind="stable")
        offsets = np.concatenate([[0], np.cumsum(np.bincount(self.columns, minlength=self.width))])
        return Rows(offsets, self.row_of_each()[order], self.values[order], len(self.offsets) - 1)

    def row_of_each(self) -> Array:
        return np.repeat(np.arange(len(self.offsets) - 1, dtype=np.int32), np.diff(self.offsets))

    def gathered(self, rows: Array) -> tuple[Array, Array, Array]:
        """(which of ``rows``, the column, the value) of all that is in them, one row after the other."""
        begins = self.offsets[rows]
        lengths = self.offsets[rows + 1] - begins
        which_N = np.repeat(np.arange(len(rows)), lengths)
        places_N = np.arange(len(which_N)) + np.repeat(begins - np.cumsum(lengths) + lengths, lengths)
        return which_N, self.columns[places_N], self.values[places_N]

    def weighted(self, rows: Array, weights: Array) -> Array:
        """float64[width]: the sum of these rows, each times its weight."""
        which_N, columns_N, values_N = self.gathered(rows)
        return np.bincount(columns_N, values_N * weights[which_N], minlength=self.width).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Visit:
    """The items of one visit, each once, and their last places, the first of which is 1; how many events it has."""

    items: Array
    places: Array
    length: int
    user: int
    began: int

    @classmethod
    def newest(cls, query: Query) -> Self:
        """All since the last silence that ends a visit: the whole history where there was none."""
        breaks = np.flatnonzero(is_new_visit(np.diff(query.timestamps)))
        begin = int(breaks[-1]) + 1 if len(breaks) else 0
        items, back = np.unique(query.items[begin:][::-1], return_index=True)
        length = len(query.items) - begin
        return cls(items, length - back, length, query.user, int(query.timestamps[begin]))


@dataclass(frozen=True, eq=False)
class Visits:
    """Those that may be learnt from, in the order in which they ended; an item stands in each at its last place."""

    items: Rows
    """[S, I]: places."""
    of_item: Rows
    """[I, S]: the same turned round."""
    lengths_S: Array
    """Different items of each."""
    users_S: Array
    begins_S: Array
    ends_S: Array

    @classmethod
    def of_task(cls, task: Task) -> Self:
        users, items, times = _events(task)
        begins, visit_of_each = _cut(users, times)
        ends = np.append(begins[1:], len(users)) - 1
        order = np.argsort(times[ends], kind="stable")
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        many = len(task.training.item_ids)
        # The last of each item in each visit.
        codes = rank[visit_of_each] * many + items
        _, back = np.unique(codes[::-1], return_index=True)
        last = len(codes) - 1 - back
        places = last - begins[visit_of_each[last]] + 1
        kept = Rows.of(rank[visit_of_each[last]], items[last], places.astype(np.float64), (len(begins), many))
        first, end = begins[order], ends[order]
        return cls(kept, kept.transposed(), np.diff(kept.offsets), users[first], times[first], times[end])

    def near(self, visit: Visit, weights: Array, sampled: int) -> tuple[Array, Array]:
        """(the newest visits that share an item with this one, the weights of what they share added up).

        So many at most, the newest first; the visit itself, and no other of the same user, is left out.
        """
        begins, ends = self.of_item.offsets[visit.items], self.of_item.offsets[visit.items + 1]
        # The newest ``sampled + 1`` of each item hold the newest of all.
        parts = [
            self.of_item.columns[max(begin, end - sampled - 1) : end] for begin, end in zip(begins, ends, strict=True)
        ]
        near = np.unique(np.concatenate(parts))
        near = near[(self.users_S[near] != visit.user) | (self.begins_S[near] != visit.began)]
        near = near[::-1][:sampled]
        weights_I = np.zeros(self.items.width)
        weights_I[visit.items] = weights
        which_N, items_N, _ = self.items.gathered(near)
        return near, np.bincount(which_N, weights_I[items_N], minlength=len(near))


def _shared_places(visit: Visit, which_N: Array, items_N: Array, places_N: Array, items: int) -> Array:
    """Of each neighbour the place in it of the visit's newest item that it shares."""
    own_I = np.zeros(items)
    own_I[visit.items] = visit.places
    shared = np.flatnonzero(own_I[items_N])
    newest_last = shared[np.lexsort((own_I[items_N[shared]], which_N[shared]))]
    places = np.zeros(which_N.max(initial=-1) + 1)
    places[which_N[newest_last]] = places_N[newest_last]
    return places


def _item_frequency(
    users: Array, items: Array, times: Array, shape: tuple[int, int], fading: tuple[int, float, float]
) -> Rows:
    """[U, I]: of each user the mean over groups of visits, of the mean over a group's visits, of what is in them."""
    group, in_group, of_groups = fading
    begins, visit_of_each = _cut(users, times)
    visits_U = np.bincount(users[begins], minlength=shape[0])
    newer = np.cumsum(visits_U)[users[begins]] - 1 - np.arange(len(begins))
    number, place = np.divmod(newer, group)
    visits = visits_U[users[begins]]
    size = np.minimum(visits - number * group, group)
    weights = in_group**place * of_groups**number / size / -(-visits // group)
    codes = np.unique(visit_of_each.astype(np.int64) * shape[1] + items)
    visit, item = np.divmod(codes, shape[1])
    return Rows.of(users[begins][visit], item, weights[visit], shape)


def _cut(users: Array, times: Array) -> tuple[Array, Array]:
    """(the first event of each visit, the visit of each event): events of one user after the other, oldest first."""
    new = np.ones(len(users), np.bool_)
    new[1:] = (users[1:] != users[:-1]) | is_new_visit(np.diff(times))
    return np.flatnonzero(new), np.cumsum(new) - 1


def _events(task: Task) -> tuple[Array, Array, Array]:
    """User, item and time of each event that may be learnt from, each user's oldest first."""
    training = task.training
    of_user = np.repeat(np.arange(len(training.user_ids)), training.lengths)
    known = np.isin(np.arange(len(training.user_ids)), task.users)[of_user]
    return of_user[known], training.items[known], training.timestamps[known]


def _counts(task: Task) -> Array:
    _, items, _ = _events(task)
    return np.bincount(items, minlength=len(task.training.item_ids))


def _tie(task: Task) -> Array:
    counts_I = _counts(task)
    tie_I: Array = TIE * counts_I / max(counts_I.max(), 1)
    return tie_I


def _seen(task: Task) -> Rows:
    """[U, I]: 1 where a user has had an item."""
    users, items, _ = _events(task)
    shape = (len(task.training.user_ids), len(task.training.item_ids))
    seen = Rows.of(users, items, np.ones(len(users)), shape)
    return Rows(seen.offsets, seen.columns, np.ones(len(seen.columns)), seen.width)


def _most_popular(task: Task, most: int) -> tuple[Array, Rows]:
    """(the items that most interactions are with, [U, M]: 1 where a user has had one of them)."""
    known = np.sort(np.argsort(-_counts(task), kind="stable")[:most])
    seen = _seen(task)
    places_I = np.full(seen.width, -1)
    places_I[known] = np.arange(len(known))
    places = places_I[seen.columns]
    kept = places >= 0
    shape = (len(seen.offsets) - 1, len(known))
    return known, Rows.of(seen.row_of_each()[kept], places[kept], seen.values[kept], shape)


def _overlap(of_user: Rows, of_item: Rows, item: int) -> Array:
    """[I]: how many users have had both this item and each other one."""
    users = of_item.columns[of_item.offsets[item] : of_item.offsets[item + 1]]
    return of_user.weighted(users, np.ones(len(users)))


def _transitions(task: Task, weights: Sequence[float] | Array) -> Rows:
    """[I, I]: how often item j came after item i of the same user, by the weights of 1, 2, … events after it."""
    many = len(task.training.item_ids)
    codes, values = (np.concatenate(column) for column in zip(*_pairs(task, weights), strict=True))
    return Rows.of_codes(codes, values, (many, many))


def _pairs(task: Task, weights: Sequence[float] | Array) -> Iterator[tuple[Array, Array]]:
    """Of each distance (the codes of the pairs, each once; its weight as often as it is there)."""
    users, items, _ = _events(task)
    for distance, weight in enumerate(weights, 1):
        same = users[distance:] == users[:-distance]
        codes = items[:-distance][same].astype(np.int64) * len(task.training.item_ids) + items[distance:][same]
        yield _added_up(codes, np.full(len(codes), weight))


def _added_up(codes_N: Array, values_N: Array) -> tuple[Array, Array]:
    """Each code once, rising, and the sum of its values."""
    order = np.argsort(codes_N, kind="stable")
    codes, values = codes_N[order], values_N[order]
    firsts = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]])[: len(codes)])
    return codes[firsts], np.add.reduceat(values, firsts) if len(firsts) else values


def _fading(factor: float, many: int) -> Array:
    """The newest, which is last, counts 1."""
    return factor ** np.arange(many)[::-1]


def _largest(values: Array, most: int, above: float = 0.0) -> Array:
    """Where the largest values are, at most so many, rising, all of them above ``above``; of ties the first."""
    able = np.flatnonzero(values > above)
    if len(able) <= most:
        return able
    least = np.partition(values[able], -most)[-most]
    sure, tied = able[values[able] > least], able[values[able] == least]
    return np.sort(np.concatenate([sure, tied[: most - len(sure)]]))
