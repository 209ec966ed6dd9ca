"""The histories of a window's streams, found by walking through them.

Shapes as in sequence_packing.py: E events of all users, T steps, B streams, I items, S pairs, R spans.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from shared.recipes.hrnn.ops.numba.compiled import compile_kernel, view_arrays
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
    """Return the histories before these events, each of at most ``remembered`` events: mostly as spans.

    An event is in the history from the end of its moment on, since the events of one moment are predicted together.
    """
    if next_E is None:
        next_E = position_E[:0]
    met_I = torch.zeros(items, dtype=torch.long)
    found = walk_histories_kernel(
        *view_arrays(events_BT.contiguous(), position_E, end_E, items_E, next_E, met_I), remembered
    )
    rows_S, items_S, streams_R, items_R, begins_R, ends_R = (torch.from_numpy(each) for each in found)
    return Pairs(rows_S, items_S), HistorySpans(streams_R, items_R, begins_R, ends_R, events_BT.shape[1])


@compile_kernel
def begins_run(events_T: Any, t: int, position_E: Any) -> Any:
    """Say if step t does not continue the previous one: it is a stream's first, or has another user's event."""
    return t == 0 or events_T[t] != events_T[t - 1] + 1 or position_E[events_T[t]] == 0


@compile_kernel
def walk_histories_kernel(
    events_BT: Any, position_E: Any, end_E: Any, items_E: Any, next_E: Any, met_I: Any, remembered: int
) -> Any:
    """Find the spans of all streams, then turn those of an item with several in one stream into pairs.

    ``met_I`` holds 1 + the newest span of each item, and 0 at the start.
    """
    B, T = events_BT.shape
    # The most spans there can be: the remembered events before each run, and each event of it.
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
            # A run: consecutive events of one user.
            stop = step + 1
            while stop < T and not begins_run(events, stop, position_E):
                stop += 1
            for place in range(-min(position_E[events[step]], remembered), stop - step - 1):
                event = events[step] + place
                # The item leaves the history after ``remembered`` events, or when its next event takes the place.
                last = place + remembered + 1
                if len(next_E) > 0 and next_E[event] < len(end_E):
                    last = min(last, end_E[next_E[event]] - events[step])
                begin, end = step + max(end_E[event] - events[step], 0), min(step + last, stop)
                if end > begin:
                    item = items_E[event]
                    streams_R[R], items_R[R], begins_R[R], ends_R[R] = b, item, begin, end
                    # Two users of a stream may share an item, and a user may take it again.
                    if met_I[item] > first_R:
                        several_R[met_I[item] - 1] = several_R[R] = True
                    R += 1
                    met_I[item] = R
            step = stop
    # Items with several spans become pairs, sorted by row (a counting sort). ``ends_N`` first holds counts.
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
