"""What is learnt from a window, or foretold in it: which moments are asked about, and what is wanted of each.

All events of a moment are foretold from before it, or from as far back as the window reaches.

Shapes: T steps, B streams, N queries, K targets.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from shared.recipes.hrnn.sequence_packing import REMEMBERED, Streams
from shared.recipes.hrnn.types import Events, Queries, Targets, Window


class PredictionBatch(NamedTuple):
    """A window of T steps of B streams as a network reads it, and the moments in it that are asked about."""

    read: Events
    rows: Tensor  # [N] of T x B, step by step: after which of the steps each moment is asked about
    places: Tensor  # [N] before which place
    targets: Targets


def gather_moments(streams: Streams, window: Window) -> PredictionBatch:
    """Each moment of a window once, and all its events as targets."""
    window = window.to(streams.device)
    return _gather_each_moment(streams, window, streams.weights_E[window.events] * window.counts)


def gather_batch(network: Any, streams: Streams, window: Window) -> tuple[PredictionBatch, Queries]:
    """What this network learns from a window, in the way that is quicker for it. It may be a compiled one."""
    window = window.to(streams.device)
    weights_TB = compute_target_weights(streams, window)
    if network.fast and streams.device.type == "cpu" and not streams.repeats:
        return _gather_each_step(streams, window, weights_TB)
    batch = _gather_each_moment(streams, window, weights_TB)
    return batch, streams.build_queries(batch.places, REMEMBERED)


def compute_target_weights(streams: Streams, window: Window) -> Tensor:
    """[T,B] What each event counts in training. Where nobody takes items again those that were had count nothing."""
    weights_TB = streams.weights_E[window.events] * window.counts
    return weights_TB if streams.repeats else weights_TB * streams.new_E[window.events]


def _gather_each_moment(streams: Streams, window: Window, weights_TB: Tensor) -> PredictionBatch:
    targets = _find_targets(streams, window, weights_TB)
    rows_N, row_K = torch.unique_consecutive(targets.rows, return_inverse=True)
    return PredictionBatch(
        streams.read_events(window.places, window.before),
        _number_steps(window)[rows_N],
        _get_query_places(streams, window)[rows_N],
        targets._replace(rows=row_K),
    )


def _gather_each_step(streams: Streams, window: Window, weights_TB: Tensor) -> tuple[PredictionBatch, Queries]:
    """All steps are asked about, of most of them nothing, and what is in the histories is said in spans."""
    places_N = _get_query_places(streams, window)
    read, targets = streams.read_events(window.places, window.before), _find_targets(streams, window, weights_TB)
    asked = streams.build_stream_queries(places_N.view(window.places.T.shape), REMEMBERED)
    return PredictionBatch(read, _number_steps(window), places_N, targets), asked


def _find_targets(streams: Streams, window: Window, weights_TB: Tensor) -> Targets:
    """Rows are of B x T: stream by stream, the step at which the target's moment begins."""
    (T, B), places_TB = window.places.shape, window.places
    step_T1, first_B = torch.arange(T, device=streams.device)[:, None], torch.arange(B, device=streams.device) * T
    row_TB = first_B + (step_T1 - (places_TB - streams.find_moment_starts(places_TB))).clamp_(min=0)
    items_TB = streams.items_E[window.events].long()
    return merge_targets(row_TB.T.flatten(), items_TB.T.flatten(), weights_TB.T.flatten(), streams.items)


def _number_steps(window: Window) -> Tensor:
    """[B x T] The numbers of T x B."""
    T, B = window.places.shape
    return torch.arange(T * B, device=window.places.device).view(T, B).T.flatten()


def _get_query_places(streams: Streams, window: Window) -> Tensor:
    """[B x T] Before which place each step is asked about; the first where the moment began that is cut in two."""
    places_BT = window.places.T.contiguous()
    places_BT[:, 0] = streams.find_moment_starts(places_BT[:, 0])
    return places_BT.flatten()


def merge_targets(rows_K: Tensor, items_K: Tensor, weights_K: Tensor, items: int) -> Targets:
    """What is wanted with any weight, each pair of a row and an item once, in order."""
    wanted_K = weights_K > 0
    keys_K, places_K = torch.unique(rows_K[wanted_K] * items + items_K[wanted_K], return_inverse=True)
    weights = weights_K.new_zeros(len(keys_K)).index_add_(0, places_K, weights_K[wanted_K])
    return Targets(keys_K // items, keys_K % items, weights)
