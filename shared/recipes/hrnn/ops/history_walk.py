"""The history of each query of a window, for the softmax loss to leave out. CPUs only."""

from __future__ import annotations

from torch import Tensor

from shared.recipes.hrnn.types import HistorySpans, Pairs


def find_pairs_and_spans(
    events_BT: Tensor,
    position_E: Tensor,
    end_E: Tensor,
    items_E: Tensor,
    next_E: Tensor | None,
    items: int,
    remembered: int,
) -> tuple[Pairs, HistorySpans]:
    """Return the histories before these events, each of at most ``remembered`` events: mostly as spans.

    An event is in the history from the end of its moment on, since the events of one moment are predicted together.
    """
    from shared.recipes.hrnn.ops.numba.history_walk import walk_histories

    return walk_histories(events_BT, position_E, end_E, items_E, next_E, items, remembered)
