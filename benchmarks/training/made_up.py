"""Made-up interactions of any number, for speed and memory: nothing in them can be learnt. Deterministic."""

from __future__ import annotations

import numpy as np

from shared.data.arrays.histories import Histories

START = 1_500_000_000
MEAN_GAP = 20_000  # seconds


def interactions(events: int, *, items: int, a_user: int = 40, seed: int = 0) -> Histories:
    """``events`` in histories of ``a_user`` in the mean, over a catalogue where item k is taken as 1 / (k + 10)^0.8."""
    rng = np.random.default_rng(seed)
    users = max(events // a_user, 1)
    lengths = rng.multinomial(events, np.full(users, 1 / users))
    up_to = np.cumsum((np.arange(items) + 10.0) ** -0.8)
    # Drawn in pieces: a draw takes more memory than what it leaves.
    chosen = np.concatenate(
        [
            np.searchsorted(up_to, rng.random(min(2**20, events - begin)) * up_to[-1]).astype(np.int32)
            for begin in range(0, events, 2**20)
        ]
    )
    times = START + np.cumsum(rng.integers(1, 2 * MEAN_GAP, events, dtype=np.int64))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    # A user's gaps are those of the long line of events; each begins where the line is at START.
    times -= np.repeat(times[np.minimum(offsets[:-1], events - 1)] - START, lengths)
    return Histories(
        user_ids=[f"u{number:08}" for number in range(users)],
        item_ids=[f"i{number:08}" for number in range(items)],
        offsets=offsets.astype(np.int64),
        items=np.minimum(chosen, items - 1).astype(np.int32),
        timestamps=times,
        event_types=np.full(events, -1, np.int16),
        event_type_names=[],
        in_training=np.ones(users, np.bool_),
    )
