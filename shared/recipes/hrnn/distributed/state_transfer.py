"""A fit in a file, for the other ranks to load: all but the weights, which ddp copies from rank zero.

The file is one of safetensors, which is memory-mapped and runs no code. Values that are no tensors are JSON in its
header.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from shared.recipes.hrnn import candidates
from shared.recipes.hrnn.config import HrnnConfig
from shared.recipes.hrnn.lightning_module import HrnnModule
from shared.recipes.hrnn.lightning_trainer import FitSettings
from shared.recipes.hrnn.network import HrnnNetwork
from shared.recipes.hrnn.plan import TrainingPlan
from shared.recipes.hrnn.sequence_packing import Streams
from shared.recipes.hrnn.types import FeatureBags


def save_fit(module: HrnnModule, fit_settings: FitSettings, path: Path) -> None:
    network, streams = module.network, module.streams
    tensors = {f"streams.{name}": tensor for name, tensor in streams.get_tensors().items()}
    tensors |= {f"network.{name}": tensor for name, tensor in network.named_buffers()}
    tensors |= {"users": torch.from_numpy(module.users), "counts": module.counts_I}
    facts = {
        "terms": dataclasses.asdict(fit_settings),
        "form": dataclasses.asdict(network.config),
        "plan": dataclasses.asdict(module.plan),
        "streams": {"items": network.config.items, "event_types": streams.event_types, "repeats": streams.repeats},
        "network": {"dropout": network.dropout, "fast": network.fast, "id_dropout": network.id_dropout},
        "fitting": {
            "epochs": module.epochs,
            "learning_rate": module.learning_rate,
            "seed": module.seed,
            "compiled": module.compiled,
        },
    }
    whole = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    save_file(whole, path, metadata={"facts": json.dumps(facts)})


def load_fit(path: Path, device: torch.device) -> tuple[HrnnModule, FitSettings]:
    with safe_open(path, "pt") as file:
        facts = json.loads(file.metadata()["facts"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - file is no mapping

    def part(name: str) -> dict[str, torch.Tensor]:
        prefix = f"{name}."
        return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

    network = HrnnNetwork(HrnnConfig(**facts["form"]), facts["network"]["dropout"]).to(device)
    network.fast = facts["network"]["fast"]
    known = {name: tensor.to(device) for name, tensor in part("network").items()}
    for name, buffer in network.named_buffers():
        buffer.copy_(known.pop(name))
    if known:
        bags = FeatureBags(*(known[f"bag_{name}"] for name in FeatureBags._fields))
        network.set_item_features(bags, known["cold_items"], facts["network"]["id_dropout"])
    counts_I = tensors["counts"].to(device)
    module = HrnnModule(
        network,
        Streams.from_tensors(part("streams"), device=device, **facts["streams"]),
        tensors["users"].numpy(),
        TrainingPlan(**facts["plan"]),
        candidates.create_candidate_sampler(counts_I, only_taken=bool(known)),
        counts_I,
        **facts["fitting"],
    )
    return module, FitSettings(**facts["terms"])
