"""One history read by the network in torch, the whole of it at once: what serving has to come to event by event.

What is known of the items of the history is counted here once more, in the plainest way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import torch
from safetensors.torch import load_file
from torch import Tensor

from shared.recipes.artifact import WEIGHTS
from shared.recipes.hrnn.config import HrnnConfig, count_skipped_events
from shared.recipes.hrnn.counter_blend import CounterBlend
from shared.recipes.hrnn.counters import COUNTERS, FADING, NEWEST, PRIOR, BlendWeights, Counters
from shared.recipes.hrnn.network import HrnnNetwork
from shared.recipes.hrnn.repeat_features import (
    HALF_LIVES,
    LastInteractions,
    compute_repeat_features,
    compute_user_activity,
)
from shared.recipes.hrnn.types import Events, FeatureBags, Pairs
from shared.recipes.request_time import is_new_visit


@torch.inference_mode()
def history_log_shares(
    network: HrnnNetwork,
    items_T: Tensor,
    timestamps_T: Tensor,
    types_T: Tensor,
    now: float,
    user: FeatureBags | None = None,
    context: FeatureBags | None = None,
    leaning: CounterBlend | None = None,
) -> Tensor:
    """log p_I for a user with these events, oldest first, who asks at ``now``: START, and the events.

    Of a long history the network reads the newest, as many as serving reads.

    Timestamps are in seconds; ``types_T`` counts from 1, 0 is none. ``user`` and ``context`` are bags of one row.
    Fashion is no part of what a ``leaning`` adds here: a served network has it in its biases.
    """
    form = network.config
    pairs = history_pairs(form, items_T, timestamps_T, types_T, now)
    before = torch.diff(timestamps_T, prepend=timestamps_T[:1]).clamp(min=0)
    items, before, types = (
        torch.cat([array.new_tensor([first]), array])[count_skipped_events(len(items_T)) :, None]
        for array, first in ((items_T, form.items), (before, 0), (types_T, 0))
    )
    begins = torch.zeros_like(items, dtype=torch.bool)
    begins[0] = True
    events = Events(
        items=items,
        before=before,
        begins=begins,
        types=types if form.event_types else None,
        users=user and user.select_rows(torch.zeros(len(items), dtype=torch.long)),
    )
    x_TBH, _ = network(events, network.create_state(1))
    after = timestamps_T.new_tensor([asked_after(form, timestamps_T, now)])
    q_1H = network.compute_query(x_TBH[-1], after, context)
    known_13 = compute_user_activity(
        torch.tensor([float(len(items_T))]), torch.tensor([float(len(pairs.items))]), torch
    )
    more = None if leaning is None else counted(leaning, items_T.tolist(), timestamps_T.tolist(), pairs)
    return network.compute_log_probs(q_1H, pairs, known_13, more)[0]


def asked_after(form: HrnnConfig, timestamps_T: Tensor, now: float) -> float:
    """How many seconds after the last event the request is taken to be; 0.0 where there is none."""
    if not len(timestamps_T):
        return 0.0
    after = now - float(timestamps_T[-1])
    if after < 1800:
        return 0.0
    return after if after < form.longest else form.instead


def history_pairs(form: HrnnConfig, items_T: Tensor, timestamps_T: Tensor, types_T: Tensor, now: float) -> Pairs:
    """The items of a history, each once, as it was last taken."""
    items, at = items_T.tolist(), timestamps_T.tolist()
    distinct = sorted(set(items))
    rows_S, items_S = torch.zeros(len(distinct), dtype=torch.long), torch.tensor(distinct, dtype=torch.long)
    if not form.repeats:
        return Pairs(rows_S, items_S)
    visits = np.cumsum(is_new_visit(np.diff(at, prepend=at[:1]))).tolist()
    after = asked_after(form, timestamps_T, now)
    visit = visits[-1] + (after > 0) if visits else 0
    found: list[list[float]] = []
    types_S = torch.zeros(len(distinct), dtype=torch.long)
    for place, item in enumerate(distinct):
        taken = [t for t, one in enumerate(items) if one == item]
        last, count = taken[-1], len(taken)
        faded = [sum(0.5 ** ((visits[last] - visits[t]) / life) for t in taken) for life in HALF_LIVES]
        seconds = max(at[-1] + after - at[last], 0)
        interval = (at[last] - min(at[t] for t in taken)) / max(count - 1, 1)
        found.append([len(items) - last, visit - visits[last], seconds, count, interval, *np.log(faded), len(items)])
        types_S[place] = types_T[last]
    columns = torch.tensor(found, dtype=torch.double).reshape(len(distinct), 6 + len(HALF_LIVES)).T
    distance, visits_S, seconds_S, counts_S, interval_S = columns[:5]
    takings = LastInteractions(distance, visits_S, seconds_S, counts_S, interval_S, columns[5:-1].T, columns[-1])
    return Pairs(
        rows_S, items_S, compute_repeat_features(takings, torch).float(), types_S if form.event_types else None
    )


def counted(leaning: CounterBlend, items: list[int], at: list[float], pairs: Pairs) -> tuple[Tensor, Tensor]:
    """What was counted adds to the logits, by its weights: [1,I] of items that are new, [S] of those of the pairs."""
    counters, blend = leaning.counters, leaning.weights
    moments = np.cumsum(np.diff(at, prepend=at[:1]) != 0)
    newest = [(items[t], int(moments[-1] - moments[t])) for t in range(max(0, len(items) - NEWEST), len(items))]
    new_I, again_I = (np.zeros(len(counters.prior_I)) for _ in range(2))
    for name in ("last", "near", "lately"):
        sums_I = np.zeros(len(counters.prior_I))
        for item, back in newest:
            near = slice(*getattr(counters, name).offsets[item : item + 2])
            weight = float(back == 0) if name == "last" else FADING**back
            sums_I[getattr(counters, name).items[near]] += weight * getattr(counters, name).weights[near]
        values_I = np.log1p(sums_I / (PRIOR * counters.prior_I))
        new_I += getattr(blend, name) * values_I
        again_I += getattr(blend, f"again_{name}") * values_I
    alike_I = np.zeros(len(counters.prior_I))
    for item in set(items):
        alike = slice(*counters.like.offsets[item : item + 2])
        alike_I[counters.like.items[alike]] += counters.like.weights[alike]
    new_I += blend.like * np.log1p(np.maximum(alike_I, 0) / counters.prior_I)
    return torch.from_numpy(new_I).float()[None], torch.from_numpy(again_I).float()[pairs.items]


def bag(values: Iterable[int], weights: Iterable[float]) -> FeatureBags:
    """The features of one row."""
    values_F = torch.tensor(list(values), dtype=torch.long)
    return FeatureBags(torch.tensor([0, len(values_F)]), values_F, torch.tensor(list(weights), dtype=torch.float))


def network_of(artifact: Path) -> HrnnNetwork:
    """The network whose weights serve, in torch."""
    form = HrnnConfig(**orjson.loads((artifact / "model.json").read_bytes())["form"])
    network = HrnnNetwork(replace(form, leaning=tuple(form.leaning)))
    network.load_state_dict(load_file(artifact / WEIGHTS))
    return network.eval()


def leaning_of(artifact: Path) -> CounterBlend | None:
    """What it leans on; None where nothing was counted."""
    form = network_of(artifact).config
    return (
        CounterBlend(Counters.open(artifact / COUNTERS), BlendWeights.from_values(form.leaning))
        if form.leaning
        else None
    )
