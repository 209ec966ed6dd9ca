"""The items of a model with their vectors: those of the training, mapped, and those that have come since, in memory.

Nothing changes once it is made: an update makes a new catalogue that shares the mapped arrays. Needs no torch.
Shapes: I items, T of them from the training, C trained items with a new text, N new items, D dimensions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from shared.data.arrays.id_index import ExtendedIdIndex, IdIndex, SortedIds
from shared.data.arrays.npy_files import map_npy
from shared.recipes.semantic_similarity.documents import Cells
from shared.recipes.semantic_similarity.ranking import compute_freshness, compute_popularity


def compute_digest(cells: Cells) -> int:
    """Return 63 bits that tell whether an item's text has changed."""
    joined = "\0".join(cell or "" for cell in cells).encode(errors="replace")
    return int.from_bytes(hashlib.blake2b(joined, digest_size=8).digest(), "little") >> 1


@dataclass(frozen=True, eq=False)
class TrainedItems:
    """The items of the training, in the order of their ids."""

    vectors: npt.NDArray[np.float32]
    """[T,D], of length 1, or 0 for an item without text."""
    digests: npt.NDArray[np.int64]
    """[T]"""
    freshness: npt.NDArray[np.float32]
    """[T]"""
    popularity: npt.NDArray[np.float32]
    """[T]"""
    created: npt.NDArray[np.int64]
    """The creation times (seconds) of the items, or of some of them, sorted."""

    MOST_TIMES = 4096

    @classmethod
    def save(cls, folder: Path, counts_T: npt.NDArray[np.int64], created_T: npt.NDArray[np.int64]) -> None:
        """Write what ``open`` reads besides vectors.npy and digests.npy."""
        np.save(folder / "freshness.npy", compute_freshness(created_T))
        np.save(folder / "item_popularity.npy", compute_popularity(counts_T))
        times = np.sort(created_T)
        if len(times) > cls.MOST_TIMES:
            times = times[np.linspace(0, len(times) - 1, cls.MOST_TIMES).astype(np.int64)]
        np.save(folder / "created.npy", times)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Map the arrays. Raises OSError and ValueError."""
        names = ("vectors", "digests", "freshness", "item_popularity", "created")
        return cls(*(map_npy(folder / f"{name}.npy") for name in names))

    def compute_new_freshness(self, created: float) -> float:
        """Return the share of the trained items that are older."""
        return float(np.searchsorted(self.created, created, side="left") / max(len(self.created), 1))


@dataclass(frozen=True, eq=False)
class UpdatedItems:
    """The items that have come or changed since the training, each once."""

    ids: tuple[str, ...]
    vectors: npt.NDArray[np.float32]
    """[C + N,D]"""
    digests: tuple[int, ...]
    created: tuple[float, ...]

    def merge(self, other: UpdatedItems) -> UpdatedItems:
        """Return the items of both; ``other`` has the newer ones."""
        replaced = set(other.ids)
        kept = [place for place, item_id in enumerate(self.ids) if item_id not in replaced]
        return UpdatedItems(
            ids=(*(self.ids[place] for place in kept), *other.ids),
            vectors=np.concatenate([self.vectors[kept], other.vectors]),
            digests=(*(self.digests[place] for place in kept), *other.digests),
            created=(*(self.created[place] for place in kept), *other.created),
        )


@dataclass(frozen=True, eq=False)
class Catalogue:
    """All items that a model knows."""

    trained_ids: IdIndex
    trained: TrainedItems
    updated: UpdatedItems

    @classmethod
    def open(cls, folder: Path, trained_ids: IdIndex) -> Self:
        """Map the items of an artifact. Raises OSError and ValueError."""
        trained = TrainedItems.open(folder)
        if len(trained.vectors) != len(trained_ids):
            raise ValueError(f"{folder} has {len(trained.vectors)} vectors for {len(trained_ids)} items")
        nothing = UpdatedItems((), np.zeros((0, trained.vectors.shape[1]), np.float32), (), ())
        return cls(trained_ids, trained, nothing)

    def add_items(self, more: UpdatedItems) -> Catalogue:
        """Return a catalogue with these items in addition, or in the place of earlier versions of them."""
        return replace(self, updated=self.updated.merge(more))

    @cached_property
    def _trained_places(self) -> list[int | None]:
        """The place among the trained items of each updated item; None for a new one."""
        return [self.trained_ids.find(item_id) for item_id in self.updated.ids]

    @cached_property
    def _new_places(self) -> npt.NDArray[np.int64]:
        """[N] The places among the updated items of the new ones, in the order of their ids."""
        new = [place for place, trained in enumerate(self._trained_places) if trained is None]
        return np.array(sorted(new, key=self.updated.ids.__getitem__), np.int64)

    @cached_property
    def _changed_places(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """[C], [C]: the places of the changed items among the updated, and among the trained ones."""
        pairs = [(place, trained) for place, trained in enumerate(self._trained_places) if trained is not None]
        return (np.array([p for p, _ in pairs], np.int64), np.array([t for _, t in pairs], np.int64))

    @cached_property
    def item_ids(self) -> SortedIds:
        """All ids, sorted by code point."""
        new = [self.updated.ids[place] for place in self._new_places]
        return ExtendedIdIndex(self.trained_ids, new) if new else self.trained_ids

    @cached_property
    def freshness(self) -> npt.NDArray[np.float32]:
        """float32[I]"""
        new = [self.trained.compute_new_freshness(self.updated.created[place]) for place in self._new_places]
        return self._insert(self.trained.freshness, np.array(new, np.float32))

    @cached_property
    def popularity(self) -> npt.NDArray[np.float32]:
        """float32[I]: 0 for new items, as popularity is counted by trainings."""
        return self._insert(self.trained.popularity, np.zeros(len(self._new_places), np.float32))

    def spread(self, distribution_T: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """float32[I]: a distribution over the trained items as one over all; new items have 0."""
        return self._insert(distribution_T, np.zeros(len(self._new_places), np.float32)).copy()

    def _insert(self, trained_T: npt.NDArray[np.float32], new_N: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Put the values of the new items between those of the trained ones, in the order of ``item_ids``."""
        if not isinstance(self.item_ids, ExtendedIdIndex):
            return trained_T
        return np.insert(trained_T, self.item_ids.insertions, new_N)

    def get_vector(self, item_id: str) -> npt.NDArray[np.float32] | None:
        """float32[D]: the vector of an item; None for an unknown item."""
        place = self._updated_by_id.get(item_id)
        trained = self.trained_ids.find(item_id) if place is None else None
        if place is None and trained is None:
            return None
        found: npt.NDArray[np.float32] = self.trained.vectors[trained] if place is None else self.updated.vectors[place]
        return found

    def find_digest(self, item_id: str) -> int | None:
        """Return the digest of an item's text; None for an unknown item."""
        place = self._updated_by_id.get(item_id)
        if place is not None:
            return self.updated.digests[place]
        trained = self.trained_ids.find(item_id)
        return None if trained is None else int(self.trained.digests[trained])

    @cached_property
    def _updated_by_id(self) -> dict[str, int]:
        return {item_id: place for place, item_id in enumerate(self.updated.ids)}

    def compute_similarities(self, vector_D: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """float32[I]: the cosine of each item's vector with this one."""
        similarities_T = self.trained.vectors @ vector_D
        if not self.updated.ids:
            return similarities_T
        updated = self.updated.vectors @ vector_D
        among_updated, among_trained = self._changed_places
        similarities_T[among_trained] = updated[among_updated]
        return self._insert(similarities_T, updated[self._new_places])


def create_updates(
    ids: Sequence[str], vectors: npt.NDArray[np.float32], digests: Sequence[int], created: Sequence[float]
) -> UpdatedItems:
    """Return items with distinct ids."""
    return UpdatedItems(tuple(ids), vectors, tuple(digests), tuple(created))
