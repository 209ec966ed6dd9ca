"""One history read by the network in torch, the whole of it at once: what serving has to come to event by event."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import orjson
import torch
from safetensors.torch import load_file
from torch import Tensor

from shared.recipes.artifact import WEIGHTS
from shared.recipes.hrnn.form import Form, not_read
from shared.recipes.hrnn.network import Bags, Events, Network, Pairs
from shared.recipes.hrnn.streams import pair_codes


@torch.inference_mode()
def history_logits(
    network: Network,
    items_T: Tensor,
    timestamps_T: Tensor,
    types_T: Tensor,
    now: float,
    user: Bags | None = None,
    context: Bags | None = None,
) -> Tensor:
    """logits_I of a user with these events, oldest first, who asks at ``now``: START, and the events.

    Of a long history the newest, as many as serving reads.

    Timestamps are in seconds; ``types_T`` counts from 1, 0 is none. ``user`` and ``context`` are bags of one row.
    """
    form = network.form
    pairs = history_pairs(form, items_T, timestamps_T, types_T, now)
    before = torch.diff(timestamps_T, prepend=timestamps_T[:1])
    items, before, types = (
        torch.cat([array.new_tensor([first]), array])[not_read(len(items_T)) :, None]
        for array, first in ((items_T, form.items), (before, 0), (types_T, 0))
    )
    begins = torch.zeros_like(items, dtype=torch.bool)
    begins[0] = True
    events = Events(
        items=items,
        before=before,
        begins=begins,
        types=types if form.event_types else None,
        users=user and user.of(torch.zeros(len(items), dtype=torch.long)),
    )
    x_TBH, _ = network(events, network.start(1))
    after = now - timestamps_T[-1:] if len(timestamps_T) else timestamps_T.new_zeros(1)
    return network.logits(network.query(x_TBH[-1], after, context), pairs)[0]


def history_pairs(form: Form, items_T: Tensor, timestamps_T: Tensor, types_T: Tensor, now: float) -> Pairs:
    """The items of a history, each once: what the repeat head looks at."""
    items = items_T.numpy()
    distinct, newest, counts = np.unique(items[::-1], return_index=True, return_counts=True)
    last_S = torch.from_numpy(len(items) - 1 - newest)
    rows_S, items_S = torch.zeros(len(distinct), dtype=torch.long), torch.from_numpy(distinct)
    if not form.repeats:
        return Pairs(rows_S, items_S)
    seconds_S = (now - timestamps_T[last_S]).clamp(min=0)
    ago_S = len(items) - last_S
    return Pairs(
        rows_S, items_S, pair_codes(form.event_types, ago_S, seconds_S, torch.from_numpy(counts), types_T[last_S])
    )


def bag(values: Iterable[int], weights: Iterable[float]) -> Bags:
    """The features of one row."""
    values_F = torch.tensor(list(values), dtype=torch.long)
    return Bags(torch.tensor([0, len(values_F)]), values_F, torch.tensor(list(weights), dtype=torch.float))


def network_of(artifact: Path) -> Network:
    """The network whose weights serve, in torch."""
    network = Network(Form(**orjson.loads((artifact / "model.json").read_bytes())["form"]))
    network.load_state_dict(load_file(artifact / WEIGHTS))
    return network.eval()
