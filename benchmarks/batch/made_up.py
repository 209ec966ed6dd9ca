"""Models that nobody trained, of any size: random weights, histories, counters, features and ages of items."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from shared.data.arrays.histories import Histories
from shared.data.training.training_data import TrainingData
from shared.recipes import artifact
from shared.recipes.hrnn.config import HrnnConfig
from shared.recipes.hrnn.counters import COUNTERS, BlendWeights, Counters
from shared.recipes.hrnn.serving.numpy_network import get_weight_shapes
from shared.recipes.user_personalization.exploration import ItemNovelty

LEANING = BlendWeights(last=0.4, near=-0.3, lately=0.2, like=0.7, again_last=0.5, again_near=0.3, again_lately=-0.2)
BEGIN = 1_600_000_000


@dataclass(frozen=True, kw_only=True)
class MadeUp:
    """The sizes of a model."""

    recipe: str = "aws-hrnn"
    items: int = 300
    users: int = 40
    events: tuple[int, int] = (1, 60)
    """The fewest and the most events of a user."""
    hidden: int = 16
    cell: str = "linear"
    repeats: bool = True
    leaning: bool = True
    spread: float = 0.4
    """The standard deviation of the weights."""
    parameters: tuple[tuple[str, str], ...] = ()


def write_model(folder: Path, of: MadeUp, seed: int = 0) -> Path:
    """Write the artifact of a model. Many items have equal vectors, so that their scores tie."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    form = HrnnConfig(
        items=of.items,
        hidden=of.hidden,
        cell=of.cell,  # type: ignore[arg-type]
        event_types=2,
        repeats=of.repeats,
        leaning=LEANING.values if of.leaning else (),
    )
    weights = {
        name: np.asarray(of.spread * rng.standard_normal(shape), np.float32)
        for name, shape in get_weight_shapes(form).items()
    }
    if of.repeats:
        weights["again.least"] = np.full_like(weights["again.least"], -3)
        weights["again.most"] = np.full_like(weights["again.most"], 3)
    twins = rng.integers(0, of.items, of.items // 3)
    for name in ("item.weight", "bias"):
        weights[name][twins] = weights[name][twins[0]]
    save_file(weights, folder / artifact.WEIGHTS)
    data = TrainingData(histories=_draw_histories(of, rng))
    if of.leaning:
        Counters.count_events(data.histories, np.arange(of.users)).save(folder / COUNTERS)
    ItemNovelty(
        days=rng.integers(0, 300, of.items).astype(np.float32), counts=rng.integers(0, 50, of.items).astype(np.int32)
    ).save(folder)
    popularity = rng.random(of.items)
    described = artifact.ModelDescription(
        recipe=of.recipe, parameters=dict(of.parameters), popularity=popularity / popularity.sum(), form=asdict(form)
    )
    artifact.write_artifact(folder, data, described)
    return folder


def _draw_histories(of: MadeUp, rng: np.random.Generator) -> Histories:
    lengths = rng.integers(of.events[0], of.events[1] + 1, of.users)
    items = [
        rng.integers(0, of.items, length) if of.repeats else rng.permutation(of.items)[:length] for length in lengths
    ]
    gaps = [rng.choice([1, 60, 4000, 100_000], length).cumsum() for length in lengths]
    histories = Histories(
        user_ids=[f"u{user:06}" for user in range(of.users)],
        item_ids=[f"i{item:08}" for item in range(of.items)],
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        items=np.concatenate(items).astype(np.int32),
        timestamps=BEGIN + np.concatenate(gaps),
        event_types=np.zeros(int(lengths.sum()), np.int16),
        event_type_names=["click", "buy"],
        in_training=np.ones(of.users, np.bool_),
    )
    return replace(histories, event_types=rng.integers(-1, 2, len(histories.items)).astype(np.int16))
