"""The folder a trained recipe leaves: what every recipe's has in common. Not where artifacts are stored, no torch.

    model.json            recipe, parameters, item ids, metrics, counts, and the size of every other file
    popularity.npy        float32[I]: share of each item in all interactions
    histories/            the histories trained on, as arrays that are mapped and not read:
      user_ids.bin          the ids in UTF-8, sorted by their bytes, end to end
      user_id_ends.npy      int64[U]: where each id ends in it
      offsets.npy           int64[U + 1]
      items.npy             int32[E]
      timestamps.npy        int64[E]

Weights lie beside these in ``model.safetensors``, in the recipe's own terms. model.json is written last.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import orjson

from shared.data.histories import Histories
from shared.recipes.contract import ArtifactError

FORMAT = 1
WEIGHTS = "model.safetensors"

_ARRAYS = ("user_id_ends", "offsets", "items", "timestamps")


def write(
    folder: Path,
    histories: Histories,
    *,
    recipe: str,
    parameters: Mapping[str, str],
    popularity: npt.NDArray[np.floating[Any]],
    report: Mapping[str, Any],
) -> None:
    """Completes a folder that holds the weights. ``report`` (metrics, counts) is kept for people, as it is."""
    encoded = [user_id.encode() for user_id in histories.user_ids]
    arrays: Mapping[str, npt.NDArray[np.integer[Any]]] = {
        "user_id_ends": np.cumsum([len(user_id) for user_id in encoded], dtype=np.int64),
        "offsets": histories.offsets,
        "items": histories.items,
        "timestamps": histories.timestamps,
    }
    (folder / "histories").mkdir()
    (folder / "histories" / "user_ids.bin").write_bytes(b"".join(encoded))
    for name in _ARRAYS:
        np.save(folder / "histories" / f"{name}.npy", arrays[name])
    np.save(folder / "popularity.npy", popularity.astype(np.float32))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    model = {
        "format": FORMAT,
        "recipe": recipe,
        "parameters": dict(parameters),
        **report,
        "files": {path.relative_to(folder).as_posix(): path.stat().st_size for path in files},
        "item_ids": histories.item_ids,
    }
    (folder / "model.json").write_bytes(orjson.dumps(model))


class Artifact:
    """A folder opened for serving: checked in a few reads, histories mapped. Safe to share between threads."""

    def __init__(self, folder: Path, model: Mapping[str, Any]) -> None:
        self.folder = folder
        self.parameters: Mapping[str, str] = model["parameters"]
        self.item_ids: list[str] = model["item_ids"]
        self.popularity: npt.NDArray[np.float32] = np.load(folder / "popularity.npy")
        histories = folder / "histories"
        self._user_ids = np.memmap(histories / "user_ids.bin", mode="r", dtype=np.uint8)
        self._user_id_ends, self._offsets, self._items, self._timestamps = (
            np.load(histories / f"{name}.npy", mmap_mode="r") for name in _ARRAYS
        )

    @classmethod
    def open(cls, folder: Path, recipes: tuple[str, ...]) -> Self:
        """Raises ArtifactError where a file is missing, cut short, of another format or of another recipe."""
        try:
            model = orjson.loads((folder / "model.json").read_bytes())
        except (OSError, orjson.JSONDecodeError) as error:
            raise ArtifactError(f"{folder / 'model.json'} cannot be read: {error}") from error
        if not isinstance(model, dict) or model.get("format") != FORMAT:
            raise ArtifactError(f"{folder / 'model.json'} is not of format {FORMAT}, the one this release reads.")
        if model["recipe"] not in recipes:
            raise ArtifactError(f"{folder} holds a model of {model['recipe']}, not of {' or '.join(recipes)}.")
        for name, size in model["files"].items():
            path = folder / name
            found = path.stat().st_size if path.is_file() else None
            if found != size:
                what = "is missing" if found is None else f"has {found} bytes instead of {size}"
                raise ArtifactError(f"{path} {what}: the model is incomplete.")
        try:
            return cls(folder, model)
        except (OSError, ValueError, KeyError) as error:
            raise ArtifactError(f"{folder} is damaged: {error}") from error

    def history(self, user_id: str) -> list[tuple[str, int]]:
        """(item id, timestamp) of the user's events, oldest first; [] for an unknown user."""
        user = self._number(user_id.encode())
        if user is None:
            return []
        begin, end = self._offsets[user : user + 2].tolist()
        items, timestamps = self._items[begin:end].tolist(), self._timestamps[begin:end].tolist()
        return [(self.item_ids[item], timestamp) for item, timestamp in zip(items, timestamps, strict=True)]

    def _number(self, user_id: bytes) -> int | None:
        low, high = 0, len(self._user_id_ends)
        while low < high:
            middle = (low + high) // 2
            begin = int(self._user_id_ends[middle - 1]) if middle else 0
            found = self._user_ids[begin : self._user_id_ends[middle]].tobytes()
            if found == user_id:
                return middle
            low, high = (middle + 1, high) if found < user_id else (low, middle)
        return None
