"""Interactions as arrays: the history of every user, oldest event first, with items as numbers.

No Python object is made per event. The arrays are the same in memory and mapped from a folder:

    histories/
      user_ids.bin          the ids in UTF-8, sorted by their bytes, end to end
      user_id_ends.npy      int64[U]: where each id ends in it
      item_ids.bin, item_id_ends.npy   the same of items
      offsets.npy           int64[U + 1]
      items.npy             int32[E]
      timestamps.npy        int64[E]
      event_types.npy       int16[E]
      in_training.npy       bool[U]
      event_types.json      the names of event types

``training_data`` makes them from Parquet.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import orjson

from shared.data.arrays import npy_files

MIN_INTERACTIONS = 1000
MIN_USERS = 25
MIN_SHARE_OF_USERS = 0.01
"""AWS's minimum data: interactions, users with at least 2 interactions, and the share of such users."""

_OF_EVENTS = ("items", "timestamps", "event_types")
_OF_USERS = ("offsets", "in_training")


class DataRefused(ValueError):
    """Data that no model can be trained on. The message is the failure reason, in AWS's words where known."""


class TooLittleData(DataRefused):
    """Data below AWS's minimum."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Histories:
    """The histories of U users over I items, E events in all.

    User u's events are ``offsets[u]:offsets[u + 1]``, sorted by time; events of one second keep the order of
    the files.
    """

    user_ids: list[str]
    """Sorted by code point."""
    item_ids: list[str]
    """Sorted by code point; an item's number is its index here. May hold items without interactions."""
    offsets: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]
    timestamps: npt.NDArray[np.int64]
    """Seconds since the epoch."""
    event_types: npt.NDArray[np.int16]
    """Index in ``event_type_names``; -1 for an event without a type."""
    event_type_names: list[str]
    """In lower case: the case of event types does not count."""
    in_training: npt.NDArray[np.bool_]
    """bool[U]: False where a history is too short or too long for the percentiles. Models do not train on such users,
    but serve them with their histories."""

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """int64[U]: the number of events of each user."""
        return np.diff(self.offsets)

    def save(self, folder: Path) -> None:
        """Write the ids and arrays to a new folder."""
        folder.mkdir()
        save_names(folder, user_ids=self.user_ids, item_ids=self.item_ids, event_type_names=self.event_type_names)
        for name in (*_OF_USERS, *_OF_EVENTS):
            np.save(folder / f"{name}.npy", getattr(self, name))

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Read the ids that ``save`` wrote and map the arrays. Raises OSError and ValueError for a damaged folder."""
        return cls(
            user_ids=read_ids(folder, "user"),
            item_ids=read_ids(folder, "item"),
            event_type_names=orjson.loads((folder / "event_types.json").read_bytes()),
            **{name: npy_files.map_npy(folder / f"{name}.npy") for name in (*_OF_USERS, *_OF_EVENTS)},
        )


def save_names(
    folder: Path, *, user_ids: Sequence[str], item_ids: Sequence[str], event_type_names: Sequence[str]
) -> None:
    """Write ids and names of event types, the part of ``Histories.save`` that is no array."""
    write_ids(folder, "user", user_ids)
    write_ids(folder, "item", item_ids)
    (folder / "event_types.json").write_bytes(orjson.dumps(event_type_names))


def write_ids(folder: Path, kind: str, ids: Iterable[str]) -> None:
    """Write the sorted ids of kind "user" or "item"."""
    encoded = [id_.encode() for id_ in ids]
    (folder / f"{kind}_ids.bin").write_bytes(b"".join(encoded))
    ends = np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)))
    np.save(folder / f"{kind}_id_ends.npy", ends)


def read_ids(folder: Path, kind: str) -> list[str]:
    """Return the sorted ids of kind "user" or "item"."""
    text = (folder / f"{kind}_ids.bin").read_bytes()
    ends: list[Any] = np.load(folder / f"{kind}_id_ends.npy").tolist()
    return [text[begin:end].decode() for begin, end in itertools.pairwise([0, *ends])]


def select_trained_users(
    lengths: npt.NDArray[np.int64],
    *,
    min_percentile: float,
    max_percentile: float,
    event_type: str | None,
    skip_minimum: bool = False,
) -> npt.NDArray[np.bool_]:
    """Return bool[U]: the users whose history lies between the percentiles of ``lengths``.

    Raises TooLittleData below AWS's minimum, which ``skip_minimum`` leaves unchecked, and where no user with at least
    2 interactions is left.
    """
    if not skip_minimum:
        _check_minimum(lengths, event_type)
    low, high = np.quantile(lengths, [min_percentile, max_percentile])
    inside: npt.NDArray[np.bool_] = (lengths >= low) & (lengths <= high)
    if lengths[inside].max(initial=0) < 2:
        raise TooLittleData(
            "No user with at least 2 interactions is left between the history length percentiles "
            f"{min_percentile:g} and {max_percentile:g}."
        )
    return inside


def _check_minimum(lengths: npt.NDArray[np.int64], event_type: str | None) -> None:
    if lengths.sum() < MIN_INTERACTIONS:
        of_type = f" after filtering by event type: {event_type}" if event_type is not None else "."
        raise TooLittleData(f"Dataset has fewer than {MIN_INTERACTIONS} interactions{of_type}")
    users = int((lengths >= 2).sum())
    if users < MIN_USERS:
        raise TooLittleData(
            f"Create failed. Dataset has fewer than {MIN_USERS} users with at least 2 interactions each."
        )
    if users < MIN_SHARE_OF_USERS * len(lengths):
        raise TooLittleData("Create failed. Fewer than 1 % of the users have at least 2 interactions each.")
