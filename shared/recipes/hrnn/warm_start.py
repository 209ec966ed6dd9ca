"""Warm start: a training in mode UPDATE continues from the version trained in mode FULL, on the events new since then.

A full training adds to the files of every artifact:

    base.safetensors     the network's weights, of items without their features and without an objective, those of the
                         features, and which items were cold ("strangers")
    items/               the columns of Items, as ``shared.data.arrays.features`` writes them, without rows; absent
                         without columns in use

Users, items, event types and features are matched by their names. Shapes: as in ``network``; E events of the new data.
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
COLD_ITEMS = "strangers"
"""The name in that file of bool[I], the cold items."""

NEW = -1
"""The place of a name that the base does not have."""


def save_warm_start(network: HrnnNetwork, items: Features | None, artifact: Path) -> None:
    """Write the files for later updates into an artifact that is being filled."""
    tensors = {**network.state_dict(), **network.fold_features().state_dict()}
    cold_items = getattr(network, "cold_items", None)
    if cold_items is not None:
        tensors[COLD_ITEMS] = cold_items
    save_file({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, artifact / WEIGHTS)
    if items is not None:
        nothing = {name: getattr(items, name)[:0] for name in ("values", "weights")}
        replace(items, offsets=np.zeros(1, np.int64), **nothing).save(artifact / "items")


@dataclass(frozen=True, kw_only=True, eq=False)
class WarmStart:
    """An artifact to continue from."""

    config: HrnnConfig
    parameters: dict[str, str]
    metrics: dict[str, float]
    baseline: dict[str, float]
    histories: Histories
    columns: dict[str, tuple[FeatureColumn, ...]]
    """The columns of items, users and contexts; () for tables without any."""
    tensors: dict[str, Tensor]

    @classmethod
    def open(cls, artifact: Path) -> Self:
        """Read an artifact. Raises ArtifactError."""
        try:
            model = orjson.loads((artifact / "model.json").read_bytes())
            tensors = load_file(artifact / WEIGHTS)
            return cls(
                # The served network has its item features folded in.
                config=replace(
                    HrnnConfig(**model["form"]), item_features=len(tensors.get("of_item.weight", [None])) - 1
                ),
                **{name: model[name] for name in ("parameters", "metrics", "baseline")},
                histories=Histories.open(artifact / "histories"),
                columns={
                    name: Features.open(artifact / name).columns if (artifact / name).exists() else ()
                    for name in ("items", "users", "contexts")
                },
                tensors=tensors,
            )
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise ArtifactError(f"{artifact} cannot be continued from: {error}") from error

    def find_new_events(self, histories: Histories) -> npt.NDArray[np.bool_]:
        """bool[E]: find the events that were not trained on, by 64-bit hashes of all their fields."""
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
            # The last entry is for events without a type, whose number is -1.
            np.append(of_types, NEW)[before.event_types[kept]],
        )
        users_E = np.repeat(np.arange(len(histories.user_ids)), histories.lengths)
        now = _hash_rows(users_E, histories.items, histories.timestamps, histories.event_types)
        return np.isin(now, known, invert=True)

    def transfer_weights(
        self, network: HrnnNetwork, data: TrainingData, items: Features | None, bags: FeatureBags | None
    ) -> None:
        """Copy the weights of the base into a new network. ``items`` and ``bags`` are the features of its items.

        An item of the base keeps its vector, even if its features have changed. A new item starts from the vector that
        cold items share, or without item features from around the mean of all items and its own popularity. New
        features of users or contexts, and new types of events, start from 0.
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
            cold_I = new_I
            if COLD_ITEMS in self.tensors:
                cold_I = new_I | self.tensors[COLD_ITEMS].numpy()[rows["item.weight"][:-1]]
            network.set_item_features(bags, torch.from_numpy(cold_I).to(network.bias.device), 0.0)

    def _map_rows(
        self, network: HrnnNetwork, data: TrainingData, items: Features | None
    ) -> dict[str, npt.NDArray[np.int64]]:
        """Return, for the weights with named rows, the row of the base for each new row, or NEW."""
        histories, before = data.histories, self.histories
        of_items = np.append(find_places(histories.item_ids, before.item_ids), len(before.item_ids))  # and START
        # A network of data with a single type does not read types.
        types_before, types = (
            of.event_type_names if form.event_types else []
            for of, form in ((before, self.config), (histories, network.config))
        )
        of_types = find_places(types, types_before)
        of_types = np.append(0, np.where(of_types == NEW, NEW, of_types + 1))  # 0: none
        # The last row is shared by all cold items.
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
        """Start new items around the mean of all with their own popularity, and cold items as the rarest item."""
        items = len(data.histories.item_ids)
        counts_I = torch.from_numpy(np.bincount(data.histories.items, minlength=items) + 1.0).to(network.bias)
        mean_H = self.tensors["item.weight"][:-1].mean(0).to(network.bias)
        # Added to the random vectors: equal vectors would be told apart much more slowly.
        network.item.weight[new] += mean_H
        network.bias[new] = torch.log(counts_I / counts_I.sum())[new]
        if network.of_item is not None and "of_item.weight" not in self.tensors:
            network.of_item.weight[-1] = torch.cat([mean_H, self.tensors["bias"][:-1].min().to(mean_H)[None]])

    def _reset_new_types(self, network: HrnnNetwork, of_types: npt.NDArray[np.int64]) -> None:
        """Set new types to 0 in the repeat head, instead of their random initial values."""
        if network.again is not None and network.again.of_type is not None:
            known = "again.of_type.weight" in self.tensors
            new = of_types == NEW if known else np.ones(len(of_types), np.bool_)
            network.again.of_type.weight[torch.from_numpy(new).to(network.bias.device)] = 0


def _copy_rows(before: Tensor, parameter: Tensor, rows: npt.NDArray[np.int64] | None) -> None:
    """Copy all of the parameter, or the rows that the base has."""
    before = before.to(parameter)
    if rows is None:
        parameter.copy_(before)
    else:
        known = torch.from_numpy(np.flatnonzero(rows != NEW)).to(parameter.device)
        parameter[known] = before[torch.from_numpy(rows[rows != NEW]).to(parameter.device)]


def find_places(names: Sequence[str], among: Iterable[str]) -> npt.NDArray[np.int64]:
    """Return the index of each name in ``among``, or NEW."""
    numbers = {name: number for number, name in enumerate(among)}
    return np.fromiter((numbers.get(name, NEW) for name in names), np.int64, len(names))


def get_columns(of: Features | None) -> tuple[FeatureColumn, ...]:
    return of.columns if of is not None else ()


def map_features(before: Sequence[FeatureColumn], now: Sequence[FeatureColumn]) -> npt.NDArray[np.int64]:
    """Return for each feature of the columns ``now`` the base's feature with the same meaning, or NEW.

    A category is matched by its name, a word by its hash bucket, and a bucket of numbers by its middle.
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
    """Hash each row of equally long arrays to 64 bits (splitmix64, Steele et al., 2014)."""
    mixed = np.zeros(len(parts[0]), np.uint64)
    for part in parts:
        mixed += part.astype(np.int64).view(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(30)
        mixed *= np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= mixed >> np.uint64(27)
        mixed *= np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return mixed
