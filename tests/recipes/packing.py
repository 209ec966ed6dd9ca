"""Made-up histories of people who take items again, packed into streams."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from torch import Tensor

from shared.data.arrays.histories import Histories
from shared.data.training.training_data import TrainingData
from shared.recipes.hrnn.sequence_packing import Streams
from shared.recipes.hrnn.types import Events, Window
from tests.recipes.synthetic import histories_of, training_data

MINUTE, HOUR = 60, 3600


def pack_streams(histories: Histories | TrainingData) -> Streams:
    data = histories if isinstance(histories, TrainingData) else training_data(histories)
    return Streams(data, np.ones(len(data.histories.items), np.float32))


def make_shoppers(users: int = 12, items: int = 9, types: int = 3, seed: int = 0) -> Histories:
    """Everyone takes few items again and again; histories of 1 to 30 events; times that stand still at times."""
    rng = np.random.default_rng(seed)
    sequences = {}
    for user in range(users):
        length = int(rng.integers(1, 31))
        times = 1_000_000 + np.cumsum(rng.choice([0, 5, 50, HOUR, 50 * HOUR], length))
        drawn = rng.integers(0, items, length)
        sequences[f"u{user:02}"] = [(f"i{item}", int(at)) for item, at in zip(drawn, times, strict=True)]
    histories = histories_of(sequences)
    return replace(
        histories,
        event_types=rng.integers(-1, types, len(histories.items)).astype(np.int16),
        event_type_names=[f"type{number}" for number in range(types)],
    )


def find_moments(histories: Histories) -> tuple[list[int], list[int]]:
    """For each event the first of its user's at the same moment, and the first after these."""
    users = np.repeat(np.arange(len(histories.user_ids)), histories.lengths).tolist()
    at = list(zip(users, histories.timestamps.tolist(), strict=True))
    return [at.index(each) for each in at], [len(at) - at[::-1].index(each) for each in at]


def iter_epoch(histories: Histories, users: list[int], streams_: int, steps: int, seed: int = 0) -> Iterator[Window]:
    rng = np.random.default_rng(seed)
    return pack_streams(histories).iter_windows(np.array(users), streams=streams_, steps=steps, rng=rng)


def read_in_order(of: Streams, events: Tensor) -> Events:
    """In the order of the file."""
    return of.read_events(events, events - 1)
