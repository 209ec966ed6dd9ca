"""Ranking for many queries at once, on the device, for evaluation and batch jobs. Single requests are scoring.py's."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from shared.recipes import ranking_metrics
from shared.recipes.evaluation import MOST_COMPARED
from shared.recipes.hrnn.config import count_skipped_events
from shared.recipes.hrnn.counter_blend import MOST_NUMBERS, BlendFitter, CounterBlend
from shared.recipes.hrnn.counters import BlendWeights, Counters
from shared.recipes.hrnn.network import HrnnNetwork
from shared.recipes.hrnn.prediction_targets import PredictionBatch, gather_moments
from shared.recipes.hrnn.sequence_packing import REMEMBERED, Streams
from shared.recipes.hrnn.types import Pairs, Targets

STEPS = 128
"""Events read in one window."""

LOGITS_AT_ONCE = 2**23
"""Logits of queries x items that are held at once."""

RECENCY_HALF_LIFE = 1 / 8
"""As a share of the time that the data span: the blend, which must predict events after all of these, is fitted with
weights that halve with so much age."""


@torch.inference_mode()
def find_best_items(
    network: HrnnNetwork,
    streams: Streams,
    events_Q: npt.NDArray[np.int64],
    count: int,
    on_block: Callable[[], None] = lambda: None,
    *,
    unseen: bool = False,
    blend: CounterBlend | None = None,
) -> npt.NDArray[np.int64]:
    """int64[Q,K]: return the recommendations, best first, for the user of each event at its moment, before it.

    K is ``count``, or the number of items if that is less. ``unseen`` leaves out the items of the user's history.
    """
    best_QK = np.zeros((len(events_Q), min(count, network.config.items)), np.int64)
    for chosen, shares_BI in iter_log_probs(network, streams, events_Q, on_block, unseen=unseen, blend=blend):
        best_QK[chosen] = shares_BI.topk(best_QK.shape[1]).indices.cpu().numpy()
    return best_QK


@torch.inference_mode()
def iter_log_probs(
    network: HrnnNetwork,
    streams: Streams,
    events_Q: npt.NDArray[np.int64],
    on_block: Callable[[], None] = lambda: None,
    *,
    unseen: bool = False,
    blend: CounterBlend | None = None,
) -> Iterator[tuple[npt.NDArray[np.int64], Tensor]]:
    """Yield (int64[B] of Q, log p_BI) until all of Q are answered. The queries are those of ``find_best_items``."""
    network = network.eval()
    positions_Q = streams.get_positions(events_Q)
    # Users with histories of similar length are read together, so that little is filled up.
    order_Q = np.argsort(positions_Q, kind="stable")
    at_once = max(1, min(256, LOGITS_AT_ONCE // network.config.items))
    for begin in range(0, len(order_Q), at_once):
        on_block()
        chosen = order_Q[begin : begin + at_once]
        events_B = torch.from_numpy(events_Q[chosen]).to(streams.device)
        lengths_B = torch.from_numpy((positions_Q - count_skipped_events(positions_Q))[chosen]).to(streams.device)
        x_BH = read_preceding_events(network, streams, events_B, lengths_B, on_block)
        shares_BI, pairs = compute_log_probs(network, streams, x_BH, events_B, blend)
        if unseen:
            shares_BI[pairs.rows, pairs.items] = -torch.inf
        yield chosen, shares_BI


def read_preceding_events(
    network: HrnnNetwork, streams: Streams, events_B: Tensor, lengths_B: Tensor, on_block: Callable[[], None]
) -> Tensor:
    """Return x_BH after the ``lengths`` events before each of these, and the event before those, or START."""
    state_LBW = network.create_state(len(events_B))
    # Shorter histories are filled up in front with events that reset the state.
    back_T = torch.arange(int(lengths_B.max()), -1, -1, device=streams.device)
    x_BH = network.bias.new_zeros(0)
    for window in torch.split(back_T, STEPS):
        on_block()
        events_TB = events_B - torch.minimum(window[:, None], lengths_B)
        read = streams.read_events(events_TB, (events_TB - 1).clamp_(min=0))
        filled_TB = window[:, None] >= lengths_B
        x_TBH, state_LBW = network(read._replace(begins=read.begins | filled_TB), state_LBW)
        x_BH = x_TBH[-1]
    return x_BH


def compute_log_probs(
    network: HrnnNetwork,
    streams: Streams,
    x_NH: Tensor,
    places_N: Tensor,
    blend: CounterBlend | None,
    remembered: int | None = None,
) -> tuple[Tensor, Pairs]:
    """Return log p_NI before these places, where the network's output is ``x_NH``, and the pairs of the histories."""
    queries = streams.build_queries(places_N, remembered, network.config)
    q_NH = network.compute_query(x_NH, queries.after, queries.contexts)
    more = None if blend is None else blend.compute_extra_logits(streams, places_N, queries.pairs)
    return network.compute_log_probs(q_NH, queries.pairs, queries.known, more), queries.pairs


class NextItemMetrics(NamedTuple):
    """How well the network predicts each event from those before it."""

    ndcg: float
    """The weighted mean over events of 1 / log2(1 + rank of the item taken): half of it is the mean of all events among
    all items, half that of events new to their user among the items new to that user."""
    events: npt.NDArray[np.int64]
    """[Q] The events in the order read, without each user's first moment; with it if no user has a second."""
    ranks: npt.NDArray[np.int64]
    """[Q] The rank of the item taken at each of these, from 1."""
    shown: int
    """Distinct items in the lists of 25; 0 unless ``lists`` were asked for."""
    ndcg_by_scope: dict[str, float]
    """The two halves of ``ndcg``: "raw" among all items, "unseen" among new ones."""


@torch.inference_mode()
def predict_next_item(
    network: HrnnNetwork,
    streams: Streams,
    users: npt.NDArray[np.int64],
    on_block: Callable[[], None],
    *,
    lists: bool = False,
    blend: CounterBlend | None = None,
) -> NextItemMetrics:
    """Predict every event of these users, not only the newest tenth, so that a few users suffice.

    Each call reads the users in the same order. ``lists`` also counts the items shown.
    """
    rows_at_once = max(1, LOGITS_AT_ONCE // network.config.items)
    gains = {"raw": MeanNdcg(), "unseen": MeanNdcg()}
    ranks, events, shown = [], [], torch.zeros(network.config.items, dtype=torch.bool, device=streams.device)
    for x_NH, batch in iter_moment_states(network, streams, users, on_block):
        for first in range(0, len(x_NH), rows_at_once):
            on_block()
            places_N = batch.places[first : first + rows_at_once]
            shares_NI, pairs = compute_log_probs(
                network, streams, x_NH[first : first + rows_at_once], places_N, blend, REMEMBERED
            )
            targets = batch.targets.select((batch.targets.rows >= first) & (batch.targets.rows < first + len(places_N)))
            targets = targets._replace(rows=targets.rows - first)
            rank_K = gains["raw"].add(shares_NI, targets)
            if lists:
                shown[shares_NI.topk(min(ranking_metrics.LONGEST, network.config.items)).indices.flatten()] = True
            ranks.append(rank_K.cpu().numpy())
            events.append(places_N[targets.rows].cpu().numpy())
            shares_NI[pairs.rows, pairs.items] = -torch.inf
            gains["unseen"].add(shares_NI, targets.select(shares_NI[targets.rows, targets.items] > -torch.inf))
    events_Q, rank_Q = np.concatenate(events), np.concatenate(ranks)
    later_Q = streams.get_positions(events_Q) > 0
    if not later_Q.any():  # no user came back
        later_Q[:] = True
    means = {name: gain.mean for name, gain in gains.items()}
    return NextItemMetrics(sum(means.values()) / 2, events_Q[later_Q], rank_Q[later_Q], int(shown.sum()), means)


@torch.inference_mode()
def iter_moment_states(
    network: HrnnNetwork, streams: Streams, users: npt.NDArray[np.int64], on_block: Callable[[], None]
) -> Iterator[tuple[Tensor, PredictionBatch]]:
    """Read the histories of these users, and yield (x_NH before each of a window's moments, the window's batch)."""
    network = network.eval()
    state_LBW = network.create_state(count_streams(users))
    for batch in iter_batches(streams, users):
        on_block()
        x_TBH, state_LBW = network(batch.read, state_LBW)
        yield x_TBH.flatten(0, 1)[batch.rows], batch


def iter_batches(streams: Streams, users: npt.NDArray[np.int64]) -> Iterator[PredictionBatch]:
    """Yield windows with about MOST_COMPARED events of these users, in the same order at each call."""
    of_window = count_streams(users) * STEPS
    windows = streams.iter_windows(users, streams=count_streams(users), steps=STEPS, rng=np.random.default_rng(0))
    for window in itertools.islice(windows, -(-MOST_COMPARED // of_window)):
        yield gather_moments(streams, window)


def count_streams(users: npt.NDArray[np.int64]) -> int:
    """Return the number of streams in which these users are read."""
    return max(1, min(256, len(users)))


@torch.inference_mode()
def fit_blend(
    network: HrnnNetwork,
    streams: Streams,
    users: npt.NDArray[np.int64],
    counters: Counters,
    on_block: Callable[[], None] = lambda: None,
    fixed: int = 0,
) -> BlendWeights:
    """Fit the blend of the network with the counters on the items that these users took.

    The first ``fixed`` weights of new items stay the network's own.
    """
    queries = sum(len(batch.places) for batch in iter_batches(streams, users))
    kept = np.random.default_rng(0).permutation(queries) < max(1, MOST_NUMBERS // network.config.items)
    fitter, done = BlendFitter(network, streams, counters, fixed), 0
    for x_NH, batch in iter_moment_states(network, streams, users, on_block):
        kept_N = torch.from_numpy(kept[done : done + len(x_NH)]).to(x_NH.device)
        done += len(x_NH)
        recency_K = streams.compute_recency(batch.places[batch.targets.rows], RECENCY_HALF_LIFE)
        targets = batch.targets._replace(weights=batch.targets.weights * recency_K)
        fitter.add(x_NH[kept_N], batch.places[kept_N], targets.select_queries(kept_N))
    return fitter.fit_blend(on_block)


def compute_ranks(shares_NI: Tensor, targets: Targets) -> Tensor:
    """[K] Return the rank of each target's item in its row, from 1."""
    return (shares_NI[targets.rows] > shares_NI[targets.rows, targets.items, None]).sum(1) + 1


class MeanNdcg:
    """The weighted mean of 1 / log2(1 + rank)."""

    def __init__(self) -> None:
        self._sum = self._weight = 0.0

    def add(self, shares_NI: Tensor, targets: Targets) -> Tensor:
        """Add the targets, and return their ranks, [K]."""
        rank_K = compute_ranks(shares_NI, targets)
        self._sum += float((targets.weights / torch.log2(1.0 + rank_K)).sum())
        self._weight += float(targets.weights.sum())
        return rank_K

    @property
    def mean(self) -> float:
        return self._sum / max(self._weight, 1e-9)
