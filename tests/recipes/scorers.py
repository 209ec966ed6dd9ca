"""Models that nobody trained and whose every weight acts, written as artifacts."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from shared.data.training.training_data import TrainingData
from shared.recipes import artifact
from shared.recipes.artifact import WEIGHTS
from shared.recipes.hrnn.config import HrnnConfig
from shared.recipes.hrnn.counters import COUNTERS, BlendWeights, Counters
from shared.recipes.hrnn.network import HrnnNetwork
from shared.recipes.hrnn.repeat_features import FEATURES
from shared.recipes.hrnn.sequence_packing import Streams
from shared.recipes.scoring_api import Past
from tests.recipes.synthetic import histories_of, training_data

HOUR = 3600
NOW = 1_700_000_000.0
POPULARITY = np.linspace(1, 2, 9) / np.linspace(1, 2, 9).sum()
USERS = {"ann": {"club": "red"}, "bob": {"club": "blue"}, "cleo": {}}
LEANING = BlendWeights(last=0.4, near=-0.3, lately=0.2, like=0.7, again_last=0.5, again_near=0.3, again_lately=-0.2)
"""What a network is served with: its own weights have what else there is in a blend."""


def make_data(*, repeats: bool = True) -> TrainingData:
    """Three users take nine items again and again, or each at most once."""
    rng = np.random.default_rng(0)
    sequences = {
        user: [
            (f"i{item}", 1_600_000_000 + 700 * step)
            for step, item in enumerate(rng.integers(0, 9, 12) if repeats else rng.permutation(9)[:6])
        ]
        for user in USERS
    }
    histories = histories_of(sequences, unseen=tuple(f"i{item}" for item in range(9)))
    types = rng.integers(-1, 2, len(histories.items)).astype(np.int16)
    histories = replace(histories, event_types=types, event_type_names=["click", "buy"])
    contexts = [{"device": ("tv", "phone")[event % 2]} for event in range(len(types))]
    return training_data(histories, users=list(USERS.values()), contexts=contexts)


def write_model(
    folder: Path, data: TrainingData, cell: str = "linear", *, leaning: BlendWeights | None = LEANING, **more: float
) -> Path:
    """A model whose every weight acts, and that nobody trained. ``more`` is what else its form says."""
    streams = Streams(data, np.ones(len(data.histories.items), np.float32))
    form = HrnnConfig(
        items=9,
        hidden=32,
        cell=cell,  # type: ignore[arg-type]
        event_types=streams.event_types,
        repeats=streams.repeats,
        leaning=() if leaning is None else leaning.values,
        user_features=data.users.size if data.users else 0,
        context_features=data.contexts.size if data.contexts else 0,
        **more,  # type: ignore[arg-type]
    )
    folder.mkdir(exist_ok=True)
    save_file(make_network(form).state_dict(), folder / WEIGHTS)
    if leaning is not None:
        Counters.count_events(data.histories, np.arange(len(USERS))).save(folder / COUNTERS)
    described = artifact.ModelDescription(
        recipe="aws-hrnn-metadata", parameters={}, popularity=POPULARITY, form=dataclasses.asdict(form)
    )
    artifact.write_artifact(folder, data, described)
    return folder


def make_network(form: HrnnConfig) -> HrnnNetwork:
    torch.manual_seed(0)
    network = HrnnNetwork(form)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        if network.again is not None:
            network.again.mean.copy_(torch.randn(FEATURES))
            network.again.scale.copy_(torch.rand(FEATURES) + 0.2)
            network.again.least.fill_(0.1)
            network.again.most.fill_(9.0)
            network.again.count.fill_(0.6)
            network.again.evidence.fill_(0.4)
    return network


def make_clicks(*items: str) -> list[Past]:
    return [Past(item, NOW - 60.0 * (len(items) - place), "click") for place, item in enumerate(items)]
