"""Features of an item in a user's history, for the question if the user will repeat it. No torch.

For each event the part of the features that does not depend on the request is kept (``LastTakings``). The moment of a
request turns it into ``FEATURES`` numbers (``compute_repeat_features``), by the same lines in training and serving.
The repeat head clips them to the range of the training data.

Shapes: E events, S items of histories, F features, D half-lives.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

HALF_LIVES = (1.0, 4.0, 16.0)
"""Half-lives, in visits, of the faded counts of an item's interactions."""

COUNT = 3
"""The index of log(count) among the features."""

FEATURES = 7 + len(HALF_LIVES)

Array = Any
"""An array of numpy, or in training a tensor."""


class LastInteractions(NamedTuple):
    """The last interaction with each item before a request."""

    distance: Array  # [S] events since, including that one: from 1
    visits: Array  # [S] visits begun since; 0: the current visit
    seconds: Array  # [S] since
    counts: Array  # [S] interactions with the item up to then: from 1
    interval: Array  # [S] mean seconds between these; 0 for a single one
    faded: Array  # [S,D] log of the sum of these, each faded by HALF_LIVES
    events: Array  # [S] of the user before the request


def compute_repeat_features(of: LastInteractions, xp: Any = np) -> Array:
    """[S,F] Compute the features from arrays of floats; ``xp`` is their module, numpy or torch."""
    faded = of.faded - of.visits[:, None] * xp.asarray(_RATES, dtype=of.faded.dtype)
    several = of.interval > 0
    ratio = xp.log1p(of.seconds) - xp.log1p(of.interval)
    columns = [
        xp.log1p(of.seconds),
        xp.log(of.distance),
        xp.log1p(of.visits),
        xp.log(of.counts),
        xp.log(of.counts) - xp.log(of.events),
        several * ratio,
        several * 1.0,
    ]
    return xp.concatenate([xp.stack(columns, 1), faded], 1)


_RATES = [float(np.log(2) / half_life) for half_life in HALF_LIVES]


def compute_user_activity(events: Array, distinct: Array, xp: Any = np) -> Array:
    """[N,3] Return log of events, log of distinct items, and share of repeats of users, as inputs of p(again)."""
    return xp.stack(
        [xp.log1p(events) / 4, xp.log1p(distinct) / 4, 1 - distinct / xp.maximum(events, xp.ones_like(events))], 1
    )
