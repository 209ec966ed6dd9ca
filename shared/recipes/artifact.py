"""The folder that a training writes and a scorer opens: the files common to all recipes. Needs no torch.

    model.json            recipe, parameters, form of the network, metrics, counts, and the size of every other file
    popularity.npy        float32[I]: share of each item in all interactions
    histories/            the histories trained on, as ``shared.data.arrays.histories`` writes them; memory-mapped
    users/                features of the users, as ``shared.data.arrays.features`` writes them; absent without any
    counters/             the counts that the HRNN blends in, as ``shared.recipes.hrnn.counters`` writes them
    contexts/             the columns that turn a request's context into features; no rows; absent without any

The weights are in ``model.safetensors`` in the same folder; each recipe names its own. model.json is written last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self, overload

import numpy as np
import numpy.typing as npt
import orjson
from safetensors import SafetensorError, safe_open

from shared.data.arrays.features import Features
from shared.data.arrays.histories import Histories
from shared.data.arrays.id_index import IdIndex
from shared.data.arrays.npy_files import map_npy
from shared.data.training.training_data import TrainingData
from shared.recipes.scoring_api import ArtifactError, Past
from shared.recipes.training_api import Trained

FORMAT = 3
WEIGHTS = "model.safetensors"

_ARRAYS = ("offsets", "items", "timestamps", "event_types")


@dataclass(frozen=True, kw_only=True)
class ModelDescription:
    """The content of ``model.json``, and the popularity of the items."""

    recipe: str
    """The recipe's name: ``Artifact.open`` refuses a model of another recipe."""
    parameters: Mapping[str, str]
    popularity: npt.NDArray[np.floating[Any]]
    """[I] Each item's share of all interactions."""
    form: Mapping[str, Any] = field(default_factory=dict)
    """The sizes of the network; {} where there is none."""
    report: Mapping[str, Any] = field(default_factory=dict)
    """Metrics and counts for people to read; they stand in model.json beside its other members."""


def summarize_training(trained: Trained, histories: Histories, test_users: int) -> dict[str, Any]:
    """Return the ``ModelDescription.report`` of a training."""
    return {
        **asdict(trained),
        "users": len(histories.user_ids),
        "test_users": test_users,
        "interactions": len(histories.items),
    }


def write_artifact(folder: Path, data: TrainingData, model: ModelDescription) -> None:
    """Complete a folder that holds the weights: write the histories, features, popularity and ``model.json``."""
    data.histories.save(folder / "histories")
    if data.users is not None:
        data.users.save(folder / "users")
    if data.contexts is not None:
        nothing = {name: getattr(data.contexts, name)[:0] for name in ("values", "weights")}
        replace(data.contexts, offsets=np.zeros(1, np.int64), **nothing).save(folder / "contexts")
    np.save(folder / "popularity.npy", model.popularity.astype(np.float32))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    content = {
        "format": FORMAT,
        "recipe": model.recipe,
        "parameters": dict(model.parameters),
        "form": dict(model.form),
        **model.report,
        "files": {path.relative_to(folder).as_posix(): path.stat().st_size for path in files},
    }
    (folder / "model.json").write_bytes(orjson.dumps(content))


class Artifact:
    """A folder opened for serving: checked with a few reads, its arrays memory-mapped. Threads may share it."""

    def __init__(self, folder: Path, model: Mapping[str, Any]) -> None:
        self.folder = folder
        self.recipe: str = model["recipe"]
        self.parameters: Mapping[str, str] = model["parameters"]
        self.form: Mapping[str, Any] = model["form"]
        self.popularity: npt.NDArray[np.float32] = map_npy(folder / "popularity.npy")
        histories = folder / "histories"
        self.item_ids = IdIndex(histories, "item")
        self.user_ids = IdIndex(histories, "user")
        self.event_type_names: list[str] = orjson.loads((histories / "event_types.json").read_bytes())
        self.users = Features.open(folder / "users") if (folder / "users").exists() else None
        self.contexts = Features.open(folder / "contexts") if (folder / "contexts").exists() else None
        self._offsets, self._items, self._timestamps, self._event_types = (
            map_npy(histories / f"{name}.npy") for name in _ARRAYS
        )

    @classmethod
    def open(cls, folder: Path, recipes: tuple[str, ...]) -> Self:
        """Check and open a folder.

        Raises ArtifactError where a file is missing, cut short or of another format, or holds a model of a recipe that
        is not among ``recipes``.
        """
        try:
            model = orjson.loads((folder / "model.json").read_bytes())
        except (OSError, orjson.JSONDecodeError) as error:
            raise ArtifactError(f"{folder / 'model.json'} cannot be read: {error}") from error
        found = model.get("format") if isinstance(model, dict) else None
        if found != FORMAT:
            told = f"{folder / 'model.json'} is not of format {FORMAT}, the one this release reads"
            older = isinstance(found, int) and found < FORMAT
            raise ArtifactError(f"{told}, but of {found}: train a new solution version." if older else f"{told}.")
        if model["recipe"] not in recipes:
            raise ArtifactError(f"{folder} holds a model of {model['recipe']}, not of {' or '.join(recipes)}.")
        for name, size in model["files"].items():
            path = folder / name
            there = path.stat().st_size if path.is_file() else None
            if there != size:
                what = "is missing" if there is None else f"has {there} bytes instead of {size}"
                raise ArtifactError(f"{path} {what}: the model is incomplete.")
        try:
            return cls(folder, model)
        except (OSError, ValueError, KeyError) as error:
            raise ArtifactError(f"{folder} is damaged: {error}") from error

    def load_weights(self, *names: str) -> dict[str, npt.NDArray[Any]]:
        """Map the arrays of ``model.safetensors``, so that the processes of a machine share one copy in memory.

        Raises ArtifactError unless the file has exactly these names.
        """
        path = self.folder / WEIGHTS
        try:
            found = _map_safetensors(path)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise ArtifactError(f"{path} cannot be read: {error}") from error
        if found.keys() != set(names):
            raise ArtifactError(f"{path} holds {', '.join(sorted(found))} instead of {', '.join(sorted(names))}.")
        return found

    def get_history(self, user_id: str) -> list[Past]:
        """Return the user's events, oldest first; [] for an unknown user."""
        return self.get_stored_history(user_id).read_events()

    def get_stored_history(self, user_id: str) -> StoredHistory:
        """Return the events of ``get_history``, read when they are needed."""
        user = self.user_ids.find(user_id)
        begin, end = (0, 0) if user is None else self._offsets[user : user + 2].tolist()
        arrays = (array[begin:end] for array in (self._items, self._timestamps, self._event_types))
        return StoredHistory(self.item_ids, self.event_type_names, *arrays)

    def get_user_features(self, user_id: str) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """Return the numbers of the user's features and their weights; empty for a user without any."""
        user = None if self.users is None else self.user_ids.find(user_id)
        if self.users is None or user is None:
            return np.zeros(0, np.int32), np.zeros(0, np.float32)
        begin, end = self.users.offsets[user : user + 2].tolist()
        return self.users.values[begin:end], self.users.weights[begin:end]


class StoredHistory(Sequence[Past]):
    """The events of a user in an artifact, oldest first; a scorer may read their numbers instead of their ids."""

    def __init__(
        self,
        item_ids: IdIndex,
        type_names: Sequence[str],
        items: npt.NDArray[np.int32],
        timestamps: npt.NDArray[np.int64],
        event_types: npt.NDArray[np.int16],
    ) -> None:
        """``items`` are numbers of ``item_ids``, and ``event_types`` of ``type_names``; -1: none."""
        self._item_ids, self._type_names = item_ids, type_names
        self.items, self.timestamps, self.event_types = items, timestamps, event_types

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, place: int) -> Past: ...
    @overload
    def __getitem__(self, place: slice) -> list[Past]: ...
    def __getitem__(self, place: int | slice) -> Past | list[Past]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        type_ = int(self.event_types[place])
        return Past(
            self._item_ids[int(self.items[place])],
            self.timestamps[place].item(),
            self._type_names[type_] if type_ >= 0 else None,
        )

    def read_events(self) -> list[Past]:
        """Return all events."""
        events = (array.tolist() for array in (self.items, self.timestamps, self.event_types))
        return [
            Past(self._item_ids[item], timestamp, self._type_names[type_] if type_ >= 0 else None)
            for item, timestamp, type_ in zip(*events, strict=True)
        ]


#: The types that recipes write, by their names in safetensors.
_TYPES = {"F32": np.float32, "F64": np.float64, "I32": np.int32, "I64": np.int64, "BOOL": np.bool_}


def _map_safetensors(path: Path) -> dict[str, npt.NDArray[Any]]:
    with safe_open(path, "numpy"):
        pass  # opening the file has verified its header, which holds the offsets of the arrays
    bytes_ = np.asarray(np.memmap(path, mode="r", dtype=np.uint8))
    length = int.from_bytes(bytes_[:8].tobytes(), "little")
    header = orjson.loads(bytes_[8 : 8 + length].tobytes())
    header.pop("__metadata__", None)
    data = bytes_[8 + length :]
    return {
        name: data[slice(*said["data_offsets"])].view(_TYPES[said["dtype"]]).reshape(said["shape"])
        for name, said in header.items()
    }
