"""Queries and targets of a window: the moments to predict, and the items of each.

All events of a moment are predicted from the state before it, or from the start of the window if it began earlier.

Shapes: T steps, B streams, N queries, K targets.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from shared.recipes.hrnn.sequence_packing import REMEMBERED, Streams
from shared.recipes.hrnn.types import Events, Queries, Targets, Window


class PredictionBatch(NamedTuple):
    """A window of T steps of B streams as the network reads it, and N queries with their targets."""

    read: Events
    rows: Tensor  # [N] of T x B, step by step: the step after which each query is answered
    places: Tensor  # [N] the place before which it is asked
    targets: Targets


def gather_moments(streams: Streams, window: Window) -> PredictionBatch:
    """Return a query for each moment of a window, with all its events as targets."""
    window = window.to(streams.device)
    return _gather_each_moment(streams, window, streams.weights_E[window.events] * window.counts)


def gather_batch(network: Any, streams: Streams, window: Window) -> tuple[PredictionBatch, Queries]:
    """Return the training batch of a window, in the faster of two layouts for this network, which may be compiled."""
    window = window.to(streams.device)
    weights_TB = compute_target_weights(streams, window)
    if network.fast and streams.device.type == "cpu" and not streams.repeats:
        return _gather_each_step(streams, window, weights_TB)
    batch = _gather_each_moment(streams, window, weights_TB)
    return batch, streams.build_queries(batch.places, REMEMBERED)


def compute_target_weights(streams: Streams, window: Window) -> Tensor:
    """[T,B] Return each event's weight as a training target: 0 for repeats if repeats are not modelled."""
    weights_TB = streams.weights_E[window.events] * window.counts
    return weights_TB if streams.repeats else weights_TB * streams.new_E[window.events]


def _gather_each_moment(streams: Streams, window: Window, weights_TB: Tensor) -> PredictionBatch:
    """Make a query of each moment that has targets."""
    targets = _find_targets(streams, window, weights_TB)
    rows_N, row_K = torch.unique_consecutive(targets.rows, return_inverse=True)
    return PredictionBatch(
        streams.read_events(window.places, window.before),
        _number_steps(window)[rows_N],
        _get_query_places(streams, window)[rows_N],
        targets._replace(rows=row_K),
    )


def _gather_each_step(streams: Streams, window: Window, weights_TB: Tensor) -> tuple[PredictionBatch, Queries]:
    """Make every step a query, most of them without targets, with the histories as spans."""
    places_N = _get_query_places(streams, window)
    read, targets = streams.read_events(window.places, window.before), _find_targets(streams, window, weights_TB)
    queries = streams.build_stream_queries(places_N.view(window.places.T.shape), REMEMBERED)
    return PredictionBatch(read, _number_steps(window), places_N, targets), queries


def _find_targets(streams: Streams, window: Window, weights_TB: Tensor) -> Targets:
    """Return the targets. Their rows are of B x T, stream by stream: the step at which the target's moment begins."""
    (T, B), places_TB = window.places.shape, window.places
    step_T1, first_B = torch.arange(T, device=streams.device)[:, None], torch.arange(B, device=streams.device) * T
    row_TB = first_B + (step_T1 - (places_TB - streams.find_moment_starts(places_TB))).clamp_(min=0)
    items_TB = streams.items_E[window.events].long()
    return merge_targets(row_TB.T.flatten(), items_TB.T.flatten(), weights_TB.T.flatten(), streams.items)


def _number_steps(window: Window) -> Tensor:
    """[B x T] Return the row of T x B of each step, stream by stream."""
    T, B = window.places.shape
    return torch.arange(T * B, device=window.places.device).view(T, B).T.flatten()


def _get_query_places(streams: Streams, window: Window) -> Tensor:
    """[B x T] Return the place before which each step's query is asked.

    A stream's first step asks before the whole of its moment, which the window may cut in two.
    """
    places_BT = window.places.T.contiguous()
    places_BT[:, 0] = streams.find_moment_starts(places_BT[:, 0])
    return places_BT.flatten()


def merge_targets(rows_K: Tensor, items_K: Tensor, weights_K: Tensor, items: int) -> Targets:
    """Return the targets with a positive weight, with the weights of equal (row, item) added up, in order."""
    wanted_K = weights_K > 0
    keys_K, places_K = torch.unique(rows_K[wanted_K] * items + items_K[wanted_K], return_inverse=True)
    weights = weights_K.new_zeros(len(keys_K)).index_add_(0, places_K, weights_K[wanted_K])
    return Targets(keys_K // items, keys_K % items, weights)
