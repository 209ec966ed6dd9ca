"""Small histories with a taste that can be learnt, without files."""

from __future__ import annotations

import numpy as np

from shared.data.histories import Histories


def histories_of(sequences: dict[str, list[tuple[str, int]]], excluded: tuple[str, ...] = ()) -> Histories:
    """From user -> (item, timestamp) pairs, oldest first; the excluded users are outside the percentiles."""
    user_ids = sorted(sequences)
    item_ids = sorted({item for events in sequences.values() for item, _ in events})
    numbers = {item: number for number, item in enumerate(item_ids)}
    events = [event for user in user_ids for event in sequences[user]]
    lengths = [len(sequences[user]) for user in user_ids]
    return Histories(
        user_ids=user_ids,
        item_ids=item_ids,
        offsets=np.cumsum([0, *lengths], dtype=np.int64),
        items=np.array([numbers[item] for item, _ in events], np.int32),
        timestamps=np.array([timestamp for _, timestamp in events], np.int64),
        event_types=np.full(len(events), -1, np.int16),
        event_type_names=[],
        in_training=np.array([user not in excluded for user in user_ids]),
    )


def walks(users: int = 60, events: int = 30, items: int = 50, seed: int = 0) -> Histories:
    """Everyone starts somewhere and mostly goes on to the next item: Markov, and no popular items."""
    rng = np.random.default_rng(seed)
    sequences = {}
    for user in range(users):
        steps = np.where(rng.random(events) < 0.9, 1, rng.integers(0, items, events))
        places = (rng.integers(items) + np.cumsum(steps)) % items
        times = 1_000_000 + np.cumsum(rng.integers(1, 4000, events))
        pairs = zip(places.tolist(), times.tolist(), strict=True)
        sequences[f"u{user:03}"] = [(f"i{place:02}", time) for place, time in pairs]
    return histories_of(sequences)
