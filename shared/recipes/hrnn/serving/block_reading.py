"""The histories of many users, read by the network together.

A step of a block is one event of each user whose history is that long: a product of matrices instead of a product for
each user. The users are sorted by length, so that the users of a step are always the first ones.

Shapes: Q users, N events of all of them, T steps, H hidden.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from shared.recipes.hrnn.serving.file_rows import Floats
from shared.recipes.hrnn.serving.numpy_layers import BlockSteps
from shared.recipes.hrnn.serving.numpy_network import NumpyNetwork, Seconds, find_gap_buckets
from shared.recipes.request_time import is_new_visit

Numbers = npt.NDArray[np.int64]

AT_ONCE = 1024
"""Events whose products are computed at once: their numbers fit a core's cache."""


class EventInputs(NamedTuple):
    """What the network reads of one user: the first input begins with an empty state."""

    items: Numbers
    """[N] The first may be START, the number after the last item."""
    before: Seconds
    """[N] Seconds since the previous event."""
    types: Numbers
    """[N] 0: none."""
    user_H: Floats | None
    """The vector of the user's features."""


def read_histories(network: NumpyNetwork, inputs: Sequence[EventInputs]) -> Floats:
    """float32[Q,H]: return the network's output after the last event of each user; each has one or more."""
    lengths_Q = np.array([len(each.items) for each in inputs])
    order_Q = np.argsort(-lengths_Q, kind="stable")
    ordered = [inputs[place] for place in order_Q.tolist()]
    found_QH = np.empty((len(inputs), network.config.hidden), np.float32)
    found_QH[order_Q] = _read_ordered(network, ordered, lengths_Q[order_Q])
    return found_QH


def _read_ordered(network: NumpyNetwork, inputs: Sequence[EventInputs], lengths_Q: Numbers) -> Floats:
    """``read_histories`` of users whose lengths never rise."""
    items_N, before_N, types_N = (np.concatenate(each) for each in zip(*(each[:3] for each in inputs), strict=True))
    begins_Q = np.cumsum(lengths_Q) - lengths_Q
    gap_N = find_gap_buckets(before_N)
    keep_N2 = np.ones((len(items_N), 2), np.bool_)
    keep_N2[:, 0] = np.logical_not(is_new_visit(before_N))
    users_QH = _stack_user_vectors(inputs, network.config.hidden)
    states = network.create_block_states(len(inputs))
    found_QH = np.empty((len(inputs), network.config.hidden), np.float32)
    for steps in _iter_windows(lengths_Q):
        active = [int(each) for each in steps.active_T]
        ranks_N = np.concatenate([np.arange(each) for each in active])
        places_N = begins_Q[ranks_N] + np.repeat(np.arange(steps.begin, steps.end), active)
        ended = np.arange(steps.left, active[0])
        # A user's last row: behind the rows of the steps before it.
        kept = (np.cumsum(steps.active_T) - steps.active_T)[lengths_Q[ended] - 1 - steps.begin] + ended
        x_NH = network.embed_block(items_N[places_N], gap_N[places_N], types_N[places_N])
        if users_QH is not None:
            x_NH += users_QH[ranks_N]
        window = BlockSteps(active, gap_N[places_N], keep_N2[places_N])
        found_QH[ended] = network.read_block(x_NH, window, states, kept)
    return found_QH


class _Window(NamedTuple):
    begin: int
    """The number of its first step."""
    end: int
    active_T: Numbers
    """The number of users of each step."""
    left: int
    """The number of users with events after it."""


def _iter_windows(lengths_Q: Numbers) -> Iterator[_Window]:
    """Yield windows of steps with about AT_ONCE events each, for users whose lengths never rise."""
    active_T = np.searchsorted(-lengths_Q, -np.arange(int(lengths_Q[0])), side="left")
    begin = 0
    until_T = np.cumsum(active_T)
    while begin < len(active_T):
        read = int(until_T[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(until_T, read + AT_ONCE, side="right")))
        yield _Window(begin, end, active_T[begin:end], int(active_T[end]) if end < len(active_T) else 0)
        begin = end


def _stack_user_vectors(inputs: Sequence[EventInputs], hidden: int) -> Floats | None:
    if all(each.user_H is None for each in inputs):
        return None
    nothing_H = np.zeros(hidden, np.float32)
    return np.stack([nothing_H if each.user_H is None else each.user_H for each in inputs])
