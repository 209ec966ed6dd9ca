"""A trained aws-hrnn, serving: one user's history in, a score for every item out. No ids of campaigns, no pages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from shared.recipes.artifact import WEIGHTS, Artifact
from shared.recipes.contract import ArtifactError
from shared.recipes.hrnn import RECIPES
from shared.recipes.hrnn.network import Network

EVENTS_READ = 1024
"""The network reads the newest events; the longest half-life of its state is some hundreds. The repeat head knows
all of them."""


@torch.inference_mode()
def history_logits(network: Network, items_T: Tensor, timestamps_T: Tensor, now: float) -> Tensor:
    """logits_I of a user with these events (at least one), oldest first, who asks at ``now`` (seconds)."""
    seen_S = torch.unique(items_T)
    items, timestamps = items_T[-EVENTS_READ:, None], timestamps_T[-EVENTS_READ:, None]
    before = torch.diff(timestamps, dim=0, prepend=timestamps[:1])
    begins = torch.zeros_like(items, dtype=torch.bool)
    begins[0] = True
    x_TBH, _ = network(items, before, begins, network.start(1))
    q_NH = network.query(x_TBH[-1], now - timestamps[-1])
    return network.logits(q_NH, torch.zeros_like(seen_S), seen_S)[0]


class Scorer:
    """A model in memory. Threads may share it: nothing changes after ``load``."""

    def __init__(self, network: Network, artifact: Artifact) -> None:
        self._network = network
        self._artifact = artifact
        self.item_ids = artifact.item_ids
        self._numbers = {item_id: number for number, item_id in enumerate(artifact.item_ids)}

    @classmethod
    def load(cls, artifact: Path) -> Self:
        """Verifies what it reads; raises ArtifactError.

        Sets torch to one thread an operation, for the whole process: requests are what runs side by side, and
        OpenMP's threads, waiting for one another on cores that are busy, would make each of them slower.
        """
        torch.set_num_threads(1)
        opened = Artifact.open(artifact, tuple(recipe.name for recipe in RECIPES))
        network = Network(len(opened.item_ids), int(opened.parameters["hidden_dimension"]))
        try:
            network.load_state_dict(load_file(artifact / WEIGHTS))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise ArtifactError(f"{artifact / WEIGHTS} cannot be read: {error}") from error
        return cls(network.eval(), opened)

    def history(self, user_id: str) -> list[tuple[str, int]]:
        """The (item, timestamp) pairs as trained on, oldest first; [] for an unknown user."""
        return self._artifact.history(user_id)

    def scores(self, history: Sequence[tuple[str, float]], now: float) -> npt.NDArray[np.float32]:
        """float32[I]: softmax over the whole catalogue.

        ``history`` is oldest first, in seconds; items the model does not know are passed over. Where none are
        left, the answer is the share of each item in all interactions.
        """
        known = [(self._numbers[item], at) for item, at in history if item in self._numbers]
        if not known:
            return self._artifact.popularity.copy()
        items, timestamps = zip(*known, strict=True)
        logits_I = history_logits(self._network, torch.tensor(items), torch.tensor(timestamps, dtype=torch.double), now)
        return logits_I.softmax(-1).numpy()
