"""What a version trained in mode FULL leaves for trainings in mode UPDATE, which go on from it with what is new since.

Beside the files of every artifact:

    base.safetensors     the network's weights, of items with their features and apart from an objective; those of
                         the features too; and who were strangers
    items/               the columns of Items, as ``shared.data.arrays.features`` writes them; no rows; absent where
                         none act

Users, items, event types and features are known again by their names. Shapes: as in ``network``; E events now.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import orjson
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from shared.data.arrays.features import FeatureColumn, Features
from shared.data.arrays.histories import Histories
from shared.data.training.training_data import TrainingData
from shared.recipes.hrnn.config import HrnnConfig
from shared.recipes.hrnn.network import HrnnNetwork
from shared.recipes.hrnn.types import FeatureBags
from shared.recipes.scoring_api import ArtifactError

WEIGHTS = "base.safetensors"
NEW = -1


def save_warm_start(network: HrnnNetwork, items: Features | None, artifact: Path) -> None:
    """Writes what a later training goes on from into an artifact that is being filled."""
    tensors = {**network.state_dict(), **network.fold_features().state_dict()}
    strangers = getattr(network, "strangers", None)
    if strangers is not None:
        tensors["strangers"] = strangers
    save_file({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, artifact / WEIGHTS)
    if items is not None:
        nothing = {name: getattr(items, name)[:0] for name in ("values", "weights")}
        replace(items, offsets=np.zeros(1, np.int64), **nothing).save(artifact / "items")


@dataclass(frozen=True, kw_only=True, eq=False)
class WarmStart:
    """An artifact to go on from."""

    config: HrnnConfig
    parameters: dict[str, str]
    metrics: dict[str, float]
    baseline: dict[str, float]
    histories: Histories
    columns: dict[str, tuple[FeatureColumn, ...]]
    """Of items, users and contexts; none where there were none."""
    tensors: dict[str, Tensor]

    @classmethod
    def open(cls, artifact: Path) -> Self:
        """Raises ArtifactError."""
        try:
            model = orjson.loads((artifact / "model.json").read_bytes())
            tensors = load_file(artifact / WEIGHTS)
            return cls(
                # What is served has no features of items apart.
                form=replace(HrnnConfig(**model["form"]), item_features=len(tensors.get("of_item.weight", [None])) - 1),
                **{name: model[name] for name in ("parameters", "metrics", "baseline")},
                histories=Histories.open(artifact / "histories"),
                columns={
                    name: Features.open(artifact / name).columns if (artifact / name).exists() else ()
                    for name in ("items", "users", "contexts")
                },
                tensors=tensors,
            )
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise ArtifactError(f"{artifact} holds nothing to go on from: {error}") from error

    def find_new_events(self, histories: Histories) -> npt.NDArray[np.bool_]:
        """bool[E]: the events that were not trained on. Events are compared by a mix of 64 bits of all they are."""
        before = self.histories
        of_users, of_items = (
            find_places(before.user_ids, histories.user_ids),
            find_places(before.item_ids, histories.item_ids),
        )
        of_types = find_places(before.event_type_names, histories.event_type_names)
        kept = np.repeat(of_users, before.lengths) != NEW
        known = _hash_rows(
            np.repeat(of_users, before.lengths)[kept],
            of_items[before.items[kept]],
            before.timestamps[kept],
            # One more for events without a type, whose number is -1.
            np.append(of_types, NEW)[before.event_types[kept]],
        )
        users_E = np.repeat(np.arange(len(histories.user_ids)), histories.lengths)
        now = _hash_rows(users_E, histories.items, histories.timestamps, histories.event_types)
        return np.isin(now, known, invert=True)

    def transfer_weights(
        self, network: HrnnNetwork, data: TrainingData, items: Features | None, bags: FeatureBags | None
    ) -> None:
        """Gives a new network what the old one learnt. ``items`` and ``bags`` are the features of its items.

        An item that was there is what it was, even if its features are others now. One that is new sets out from what
        strangers have in common, or, where the network knows no strangers, from around the mean of all items and its
        own popularity; a feature of users or contexts that is new, and a type of events, set out from nothing.
        """
        rows = self._map_rows(network, data, items)
        new_I = rows["item.weight"][:-1] == NEW
        with torch.no_grad():
            for name, parameter in network.state_dict(keep_vars=True).items():
                if name in self.tensors:
                    _copy_rows(self.tensors[name], parameter, rows.get(name))
            self._init_new_items(network, data, torch.from_numpy(np.flatnonzero(new_I)).to(network.bias.device))
            self._reset_new_types(network, rows["again.of_type.weight"])
            if network.of_item is not None and bags is not None:
                of_features_IH1 = bags.sum_embeddings(network.of_item)
                network.item.weight[:-1] -= of_features_IH1[:, :-1]
                network.bias[:-1] -= of_features_IH1[:, -1]
        if bags is not None:
            strangers_I = new_I
            if "strangers" in self.tensors:
                strangers_I = new_I | self.tensors["strangers"].numpy()[rows["item.weight"][:-1]]
            network.set_item_features(bags, torch.from_numpy(strangers_I).to(network.bias.device), 0.0)

    def _map_rows(
        self, network: HrnnNetwork, data: TrainingData, items: Features | None
    ) -> dict[str, npt.NDArray[np.int64]]:
        """Of the weights that have a row for something with a name: for each row now the one of before, or NEW."""
        histories, before = data.histories, self.histories
        of_items = np.append(find_places(histories.item_ids, before.item_ids), len(before.item_ids))  # and START
        # Where there is one type only, types are not looked at.
        types_before, types = (
            of.event_type_names if form.event_types else []
            for of, form in ((before, self.config), (histories, network.config))
        )
        of_types = find_places(types, types_before)
        of_types = np.append(0, np.where(of_types == NEW, NEW, of_types + 1))  # 0: none
        # The last row is every stranger's.
        of_features = np.append(map_features(self.columns["items"], get_columns(items)), self.config.item_features)
        return {
            "item.weight": of_items,
            "bias": of_items,
            "of_type.weight": of_types,
            "again.of_type.weight": of_types,
            "again.bias.weight": of_items[:-1],
            "of_item.weight": of_features,
            "of_user.weight": map_features(self.columns["users"], get_columns(data.users)),
            "of_context.weight": map_features(self.columns["contexts"], get_columns(data.contexts)),
        }

    def _init_new_items(self, network: HrnnNetwork, data: TrainingData, new: Tensor) -> None:
        """New items begin around the mean of all and with their own popularity, strangers as rare as the rarest."""
        items = len(data.histories.item_ids)
        counts_I = torch.from_numpy(np.bincount(data.histories.items, minlength=items) + 1.0).to(network.bias)
        mean_H = self.tensors["item.weight"][:-1].mean(0).to(network.bias)
        # Not in one place: what is alike is learnt to be told apart much more slowly than what is not.
        network.item.weight[new] += mean_H
        network.bias[new] = torch.log(counts_I / counts_I.sum())[new]
        if network.of_item is not None and "of_item.weight" not in self.tensors:
            network.of_item.weight[-1] = torch.cat([mean_H, self.tensors["bias"][:-1].min().to(mean_H)[None]])

    def _reset_new_types(self, network: HrnnNetwork, of_types: npt.NDArray[np.int64]) -> None:
        """Types that are new say nothing of what is taken again, which they else would at random."""
        if network.again is not None and network.again.of_type is not None:
            known = "again.of_type.weight" in self.tensors
            new = of_types == NEW if known else np.ones(len(of_types), np.bool_)
            network.again.of_type.weight[torch.from_numpy(new).to(network.bias.device)] = 0


def _copy_rows(before: Tensor, parameter: Tensor, rows: npt.NDArray[np.int64] | None) -> None:
    """All of it, or the rows that were there."""
    before = before.to(parameter)
    if rows is None:
        parameter.copy_(before)
    else:
        known = torch.from_numpy(np.flatnonzero(rows != NEW)).to(parameter.device)
        parameter[known] = before[torch.from_numpy(rows[rows != NEW]).to(parameter.device)]


def find_places(names: Sequence[str], among: Iterable[str]) -> npt.NDArray[np.int64]:
    """Where each name stands among others; NEW where it doesn't."""
    numbers = {name: number for number, name in enumerate(among)}
    return np.fromiter((numbers.get(name, NEW) for name in names), np.int64, len(names))


def get_columns(of: Features | None) -> tuple[FeatureColumn, ...]:
    return of.columns if of is not None else ()


def map_features(before: Sequence[FeatureColumn], now: Sequence[FeatureColumn]) -> npt.NDArray[np.int64]:
    """For each feature of columns now the one that meant the same before; NEW where none did.

    A category is known by its name, a word by its bucket, and a number by the bucket into which it fell.
    """
    known = {(column.name, column.kind): column for column in before}
    found = [_map_column(known.get((column.name, column.kind)), column) for column in now]
    return np.concatenate([*found, np.zeros(0, np.int64)])


def _map_column(before: FeatureColumn | None, now: FeatureColumn) -> npt.NDArray[np.int64]:
    if before is None or (now.kind == "numeric" and not before.edges):
        return np.full(now.size, NEW)
    match now.kind:
        case "categorical":
            own = find_places(now.vocabulary, before.vocabulary)
        case "numeric":
            edges = np.asarray(now.edges, np.float64)
            middles = (edges[:-1] + edges[1:]) / 2
            inside = np.concatenate([edges[:1] - 1, middles, edges[-1:]]) if len(edges) else np.zeros(1)
            own = np.searchsorted(np.asarray(before.edges), inside, side="right")
        case "textual":
            own = np.arange(now.size)
    return np.where(own == NEW, NEW, own + before.first)


def _hash_rows(*parts: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.uint64]:
    """A number for each row of equally long arrays, another one for another row (splitmix64, Steele et al., 2014)."""
    mixed = np.zeros(len(parts[0]), np.uint64)
    for part in parts:
        mixed += part.astype(np.int64).view(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(30)
        mixed *= np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= mixed >> np.uint64(27)
        mixed *= np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return mixed
