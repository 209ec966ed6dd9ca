"""Small histories with a taste that can be learnt, and features of rows, without files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from shared.data.arrays.features import FeatureColumn, Features
from shared.data.arrays.histories import Histories
from shared.data.training.training_data import TrainingData

Cell = str | float | None


def histories_of(
    sequences: dict[str, list[tuple[str, int]]], excluded: tuple[str, ...] = (), unseen: tuple[str, ...] = ()
) -> Histories:
    """From user -> (item, timestamp) pairs, oldest first; the excluded users are outside the percentiles.

    The catalogue has the items ``unseen`` as well.
    """
    user_ids = sorted(sequences)
    item_ids = sorted({item for events in sequences.values() for item, _ in events} | set(unseen))
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


def training_data(
    histories: Histories,
    items: Sequence[Mapping[str, Cell]] | None = None,
    users: Sequence[Mapping[str, Cell]] | None = None,
    contexts: Sequence[Mapping[str, Cell]] | None = None,
    item_created: Sequence[int] | None = None,
) -> TrainingData:
    """With rows in the order of the histories' items, users and events; see ``bags``."""
    return TrainingData(
        histories=histories,
        items=None if items is None else bags(items),
        users=None if users is None else bags(users),
        contexts=None if contexts is None else bags(contexts),
        item_created=None if item_created is None else np.array(item_created, np.int64),
    )


def bags(rows: Sequence[Mapping[str, Cell]]) -> Features:
    """Features of rows: text is categories with bars between them, and numbers have a bucket each, up to 16."""
    columns: list[FeatureColumn] = []
    for name in dict.fromkeys(name for row in rows for name in row):
        cells = [row[name] for row in rows if row.get(name) is not None]
        column = _categorical(name, cells) if isinstance(cells[0], str) else _numeric(name, cells)
        columns.append(replace(column, first=sum(each.size for each in columns)))
    empty = Features(
        offsets=np.zeros(1, np.int64),
        values=np.zeros(0, np.int32),
        weights=np.zeros(0, np.float32),
        columns=(*columns,),
    )
    encoded = [empty.encode(row) for row in rows]
    return replace(
        empty,
        offsets=np.cumsum([0, *(len(values) for values, _ in encoded)], dtype=np.int64),
        values=np.array([value for values, _ in encoded for value in values], np.int32),
        weights=np.array([weight for _, weights in encoded for weight in weights], np.float32),
    )


def _categorical(name: str, cells: list[Cell]) -> FeatureColumn:
    counts = Counter(part.strip() for cell in cells for part in set(str(cell).split("|")))
    vocabulary = sorted(counts, key=lambda part: (-counts[part], part))
    return FeatureColumn(name=name, kind="categorical", first=0, vocabulary=vocabulary)


def _numeric(name: str, cells: list[Cell]) -> FeatureColumn:
    values = sorted({float(cell) for cell in cells if cell is not None})
    edges = np.unique(np.quantile(values[1:], np.linspace(0, 1, 15), method="nearest")) if values[1:] else np.zeros(0)
    return FeatureColumn(name=name, kind="numeric", first=0, edges=edges.tolist())
