"""Networks whose every weight acts, events to read, and a plain fit by Adam to made-up histories.

No training of ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from shared.data.arrays.histories import Histories
from shared.data.training.training_data import TrainingData
from shared.recipes.hrnn.config import HrnnConfig
from shared.recipes.hrnn.network import HrnnNetwork
from shared.recipes.hrnn.repeat_features import FEATURES
from shared.recipes.hrnn.sequence_packing import REMEMBERED, Streams, load_bags
from shared.recipes.hrnn.types import Events, FeatureBags, Pairs, Queries, Targets
from shared.recipes.request_time import SESSION_SECONDS
from tests.recipes.synthetic import histories_of

CELLS = ("linear", "gru")

PLAIN = HrnnConfig(items=40, hidden=32)
RICH = HrnnConfig(
    items=40,
    hidden=32,
    event_types=3,
    repeats=True,
    item_features=5,
    user_features=4,
    context_features=6,
)


def shaken(form: HrnnConfig = PLAIN, *, by: float = 0.2, dropout: float = 0.0) -> HrnnNetwork:
    """A network whose every weight acts (many start at zero), in the mode of training."""
    torch.manual_seed(0)
    network = HrnnNetwork(form, dropout)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(by * torch.randn_like(parameter))
    if form.item_features:
        network.set_item_features(some_bags(form.items, form.item_features), torch.arange(form.items) % 7 == 0, 0.0)
    return network


def some_bags(rows: int, size: int, seed: int = 0) -> FeatureBags:
    """None to three features a row."""
    drawn = torch.Generator().manual_seed(seed)
    offsets = torch.cat([torch.zeros(1, dtype=torch.long), torch.randint(0, 4, (rows,), generator=drawn).cumsum(0)])
    length = int(offsets[-1])
    return FeatureBags(
        offsets, torch.randint(0, size, (length,), generator=drawn), torch.rand(length, generator=drawn) + 0.1
    )


def some_events(form: HrnnConfig = PLAIN, steps: int = 24, streams: int = 5) -> Events:
    """Several users and sessions in each stream."""
    torch.manual_seed(1)
    begins = torch.rand(steps, streams) < 0.15
    begins[0] = True
    before = torch.randint(0, 3 * SESSION_SECONDS, (steps, streams)).masked_fill(begins, 0)
    items = torch.randint(0, form.items, (steps, streams)).masked_fill(begins, form.items)
    types = torch.randint(0, form.event_types + 1, (steps, streams))
    return Events(
        items=items,
        before=before,
        begins=begins,
        types=types if form.event_types else None,
        users=some_bags(steps * streams, form.user_features) if form.user_features else None,
    )


def some_of(events: Events, steps: slice) -> Events:
    """These steps alone."""
    rows = torch.arange(events.items.numel()).view_as(events.items)[steps].flatten()
    return Events(
        items=events.items[steps],
        before=events.before[steps],
        begins=events.begins[steps],
        types=None if events.types is None else events.types[steps],
        users=None if events.users is None else events.users.select_rows(rows),
    )


def some_pairs(form: HrnnConfig, queries: int, of_each: int = 3) -> Pairs:
    """So many different items in the history of each query but the first, which has none."""
    drawn = torch.Generator().manual_seed(3)
    rows = torch.arange(1, queries).repeat_interleave(of_each)
    items = torch.cat([torch.randperm(form.items, generator=drawn)[:of_each] for _ in range(1, queries)])
    if not form.repeats:
        return Pairs(rows, items)
    types = torch.randint(0, form.event_types + 1, (len(rows),), generator=drawn) if form.event_types else None
    return Pairs(rows, items, torch.randn(len(rows), FEATURES, generator=drawn), types)


def some_known(queries: int) -> Tensor:
    """[N,3] How much is known of the user of each query."""
    return torch.rand(queries, 3, generator=torch.Generator().manual_seed(4))


def some_targets(form: HrnnConfig, pairs: Pairs, queries: int) -> Targets:
    """Of each query but every fifth, which has none, up to three; where people take items again one of them was had."""
    drawn = torch.Generator().manual_seed(6)
    rows, items = [], []
    for row in range(queries):
        had = pairs.items[pairs.rows == row]
        new = torch.tensor([item for item in range(form.items) if item not in had.tolist()])
        wanted = new[torch.randperm(len(new), generator=drawn)[: row % 3 + 1]]
        if form.repeats and len(had):
            wanted[0] = had[row % len(had)]
        if row % 5:
            rows += [row] * len(wanted)
            items += wanted.tolist()
    return Targets(torch.tensor(rows), torch.tensor(items), torch.rand(len(rows), generator=drawn) + 0.1)


def took(
    sequences: Sequence[Sequence[tuple[int, int]]], items: int, types: Sequence[Sequence[int]] | None = None
) -> Histories:
    """Histories of users in the order given, of (number of an item, timestamp); an event's type counts from 0."""
    named = {f"u{user:04}": [(f"i{item:04}", at) for item, at in events] for user, events in enumerate(sequences)}
    histories = histories_of(named, unseen=tuple(f"i{item:04}" for item in range(items)))
    if types is None:
        return histories
    flat = np.array([type_ for of_user in types for type_ in of_user], np.int16)
    return replace(histories, event_types=flat, event_type_names=[f"type{n}" for n in range(int(flat.max()) + 1)])


def fresh(data: TrainingData, streams: Streams, cell: str = "linear", hidden: int = 32) -> HrnnNetwork:
    """A network of the form that these streams ask for, before it is prepared."""
    torch.manual_seed(0)
    form = HrnnConfig(
        items=len(data.histories.item_ids),
        hidden=hidden,
        cell=cell,  # type: ignore[arg-type]
        event_types=streams.event_types,
        repeats=streams.repeats,
        item_features=data.items.size if data.items else 0,
        user_features=data.users.size if data.users else 0,
        context_features=data.contexts.size if data.contexts else 0,
    )
    network = HrnnNetwork(form, dropout=0.0)
    described = load_bags(data.items)
    if described is not None:
        counts = np.bincount(data.histories.items, minlength=form.items)
        network.set_item_features(described, torch.from_numpy(counts == 0), 0.1)
    return network


class Learnt(NamedTuple):
    network: HrnnNetwork
    """In the mode of evaluation."""
    streams: Streams
    loss_TB: Tensor
    """Of every event of the users left out: -log p."""
    log_p_TBI: Tensor
    """Of every item before these events."""
    asked: Queries
    """Before these events, step by step."""
    again_TB: Tensor
    """p(again) there; 0 where nobody takes items again."""
    logit_S: Tensor
    """Of p(i | again), of the pairs that are asked about; none where nobody takes items again."""


def learnt(data: TrainingData, cell: str = "linear", *, steps: int = 60, first: int = 0) -> Learnt:
    """Fits a network to users, 48 in a step, and looks at the last 16, who were left out.

    All have histories of one length, whose events count as targets from ``first`` on. What must not be learnt by
    heart needs 48 new users a step.
    """
    histories = data.histories
    users, length = len(histories.user_ids), int(histories.lengths[0])
    assert (histories.lengths == length).all()
    streams = Streams(data, np.ones(len(histories.items), np.float32))
    network = fresh(data, streams, cell)
    streams.prepare_network(network, np.arange(users - 16), 0)
    with torch.no_grad():
        network.bias.zero_()  # how popular an item is must be learnt too
    events_UT = torch.arange(users * length).view(users, length)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for step in range(steps):
        events_TB = events_UT[(48 * step + torch.arange(min(48, users - 16))) % (users - 16)].T
        targets_K = torch.arange(first * events_TB.shape[1], events_TB.numel())
        targets = Targets(targets_K, streams.items_E[events_TB.flatten()[targets_K]].long(), torch.ones(len(targets_K)))
        q_NH, asked = queried(network, streams, events_TB)
        loss = network.compute_loss(q_NH, asked.pairs, asked.known, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    others_TB = events_UT[-16:].T
    with torch.no_grad():
        q_NH, asked = queried(network, streams, others_TB)
        log_p_NI = network.compute_log_probs(q_NH, asked.pairs, asked.known)
        loss_N = -log_p_NI.gather(1, streams.items_E[others_TB.flatten(), None].long())
        again_N, logit_S = torch.zeros(len(q_NH)), torch.zeros(0)
        if network.again is not None:
            again_N = torch.sigmoid(network.again.compute_share_logit(q_NH, asked.known, asked.pairs))
            logit_S = network.again.compute_logits(q_NH, asked.pairs, network.get_item_vectors)
    T, B = others_TB.shape
    return Learnt(network, streams, loss_N.view(T, B), log_p_NI.view(T, B, -1), asked, again_N.view(T, B), logit_S)


def queried(network: HrnnNetwork, streams: Streams, events_TB: Tensor) -> tuple[Tensor, Queries]:
    """q_NH before each of these events, each column of which are a user's first, and what is asked there."""
    x_TBH, _ = network(streams.read_events(events_TB, events_TB - 1), network.create_state(events_TB.shape[1]))
    asked = streams.build_queries(events_TB.flatten(), REMEMBERED)
    return network.compute_query(x_TBH.flatten(0, 1), asked.after, asked.contexts), asked


T, B, H, I = 24, 5, 32, 40  # noqa: E741
FORMS = [replace(form, cell=cell) for cell in CELLS for form in (PLAIN, RICH)]  # type: ignore[arg-type]


def name_form(form: HrnnConfig) -> str:
    return f"{form.cell}-{'rich' if form.repeats else 'plain'}"


each_form = pytest.mark.parametrize("form", FORMS, ids=name_form)
each_cell = pytest.mark.parametrize("cell", CELLS)
one_stream_or_several = pytest.mark.parametrize("streams", [1, B])
