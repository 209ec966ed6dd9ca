"""Many queries at once: the best items of each, on the device. Evaluation and batch jobs; a request is scoring.py's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from shared import metrics
from shared.recipes.evaluation import MOST_FORETOLD
from shared.recipes.hrnn.form import not_read
from shared.recipes.hrnn.network import Network
from shared.recipes.hrnn.streams import REMEMBERED, Streams

STEPS = 128
"""Events read in one window."""

LOGITS_AT_ONCE = 2**23


@torch.inference_mode()
def best_items(
    network: Network,
    streams: Streams,
    events_Q: npt.NDArray[np.int64],
    count: int,
    on_block: Callable[[], None] = lambda: None,
    *,
    unseen: bool = False,
) -> npt.NDArray[np.int64]:
    """int64[Q,K]: what is recommended, best first, to the user of each event at its moment, before it.

    K is ``count``, or all items where there are fewer. ``unseen`` leaves out the items of the user's history.
    """
    best_QK = np.zeros((len(events_Q), min(count, network.form.items)), np.int64)
    for chosen, logits_BI in logits_of(network, streams, events_Q, on_block, unseen=unseen):
        best_QK[chosen] = logits_BI.topk(best_QK.shape[1]).indices.cpu().numpy()
    return best_QK


@torch.inference_mode()
def logits_of(
    network: Network,
    streams: Streams,
    events_Q: npt.NDArray[np.int64],
    on_block: Callable[[], None] = lambda: None,
    *,
    unseen: bool = False,
) -> Iterator[tuple[npt.NDArray[np.int64], torch.Tensor]]:
    """(int64[B] of Q, logits_BI) for all of Q, as many at once as are good to hold. What is asked: ``best_items``."""
    network = network.eval()
    items = network.form.items
    positions_Q = streams.positions(events_Q)
    # Users of similar length together: little is read twice.
    order_Q = np.argsort(positions_Q, kind="stable")
    at_once = max(1, min(256, LOGITS_AT_ONCE // items))
    for begin in range(0, len(order_Q), at_once):
        on_block()
        chosen = order_Q[begin : begin + at_once]
        events_B = torch.from_numpy(events_Q[chosen]).to(streams.device)
        lengths_B = torch.from_numpy((positions_Q - not_read(positions_Q))[chosen]).to(streams.device)
        length = int(lengths_B.max()) + 1
        state_LBW = network.start(len(chosen))
        # Shorter histories are filled up in front with events at which the state starts anew.
        back_T = torch.arange(length - 1, -1, -1, device=streams.device)
        x_BH = network.bias.new_zeros(0)
        for window in torch.split(back_T, STEPS):
            on_block()
            events_TB = events_B - torch.minimum(window[:, None], lengths_B)
            read = streams.read(events_TB)
            filled_TB = window[:, None] >= lengths_B
            x_TBH, state_LBW = network(read._replace(begins=read.begins | filled_TB), state_LBW)
            x_BH = x_TBH[-1]
        asked = streams.queries(events_B)
        logits_BI = network.logits(network.query(x_BH, asked.after, asked.contexts), asked.pairs)
        if unseen:
            logits_BI[asked.pairs.rows, asked.pairs.items] = -torch.inf
        yield chosen, logits_BI


class Foretold(NamedTuple):
    """How well events are foretold by those before them."""

    gain: float
    """The mean of 1 / log2(1 + rank of the item taken next), each event with its weight."""
    events: npt.NDArray[np.int64]
    """[Q] Those that are not their user's first, as they were read."""
    ranks: npt.NDArray[np.int64]
    """[Q] Of the item taken at each of these."""
    shown: int
    """Distinct items in the lists of 25; 0 unless they were asked for."""


@torch.inference_mode()
def foretell(
    network: Network,
    streams: Streams,
    users: npt.NDArray[np.int64],
    steps: int,
    on_block: Callable[[], None],
    *,
    lists: bool = False,
) -> Foretold:
    """Foretells every event of these users, and not the newest tenth alone, so that a few users tell much.

    The same users, read in the same order at each call. ``lists`` asks what is shown as well.
    """
    network = network.eval()
    columns = max(1, min(256, len(users)))
    rows_at_once = max(1, LOGITS_AT_ONCE // network.form.items)
    state_LBW = network.start(columns)
    gained = weight = 0.0
    ranks, events, shown = [], [], torch.zeros(network.form.items, dtype=torch.bool, device=streams.device)
    for done, window in enumerate(streams.windows(users, streams=columns, steps=steps, rng=np.random.default_rng(0))):
        if done * columns * steps >= MOST_FORETOLD:
            break
        events_TB = window.events.to(streams.device)
        x_TBH, state_LBW = network(streams.read(events_TB), state_LBW)
        for events_N, counts_N, x_NH in zip(
            torch.split(events_TB.flatten(), rows_at_once),
            torch.split(window.counts.flatten().to(streams.device), rows_at_once),
            torch.split(x_TBH.flatten(0, 1), rows_at_once),
            strict=True,
        ):
            on_block()
            asked = streams.queries(events_N, REMEMBERED)
            logits_NI = network.logits(network.query(x_NH, asked.after, asked.contexts), asked.pairs)
            taken_N1 = streams.items_E[events_N].long()[:, None]
            rank_N = (logits_NI > logits_NI.gather(1, taken_N1)).sum(1) + 1
            weights_N = streams.weights_E[events_N] * counts_N
            gained += float((weights_N / torch.log2(1.0 + rank_N)).sum())
            weight += float(weights_N.sum())
            counted = counts_N > 0
            ranks.append(rank_N[counted].cpu().numpy())
            events.append(events_N[counted].cpu().numpy())
            if lists:
                shown[logits_NI[counted].topk(min(metrics.LONGEST, network.form.items)).indices.flatten()] = True
    events_Q, rank_Q = np.concatenate(events), np.concatenate(ranks)
    later_Q = streams.positions(events_Q) > 0
    return Foretold(gained / max(weight, 1e-9), events_Q[later_Q], rank_Q[later_Q], int(shown.sum()))
