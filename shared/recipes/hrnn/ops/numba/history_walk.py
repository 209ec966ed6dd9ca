"""What the histories of a window's streams say at each of its steps, found by walking them.

Shapes as in streams.py: E events of all users, T steps, B streams, I items, S pairs, R spans.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from shared.recipes.hrnn.ops.numba.compiled import arrays, compiled
from shared.recipes.hrnn.types import HistorySpans, Pairs


def walk_histories(
    events_BT: Tensor,
    position_E: Tensor,
    end_E: Tensor,
    items_E: Tensor,
    next_E: Tensor | None,
    items: int,
    remembered: int,
) -> tuple[Pairs, HistorySpans]:
    """What is in the histories before these events, of at most so many events ``remembered``: mostly in spans.

    An event is in them from the end of its moment on: what is of one moment is foretold together.
    """
    if next_E is None:
        next_E = position_E[:0]
    met_I = torch.zeros(items, dtype=torch.long)
    found = walked(*arrays(events_BT.contiguous(), position_E, end_E, items_E, next_E, met_I), remembered)
    rows_S, items_S, streams_R, items_R, begins_R, ends_R = (torch.from_numpy(each) for each in found)
    return Pairs(rows_S, items_S), HistorySpans(streams_R, items_R, begins_R, ends_R, events_BT.shape[1])


@compiled
def begins_run(events_T: Any, t: int, position_E: Any) -> Any:
    return t == 0 or events_T[t] != events_T[t - 1] + 1 or position_E[events_T[t]] == 0


@compiled
def walked(events_BT: Any, position_E: Any, end_E: Any, items_E: Any, next_E: Any, met_I: Any, remembered: int) -> Any:
    """``met_I`` is 0 at first: 1 + the newest span of each item."""
    B, T = events_BT.shape
    most = 0
    for b in range(B):
        for t in range(T):
            if begins_run(events_BT[b], t, position_E):
                most += min(position_E[events_BT[b, t]], remembered)
            most += 1
    streams_R, items_R, begins_R, ends_R = (np.empty(most, np.int64), np.empty(most, np.int64),
                                            np.empty(most, np.int64), np.empty(most, np.int64))  # fmt: skip
    several_R, R = np.zeros(most, np.bool_), 0
    for b in range(B):
        first_R, events, step = R, events_BT[b], 0
        while step < T:
            # A run: events in a row of one user.
            stop = step + 1
            while stop < T and not begins_run(events, stop, position_E):
                stop += 1
            for place in range(-min(position_E[events[step]], remembered), stop - step - 1):
                event = events[step] + place
                last = place + remembered + 1
                if len(next_E) > 0 and next_E[event] < len(end_E):
                    last = min(last, end_E[next_E[event]] - events[step])
                begin, end = step + max(end_E[event] - events[step], 0), min(step + last, stop)
                if end > begin:
                    item = items_E[event]
                    streams_R[R], items_R[R], begins_R[R], ends_R[R] = b, item, begin, end
                    # Two users in a stream may have an item in common, and one may take it again.
                    if met_I[item] > first_R:
                        several_R[met_I[item] - 1] = several_R[R] = True
                    R += 1
                    met_I[item] = R
            step = stop
    # What is several becomes pairs, by row.
    ends_N, pairs = np.zeros(B * T + 1, np.int64), 0
    for r in range(R):
        if several_R[r]:
            pairs += ends_R[r] - begins_R[r]
            for t in range(begins_R[r], ends_R[r]):
                ends_N[streams_R[r] * T + t + 1] += 1
    for n in range(B * T):
        ends_N[n + 1] += ends_N[n]
    rows_S, items_S, alone = np.empty(pairs, np.int64), np.empty(pairs, np.int64), 0
    for r in range(R):
        if several_R[r]:
            for t in range(begins_R[r], ends_R[r]):
                n = streams_R[r] * T + t
                rows_S[ends_N[n]], items_S[ends_N[n]] = n, items_R[r]
                ends_N[n] += 1
        else:
            streams_R[alone], items_R[alone], begins_R[alone], ends_R[alone] = (
                streams_R[r], items_R[r], begins_R[r], ends_R[r])  # fmt: skip
            alone += 1
    return rows_S, items_S, streams_R[:alone], items_R[:alone], begins_R[:alone], ends_R[:alone]
