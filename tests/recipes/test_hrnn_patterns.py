"""Patterns that the network must learn, measured on users who were left out of the fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from shared.recipes.hrnn.repeat_features import COUNT
from tests.recipes.networks import (
    Learnt,
    each_cell,
    learnt,
    took,
)
from tests.recipes.synthetic import training_data


@each_cell
def test_it_learns_a_cycle(cell: str) -> None:
    rng = np.random.default_rng(0)
    data = took([[((start + t) % 12, 10 * t) for t in range(20)] for start in rng.integers(0, 12, 40)], 12)
    assert learnt(training_data(data), cell, steps=40, first=1).loss_TB[1:].mean() < 0.1


@each_cell
def test_it_remembers_what_came_long_before(cell: str) -> None:
    """Only the first item tells which of two comes last: a network that forgets cannot go below log 2."""
    rng = np.random.default_rng(0)
    numbers = [[user % 2, *rng.integers(4, 10, 12), user % 2 + 2] for user in range(128)]
    data = took([[(int(item), 10 * t) for t, item in enumerate(of_user)] for of_user in numbers], 10)
    assert learnt(training_data(data), cell, first=13).loss_TB[13].mean() < 0.1


@each_cell
def test_it_learns_what_people_begin_with(cell: str) -> None:
    rng = np.random.default_rng(0)
    numbers = [[7, *rng.integers(0, 7, 5)] for _ in range(1000)]
    data = took([[(int(item), 10 * t) for t, item in enumerate(of_user)] for of_user in numbers], 12)
    loss = learnt(training_data(data), cell, steps=20).loss_TB
    assert loss[0].mean() < 0.1
    assert loss[1:].mean() > 1.0


STEPS = 40
USERS = 48 * STEPS + 16
RING = 40


@each_cell
def test_it_learns_what_the_time_since_the_last_event_says(cell: str) -> None:
    """After an hour the next item comes, after a minute the one after the next."""
    rng = np.random.default_rng(0)
    sequences = []
    for _ in range(USERS):
        hours = rng.random(16) < 0.5
        items = rng.integers(RING) + np.cumsum(np.where(hours, 1, 2))
        times = np.cumsum(np.where(hours, 3600, 60))
        sequences.append(list(zip((items % RING).tolist(), times.tolist(), strict=True)))
    loss = learnt(training_data(took(sequences, RING)), cell, steps=STEPS, first=1).loss_TB
    assert loss[1:].mean() < 0.3 < np.log(2)


@each_cell
def test_it_learns_what_the_time_before_the_last_event_said(cell: str) -> None:
    """Who had waited an hour for the last item takes the next one then, who had not the one after the next."""
    rng = np.random.default_rng(0)
    sequences = []
    for _ in range(USERS):
        hours = rng.random(16) < 0.5
        times = np.cumsum(np.where(hours, 3600, 60))
        steps = np.concatenate([[0, 1], np.where(hours[1:-1], 1, 2)])
        items = rng.integers(RING) + np.cumsum(steps)
        sequences.append(list(zip((items % RING).tolist(), times.tolist(), strict=True)))
    loss = learnt(training_data(took(sequences, RING)), cell, steps=STEPS, first=2).loss_TB
    assert loss[2:].mean() < 0.3 < np.log(2)


@each_cell
def test_it_learns_what_the_events_types_say(cell: str) -> None:
    rng = np.random.default_rng(0)
    types = rng.integers(0, 2, (USERS, 16))
    items = rng.integers(0, RING, (USERS, 1)) + np.cumsum(np.concatenate([types[:, :1] * 0, types[:, :-1] + 1], 1), 1)
    sequences = [[(int(item) % RING, 10 * t) for t, item in enumerate(of_user)] for of_user in items]
    loss = learnt(training_data(took(sequences, RING, types.tolist())), cell, steps=STEPS, first=1).loss_TB
    assert loss[1:].mean() < 0.3 < np.log(2)


def own(rng: np.random.Generator, size: int) -> list[int]:
    return [int(item) for item in rng.permutation(40)[:size]]


def worth(fit: Learnt, chosen_S: Tensor) -> float:
    """The mean logit among what a user has had of some pairs, bool[S]."""
    return float(fit.logit_S[chosen_S].mean())


def features(fit: Learnt, place: int) -> Tensor:
    """[S] One of ``again.features`` of the pairs."""
    assert fit.asked.pairs.features is not None
    return fit.asked.pairs.features[:, place]


def of_histories(
    sequences: Sequence[Sequence[int]], pause: Callable[[int], int] = lambda _: 0
) -> list[list[tuple[int, int]]]:
    """An event every ten seconds, and ``pause`` more seconds before the event of this number."""
    return [[(int(item), 10 * t + pause(t)) for t, item in enumerate(items)] for items in sequences]


def test_it_learns_that_nothing_is_taken_twice() -> None:
    rng = np.random.default_rng(0)
    sequences = of_histories([rng.permutation(20)[:15].tolist() for _ in range(USERS)])
    fit = learnt(training_data(took(sequences, 20)), steps=STEPS)
    assert not fit.streams.repeats
    pairs = fit.asked.pairs
    assert (fit.log_p_TBI.flatten(0, 1)[pairs.rows, pairs.items] == -torch.inf).all()
    assert fit.loss_TB[14].mean() < np.log(6) + 0.2  # 6 of 20 are left, and nothing tells which


def test_it_learns_that_everything_is_taken_again() -> None:
    """Everyone has two items of their own, in an order that says nothing."""
    rng = np.random.default_rng(0)
    sequences = []
    for _ in range(USERS):
        mine = own(rng, 2)
        sequences.append([mine[rng.integers(2)] for _ in range(15)])
    fit = learnt(training_data(took(of_histories(sequences), 40)), steps=STEPS, first=5)
    assert fit.streams.repeats
    assert fit.loss_TB[5:].mean() < 1.0  # one of two is log 2, one of forty log 40
    assert fit.again_TB[5:].mean() > 0.9


def test_it_learns_how_many_take_something_again() -> None:
    """Every other event is of the user's own two items, the others are of none that was taken."""
    rng = np.random.default_rng(0)
    sequences = []
    for _ in range(USERS):
        others = own(rng, 20)
        sequences.append([others[rng.integers(2)] if rng.random() < 0.5 else others.pop() for _ in range(15)])
    fit = learnt(training_data(took(of_histories(sequences), 40)), steps=STEPS, first=8)
    assert fit.again_TB[8:].mean() == pytest.approx(0.5, abs=0.1)


def test_it_learns_that_people_take_again_what_they_took_long_ago() -> None:
    """Everyone takes one of the items of 8 to 11 events ago, in an order that says nothing."""
    rng = np.random.default_rng(0)
    sequences = []
    for _ in range(USERS):
        mine = own(rng, 12)
        for _ in range(12):
            oldest = [item for item in mine[-11:-7] if item not in mine[-7:]]
            mine.append(oldest[rng.integers(len(oldest))])
        sequences.append(mine)
    fit = learnt(training_data(took(of_histories(sequences), 40)), steps=STEPS, first=12)
    distance = features(fit, 1).exp().round()
    assert worth(fit, (distance >= 8) & (distance <= 11)) - worth(fit, distance < 8) > 0.4
    assert fit.loss_TB[12:].mean() < np.log(7)  # the history has 12


def test_it_learns_that_people_take_again_what_they_took_a_day_ago() -> None:
    """Two sessions, a day apart: the second has the items of the first, and no item is in a session twice."""
    rng = np.random.default_rng(0)
    sequences = []
    for _ in range(USERS):
        mine = own(rng, 8)
        sequences.append([*mine, *rng.permutation(mine).tolist()])
    fit = learnt(training_data(took(of_histories(sequences, lambda t: 86_400 * (t // 8)), 40)), steps=STEPS)
    visits = features(fit, 2).expm1().round()
    assert worth(fit, visits == 1) - worth(fit, visits == 0) > 0.4
    assert fit.loss_TB[8:].mean() < 2.0 < np.log(8)


def test_it_learns_that_people_take_again_what_they_took_often() -> None:
    """Everyone has a favourite in half of the events, and takes no other item twice."""
    rng = np.random.default_rng(0)
    sequences = []
    for _ in range(USERS):
        favourite, *others = own(rng, 25)
        sequences.append([favourite if rng.random() < 0.5 else others.pop() for _ in range(24)])
    fit = learnt(training_data(took(of_histories(sequences), 40)), steps=STEPS)
    count = features(fit, COUNT).exp().round()
    assert min(worth(fit, count == 2), worth(fit, count >= 4)) - worth(fit, count == 1) > 0.4
    assert fit.loss_TB[8:].mean() < 0.7 * np.log(40)  # half a favourite, half anything: (log 2 + log 80) / 2


def test_it_learns_that_what_was_bought_is_not_taken_again() -> None:
    """Of two items looked at last, one was bought: it is the other that is looked at again."""
    rng = np.random.default_rng(0)
    sequences, types = [], []
    for _ in range(USERS):
        items, bought = own(rng, 20), []
        for t in range(0, 20, 4):
            bought += [buys := int(rng.integers(2)), 1 - buys, 0, 0]
            items[t + 2] = items[t + buys]
        sequences.append(items)
        types.append(bought)
    fit = learnt(training_data(took(of_histories(sequences), 40, types)), steps=STEPS)
    assert fit.streams.event_types == 2
    assert fit.asked.pairs.types is not None
    assert worth(fit, fit.asked.pairs.types == 1) - worth(fit, fit.asked.pairs.types == 2) > 0.4
