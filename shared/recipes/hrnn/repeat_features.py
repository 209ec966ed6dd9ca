"""What is known of an item that a user has had, when it is asked whether it will be taken again. No torch.

Of each taking of an item, which is an event, there is kept what does not depend on the request (``Takings``); with the
moment of a request it becomes ``FEATURES`` numbers (``features``), which training and serving work out by the same
lines. What lies outside the range that was trained on is taken for the nearest that lies in it (``Ranges``).

Shapes: E events, S takings, F features, D half-lives.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

HALF_LIVES = (1.0, 4.0, 16.0)
"""In visits: how often an item was taken, of late and in all."""

COUNT = 3
"""The place of log(count) among the features."""

FEATURES = 7 + len(HALF_LIVES)

Array = Any
"""numpy's, or torch's where it is training."""


class LastTakings(NamedTuple):
    """Each the newest taking of its item before a request."""

    distance: Array  # [S] events since, that one included: from 1
    visits: Array  # [S] visits begun since; 0: it was in the visit that goes on
    seconds: Array  # [S] since
    counts: Array  # [S] how often the item was taken, up to then: from 1
    interval: Array  # [S] mean seconds between these; 0 for the only one
    faded: Array  # [S,D] log of the takings, each fading by HALF_LIVES
    events: Array  # [S] of the user before the request


def compute_repeat_features(of: LastTakings, xp: Any = np) -> Array:
    """[S,F] ``xp`` is numpy or torch, of which the takings are arrays of floats."""
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
    """[N,3] how much is known of users who took so many items in so many events: p(again) looks at it."""
    return xp.stack(
        [xp.log1p(events) / 4, xp.log1p(distinct) / 4, 1 - distinct / xp.maximum(events, xp.ones_like(events))], 1
    )
