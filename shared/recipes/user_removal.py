"""Write an artifact again without some users: their histories and features. No other file of a recipe knows users.

The model itself stays: its weights, counters and popularity still contain what the users did.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import orjson

from shared.data.arrays.histories import write_ids
from shared.data.arrays.id_index import IdIndex
from shared.data.arrays.npy_files import NpyWriter, map_npy
from shared.recipes.artifact import HISTORIES, MODEL, USERS
from shared.storage.artifacts import MANIFEST

_EVENTS_AT_ONCE = 2**20
_OF_EVENTS = ("items", "timestamps", "event_types")
_OF_FEATURES = ("values", "weights")


class UserIds(Protocol):
    """Distinct ids in any order, such as ``MappedStrings``."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[str]: ...
    def find(self, text: str, /) -> int | None: ...


def knows_any_user(folder: Path, users: UserIds, on_step: Callable[[], object] = lambda: None) -> bool:
    """Return whether the artifact in ``folder`` has histories of any of the users. Raises OSError and ValueError."""
    return (folder / HISTORIES).is_dir() and not find_kept_users(
        IdIndex(folder / HISTORIES, "user"), users, on_step
    ).all()


def find_kept_users(known: IdIndex, users: UserIds, on_step: Callable[[], object]) -> npt.NDArray[np.bool_]:
    """Return bool[U]: which of the U users of an artifact are not among ``users``."""
    kept = np.ones(len(known), np.bool_)
    if len(users) < len(known):
        for number in map(known.find, _with_steps(users, on_step)):
            if number is not None:
                kept[number] = False
    else:
        for number, id_ in enumerate(_with_steps(known, on_step)):
            kept[number] = users.find(id_) is None
    return kept


def _with_steps(ids: UserIds | Sequence[str], on_step: Callable[[], object]) -> Iterator[str]:
    for number, id_ in enumerate(ids):
        if number % 10_000 == 0:
            on_step()
        yield id_


def write_without_users(
    source: Path, target: Path, users: UserIds, on_step: Callable[[], object] = lambda: None
) -> None:
    """Fill the empty folder ``target`` with the artifact in ``source``, without the histories and features of users.

    Unchanged files are linked where the file system can. ``on_step`` is called for each block of events. Raises
    OSError and ValueError.
    """
    known = IdIndex(source / HISTORIES, "user")
    kept_U = find_kept_users(known, users, on_step)
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source)
        if path.is_dir():
            (target / name).mkdir(parents=True, exist_ok=True)
        elif name.parts[0] not in (HISTORIES, USERS) and str(name) not in (MODEL, MANIFEST):
            _link_file(path, target / name)
    _write_histories(source / HISTORIES, target / HISTORIES, known, kept_U, on_step)
    if (source / USERS).is_dir():
        shutil.copyfile(source / USERS / "columns.json", target / USERS / "columns.json")
        _write_ranges(source / USERS, target / USERS, _OF_FEATURES, kept_U, on_step)
    _write_model(source, target)


def _link_file(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _write_histories(
    source: Path, target: Path, known: IdIndex, kept_U: npt.NDArray[np.bool_], on_step: Callable[[], object]
) -> None:
    for name in ("item_ids.bin", "item_id_ends.npy", "event_types.json"):
        _link_file(source / name, target / name)
    write_ids(target, "user", (id_ for id_, kept in zip(known, kept_U, strict=True) if kept))
    np.save(target / "in_training.npy", map_npy(source / "in_training.npy")[kept_U])
    _write_ranges(source, target, _OF_EVENTS, kept_U, on_step)


def _write_ranges(
    source: Path, target: Path, names: Sequence[str], kept_U: npt.NDArray[np.bool_], on_step: Callable[[], object]
) -> None:
    """Write ``offsets.npy`` and the arrays ``names``, whose ranges between two offsets belong to one user."""
    offsets = map_npy(source / "offsets.npy")
    lengths = np.diff(offsets)
    np.save(target / "offsets.npy", np.concatenate([np.zeros(1, offsets.dtype), np.cumsum(lengths[kept_U])]))
    ends = offsets[1:]
    for name in names:
        array = map_npy(source / f"{name}.npy")
        with NpyWriter(target / f"{name}.npy", array.dtype) as writer:
            for begin in range(0, len(array), _EVENTS_AT_ONCE):
                block = array[begin : begin + _EVENTS_AT_ONCE]
                users = np.searchsorted(ends, np.arange(begin, begin + len(block)), side="right")
                writer.append(block[kept_U[users]])
                on_step()


def _write_model(source: Path, target: Path) -> None:
    """Write ``model.json`` with the new sizes of the files."""
    content = orjson.loads((source / MODEL).read_bytes())
    content["files"] = {name: (target / name).stat().st_size for name in content["files"]}
    (target / MODEL).write_bytes(orjson.dumps(content))
