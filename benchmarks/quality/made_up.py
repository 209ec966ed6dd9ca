"""Made-up histories in which one thing matters and is known to matter. Deterministic for a seed; times in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.quality.data import histories_of
from shared.data.arrays.histories import Histories

YEAR = 365 * 24 * 3600
START = 1_600_000_000


def drifting(seed: int = 0, *, users: int = 8000, events: int = 3, items: int = 80) -> tuple[Histories, list[int]]:
    """Half of the items come into fashion over a year, from a share of 10 % to one of 90 %, the others go out of it.

    Each is as popular as any other over all time. A user comes once and takes a few things within the hour, so that
    nothing but the fashion of the day joins them. Also returns the users of the last fifth of the year.
    """
    rng = np.random.default_rng(seed)
    came = rng.random(users)
    of_user = np.repeat(np.arange(users), events)
    rising = rng.random(len(of_user)) < 0.1 + 0.8 * came[of_user]
    half = items // 2
    chosen = rng.integers(half, size=len(of_user)) + np.where(rising, 0, half)
    numbers = rng.permutation(items)
    times = START + (came[of_user] * YEAR).astype(np.int64) + np.tile(np.arange(events), users) * 600
    histories = histories_of(of_user, numbers[chosen], times, user_ids=_ids("u", users), item_ids=_ids("i", items))
    return histories, np.flatnonzero(came > 0.8).tolist()


def shelves(
    folder: Path, seed: int = 0, *, users: int = 1000, events: int = 20, items: int = 4000, shelves: int = 40
) -> Histories:
    """People go from shelf to shelf by a habit common to all, and take anything that stands there.

    Each item is taken a few times only, so that its shelf has to come from ``items.csv`` (ITEM_ID, SHELF), which this
    writes into the folder.
    """
    rng = np.random.default_rng(seed)
    shelf_of = rng.integers(shelves, size=items)
    onwards = rng.permutation(shelves)
    on_shelf = [np.flatnonzero(shelf_of == shelf) for shelf in range(shelves)]
    at = rng.integers(shelves, size=users)
    chosen = np.zeros((users, events), np.int64)
    for event in range(events):
        chosen[:, event] = [rng.choice(on_shelf[shelf]) for shelf in at]
        at = np.where(rng.random(users) < 0.9, onwards[at], rng.integers(shelves, size=users))
    times = START + np.cumsum(rng.integers(10, 600, (users, events)), axis=1)
    item_ids = _ids("i", items)
    rows = [f"{item_id},s{shelf:03}\n" for item_id, shelf in zip(item_ids, shelf_of, strict=True)]
    (folder / "items.csv").write_text("ITEM_ID,SHELF\n" + "".join(rows))
    return histories_of(
        np.repeat(np.arange(users), events),
        chosen.ravel(),
        times.ravel(),
        user_ids=_ids("u", users),
        item_ids=item_ids,
    )


def _ids(letter: str, many: int) -> list[str]:
    """As many ids, in the order of their code points."""
    return [f"{letter}{number:07}" for number in range(many)]
