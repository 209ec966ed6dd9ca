"""A trained HRNN, serving: one user's history in, a score for every item out. No ids of campaigns, no pages."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from shared.recipes import RECIPES
from shared.recipes.artifact import WEIGHTS, Artifact
from shared.recipes.contract import ArtifactError, Past, Query
from shared.recipes.hrnn.network import Bags, Events, Form, Network, Pairs
from shared.recipes.hrnn.ranking import EVENTS_READ
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
    """logits_I of a user with these events, oldest first, who asks at ``now``: START, and the newest events.

    Timestamps are in seconds; ``types_T`` counts from 1, 0 is none. ``user`` and ``context`` are bags of one row.
    """
    form = network.form
    pairs = history_pairs(form, items_T, timestamps_T, types_T, now)
    before = torch.diff(timestamps_T, prepend=timestamps_T[:1])
    # START, and the events; of a long history the newest alone.
    items, before, types = (
        torch.cat([array.new_tensor([first]), array])[-EVENTS_READ:, None]
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


class Scorer:
    """A model in memory. Threads may share it: nothing changes after ``load``."""

    def __init__(self, network: Network, artifact: Artifact) -> None:
        self._network = network
        self._artifact = artifact
        self.recipe = artifact.recipe
        self.item_ids = artifact.item_ids
        self._numbers = {item_id: number for number, item_id in enumerate(artifact.item_ids)}
        self._types = {name: number + 1 for number, name in enumerate(artifact.event_type_names)}

    @classmethod
    def load(cls, artifact: Path) -> Self:
        """Verifies what it reads; raises ArtifactError.

        Sets torch to one thread an operation, for the whole process: requests are what runs side by side, and
        OpenMP's threads, waiting for one another on cores that are busy, would make each of them slower.
        """
        torch.set_num_threads(1)
        served = [recipe.name for recipe in RECIPES.values() if f"{recipe.module}.scoring" == cls.__module__]
        opened = Artifact.open(artifact, tuple(served))
        try:
            network = Network(Form(**opened.form))
            network.load_state_dict(load_file(artifact / WEIGHTS))
        except (OSError, SafetensorError, RuntimeError, TypeError, KeyError) as error:
            raise ArtifactError(f"{artifact / WEIGHTS} cannot be read: {error}") from error
        return cls(network.eval(), opened)

    def history(self, user_id: str) -> list[Past]:
        """The user's events as trained on, oldest first; [] for an unknown user."""
        return self._artifact.history(user_id)

    def scores(self, query: Query) -> npt.NDArray[np.float32]:
        """``shared.recipes.contract.Scorer.scores``: the softmax of the network's logits.

        Items the model does not know are passed over. Where none are left, and neither the user's metadata nor the
        context say anything, the answer is the share of each item in all interactions.
        """
        form, numbers = self._network.form, self._numbers
        known = [
            (numbers[one.item_id], one.timestamp, one.event_type) for one in query.history if one.item_id in numbers
        ]
        user = bag(*self._artifact.user_features(query.user_id)) if form.user_features else None
        asked = bag(*self._artifact.contexts.encode(query.context)) if self._artifact.contexts is not None else None
        if not known and not any(one is not None and len(one.values) for one in (user, asked)):
            return self._artifact.popularity.copy()
        types = [self._types.get(type_.lower(), 0) if type_ else 0 for _, _, type_ in known]
        logits_I = history_logits(
            self._network,
            torch.tensor([item for item, _, _ in known], dtype=torch.long),
            torch.tensor([at for _, at, _ in known], dtype=torch.double),
            torch.tensor(types, dtype=torch.long),
            query.now,
            user,
            asked,
        )
        return logits_I.softmax(-1).numpy()


def bag(values: Iterable[int], weights: Iterable[float]) -> Bags:
    """The features of one row."""
    values_F = torch.tensor(list(values), dtype=torch.long)
    return Bags(torch.tensor([0, len(values_F)]), values_F, torch.tensor(list(weights), dtype=torch.float))
