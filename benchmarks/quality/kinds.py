"""Made-up data of six kinds, each the home of another simple recommender: what a model for any data is up against.

    habits     people take their own favourites again and again      personal frequency
    chain      what follows an item is one of a few, for everybody   the last item's followers
    fashion    items come into fashion and go within weeks           popularity of the last days
    sessions   a visit is about one topic, in no order               the nearest sessions (STAN)
    baskets    households shop once a week, staples and some news    TIFU-kNN
    tastes     a few interests a person, nothing is taken twice      EASE, item-kNN

Deterministic for a seed; times in seconds. ``size`` multiplies the users, and so the events, never the catalogue.

    python -m benchmarks.quality.kinds FOLDER        writes each as FOLDER/KIND/interactions.csv

Shapes: U users, V visits, E events, I items.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.quality.data import histories_of
from shared.data.arrays.histories import Histories

DAY = 24 * 3600
START = 1_600_000_000 // DAY * DAY
"""A midnight in September 2020."""

GOLDEN = (5**0.5 - 1) / 2
"""Its multiples are spread evenly over 0 to 1, however many there are: Weyl's sequence."""

Array = npt.NDArray[Any]
Rng = np.random.Generator


def habits(seed: int = 0, *, size: float = 1.0, items: int = 800, days: int = 300) -> Histories:
    """Everybody has some dozens of favourites, takes each at a rate of their own, and now and then anything popular.

    The rates do not change, and nothing else is to be learnt: neither the order nor what others take tells more.
    """
    rng = np.random.default_rng(seed)
    users = round(160 * size)
    begin_U = days * 0.5 * rng.random(users)
    events = _come(rng, visits_U=_many(rng, users, 220), begin_U=begin_U, end_U=np.full(users, days), clicks=1.2)
    popular_I = _zipf(items, 0.9)
    chosen_E = _drawn(rng, popular_I, len(events.users))
    for mine in _each(events.users, users):
        favourites = _some(rng, np.sqrt(popular_I), int(rng.integers(30, 61)))
        rates = rng.permutation(_zipf(len(favourites), 0.5))
        habitual = rng.random(len(mine)) < 0.88
        chosen_E[mine[habitual]] = favourites[_drawn(rng, rates, int(habitual.sum()))]
    return _histories(rng, events, chosen_E, users, items)


def chain(seed: int = 0, *, size: float = 1.0, items: int = 600, days: int = 365) -> Histories:
    """What follows an item is one of its four followers, the same for everybody; one step in ten goes anywhere."""
    rng = np.random.default_rng(seed)
    users = round(2500 * size)
    begin_U = days * 0.6 * rng.random(users)
    events = _come(rng, visits_U=_many(rng, users, 4), begin_U=begin_U, end_U=np.full(users, days), clicks=4)
    popular_I = _zipf(items, 0.9)
    followers_IF = np.array([_some(rng, np.sqrt(popular_I), 4) for _ in range(items)])
    which_E = _drawn(rng, np.array([0.55, 0.25, 0.12, 0.08]), len(events.users))
    chosen_E = _drawn(rng, popular_I, len(events.users))
    begins_E = np.diff(events.users, prepend=-1) > 0
    for event in np.flatnonzero(~begins_E & (rng.random(len(begins_E)) < 0.9)):
        chosen_E[event] = followers_IF[chosen_E[event - 1], which_E[event]]
    return _histories(rng, events, chosen_E, users, items)


def fashion(seed: int = 0, *, size: float = 1.0, items: int = 1000, days: int = 100) -> Histories:
    """Items come up within days and are forgotten after some weeks, and people take what is in fashion when they come.

    Hardly anything is taken twice by the same person. The last fashions are at their height when the data ends.
    """
    rng = np.random.default_rng(seed)
    users = round(1300 * size)
    begin_U = days * 0.4 * rng.random(users)
    visits_U, end_U = _many(rng, users, 13), np.full(users, days)
    events = _come(rng, visits_U=visits_U, begin_U=begin_U, end_U=end_U, clicks=1.1, growth=1.5)
    strength_I = _zipf(items, 0.8)
    # The strongest comes up a few days before the end.
    born_I = days * (1 - 1.15 * ((0.03 + GOLDEN * np.arange(items)) % 1))
    height_I = rng.lognormal(np.log(6), 0.4, items)
    chosen_E = rng.integers(items, size=len(events.users))
    day_E = _days(events.times)
    had: set[tuple[int, int]] = set()
    for event in np.argsort(day_E, kind="stable"):
        age_I = np.maximum(day_E[event] - born_I, 0) / height_I
        for item in _drawn(rng, strength_I * age_I * np.exp(-age_I), 4 if rng.random() < 0.9 else 0):
            chosen_E[event] = item
            if (events.users[event], item) not in had:
                break
        had.add((events.users[event], chosen_E[event]))
    return _histories(rng, events, chosen_E, users, items)


def sessions(seed: int = 0, *, size: float = 1.0, items: int = 800, topics: int = 160, days: int = 700) -> Histories:
    """People come once or a few times and click on 3 to 12 things about one topic, half of the time the same as before.

    A topic is 20 of the items there are topics about, in no order, and in the news for some weeks; an item is of a
    dozen or two over the years. A click in four goes back to what was seen; some go anywhere.
    """
    rng = np.random.default_rng(seed)
    users = round(6500 * size)
    begin_U = days * rng.random(users)
    end_U = np.minimum(begin_U + rng.exponential(60, users), days)
    events = _come(rng, visits_U=rng.geometric(0.55, users), begin_U=begin_U, end_U=end_U, clicks=5, least=3, most=12)
    of_topic = [rng.permutation(160)[:20] for _ in range(topics)]
    popular_T, born_T = _zipf(topics, 0.4), days * (1.15 * (GOLDEN * np.arange(topics) % 1) - 0.15)
    chosen_E = 160 + rng.integers(items - 160, size=len(events.users))
    user = -1
    seen: list[int] = []
    unseen: list[int] = []
    for clicks in _each(events.visits, events.visits[-1] + 1):
        if events.users[clicks[0]] != user or rng.random() < 0.45:
            age_T = _days(events.times[clicks[0]]) - born_T
            [topic] = _drawn(rng, popular_T * (age_T > 0) * np.exp(-np.maximum(age_T, 0) / 30), 1)
            seen, unseen = [], of_topic[topic][_some(rng, _zipf(20, 0.6), 20)[::-1]].tolist()
        user = events.users[clicks[0]]
        for click in clicks:
            if seen and rng.random() < 0.23:
                chosen_E[click] = rng.choice(seen)
            elif unseen and rng.random() < 0.95:
                chosen_E[click] = unseen.pop()
                seen.append(chosen_E[click])
    return _histories(rng, events, chosen_E, users, items)


def baskets(seed: int = 0, *, size: float = 1.0, items: int = 1200, groups: int = 12, weeks: int = 50) -> Histories:
    """Households shop once a week: staples, each with its own period and for some months, and something new to them.

    Most of both is what their taste group takes. All rows of a basket have one timestamp and are sorted by the item's
    id, so that their order tells nothing.
    """
    rng = np.random.default_rng(seed)
    households = round(140 * size)
    popular_GI = np.array([_zipf(items, 0.5) * (rng.random(items) < 0.09) for _ in range(groups)])
    popular_GI += 0.02 * _zipf(items, 1.0) * popular_GI.sum() / groups
    popular_GI = popular_GI[:, rng.permutation(items)]
    rows: list[tuple[int, int, int]] = []
    for household in range(households):
        moment, joined = rng.normal(4 * DAY, 1.5 * DAY), rng.integers(weeks // 3)
        for week, basket in enumerate(_weekly(rng, popular_GI[rng.integers(groups)], weeks)):
            time = START + int(7 * DAY * week + moment + rng.normal(0, 0.3 * DAY))
            if week >= joined and rng.random() < 0.93:
                rows += [(household, item, time) for item in basket]
    users, chosen, times = np.array(rows).T
    return histories_of(users, chosen, times, user_ids=_ids("u", households), item_ids=_ids("i", items))


def _weekly(rng: Rng, liked_I: Array, weeks: int) -> list[list[int]]:
    """The baskets of one household, each sorted: staples that are due, and some of what it likes."""
    staples = _some(rng, liked_I, int(rng.integers(18, 31)))
    periods = rng.choice([1, 2, 3, 4, 6], len(staples))
    next_due = periods * rng.random(len(staples))
    found: list[list[int]] = []
    for week in range(weeks):
        tired = rng.random(len(staples)) < 1 / 12
        staples[tired] = _drawn(rng, liked_I, int(tired.sum()))
        due = next_due <= week
        next_due[due] = week + periods[due] * rng.normal(1, 0.25, int(due.sum()))
        new = _drawn(rng, liked_I, 1 + rng.poisson(0.5))
        found.append(sorted([*dict.fromkeys([*staples[due].tolist(), *new.tolist()])][:20]))
    return found


def tastes(seed: int = 0, *, size: float = 1.0, items: int = 1600, interests: int = 40, days: int = 365) -> Histories:
    """People have two or three interests and take things of these, nothing twice: a marketplace with short histories.

    Neither the order nor the time tells anything.
    """
    rng = np.random.default_rng(seed)
    users = round(3000 * size)
    begin_U = days * 0.7 * rng.random(users)
    events = _come(rng, visits_U=_many(rng, users, 4), begin_U=begin_U, end_U=np.full(users, days), clicks=2)
    of_interest = np.array_split(rng.permutation(items), interests)
    popular_N = _zipf(interests, 0.6)
    chosen_E = np.empty(len(events.users), np.int64)
    for mine in _each(events.users, users):
        weights_I = np.full(items, 0.08 / items)
        for interest in _some(rng, popular_N, int(rng.integers(2, 4))):
            weights_I[of_interest[interest]] += _zipf(len(of_interest[interest]), 0.7)
        chosen_E[mine] = _some(rng, weights_I, len(mine))
    return _histories(rng, events, chosen_E, users, items)


KINDS: dict[str, Callable[..., Histories]] = {
    "habits": habits,
    "chain": chain,
    "fashion": fashion,
    "sessions": sessions,
    "baskets": baskets,
    "tastes": tastes,
}


def write(folder: Path, histories: Histories) -> None:
    """Writes interactions.csv into the folder, oldest first, which ``data.read`` reads back as the same histories."""
    folder.mkdir(parents=True, exist_ok=True)
    users_E = np.repeat(np.arange(len(histories.user_ids)), histories.lengths)
    with (folder / "interactions.csv").open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["USER_ID", "ITEM_ID", "TIMESTAMP"])
        for event in np.argsort(histories.timestamps, kind="stable"):
            user, item = histories.user_ids[users_E[event]], histories.item_ids[histories.items[event]]
            rows.writerow([user, item, histories.timestamps[event]])


def described(histories: Histories) -> str:
    """How much it is, how long the histories are, how much is taken at once and how much again."""
    users_E = np.repeat(np.arange(len(histories.user_ids)), histories.lengths)
    moments = len(np.unique(np.stack([users_E, histories.timestamps]), axis=1)[0])
    first = len(np.unique(np.stack([users_E, histories.items.astype(np.int64)]), axis=1)[0])
    events = len(users_E)
    return (
        f"{(histories.lengths > 0).sum()} users, {len(np.unique(histories.items))} items, {events} events, "
        f"{np.median(histories.lengths):.0f} a user (median), {events / moments:.1f} a moment, "
        f"{1 - first / events:.0%} repeats"
    )


class Events(NamedTuple):
    """When who comes, sorted by user and visit, oldest first. Visits are numbered through, and hardly ever overlap."""

    users: Array
    visits: Array
    times: Array


def _come(
    rng: Rng,
    *,
    visits_U: Array,
    begin_U: Array,
    end_U: Array,
    clicks: float,
    least: int = 1,
    most: int = 50,
    growth: float = 1.0,
) -> Events:
    """Visits at any time between two days, mostly in the evening, of clicks that are seconds to minutes apart.

    With a ``growth`` above 1 they become more frequent towards the end.
    """
    users_V = np.repeat(np.arange(len(visits_U)), visits_U)
    days_V = begin_U[users_V] + (end_U - begin_U)[users_V] * rng.random(len(users_V)) ** (1 / growth)
    days_V = np.floor(days_V) + np.clip(rng.normal(0.75, 0.12, len(days_V)), 0, 0.95)
    order = np.lexsort((days_V, users_V))
    users_V, days_V = users_V[order], days_V[order]
    clicks_V = np.clip(least + rng.poisson(clicks - least, len(users_V)), least, most)
    visits_E = np.repeat(np.arange(len(users_V)), clicks_V)
    waits_E = np.clip(rng.lognormal(np.log(60), 1, len(visits_E)), 1, 1200)
    elapsed_E = np.cumsum(waits_E)
    since_E = elapsed_E - elapsed_E[np.cumsum(clicks_V) - clicks_V][visits_E]
    times_E = (START + days_V[visits_E] * DAY + since_E).astype(np.int64)
    return Events(users_V[visits_E], visits_E, times_E)


def _many(rng: Rng, users: int, median: float) -> Array:
    """How often each comes: a few come much more often than most."""
    return np.maximum(rng.lognormal(np.log(median), 0.6, users).astype(np.int64), 1)


def _days(times: Array) -> Array:
    """Since START."""
    return (times - START) / DAY


def _zipf(many: int, steepness: float) -> Array:
    weights: Array = 1 / np.arange(1, many + 1) ** steepness
    return weights


def _drawn(rng: Rng, weights: Array, many: int) -> Array:
    """So many places, each drawn by the weights, any of them repeatedly."""
    sums = np.cumsum(weights)
    places: Array = np.searchsorted(sums, rng.random(many) * sums[-1], side="right")
    return places


def _some(rng: Rng, weights: Array, many: int) -> Array:
    """So many different places drawn by the weights, in the order of drawing."""
    with np.errstate(divide="ignore"):
        keys = np.log(weights) + rng.gumbel(size=len(weights))
    return np.argsort(-keys)[:many]


def _each(numbers_E: Array, many: int) -> list[Array]:
    """The places of each number, where equal ones stand together in rising order."""
    return np.split(np.arange(len(numbers_E)), np.searchsorted(numbers_E, np.arange(1, many)))


def _histories(rng: Rng, events: Events, chosen_E: Array, users: int, items: int) -> Histories:
    """Ids tell nothing of an item's popularity."""
    numbers = rng.permutation(items)
    return histories_of(
        events.users, numbers[chosen_E], events.times, user_ids=_ids("u", users), item_ids=_ids("i", items)
    )


def _ids(letter: str, many: int) -> list[str]:
    """As many ids, in the order of their code points."""
    return [f"{letter}{number:05}" for number in range(many)]


def main() -> None:
    for name, kind in KINDS.items():
        histories = kind()
        write(Path(sys.argv[1]) / name, histories)
        print(f"{name}: {described(histories)}")


if __name__ == "__main__":
    main()
