"""Ids as ``histories`` writes them, mapped: the processes of a machine share one copy in memory."""

from __future__ import annotations

import mmap
from abc import abstractmethod
from bisect import bisect_left, bisect_right
from codecs import getincrementaldecoder
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import overload

import numpy as np

from shared.data.arrays.npy_files import map_npy

DECODED_BYTES = 2**20

CACHED_LOOKUPS = 2**15
"""The size of the caches of recent lookups, one by id and one by number."""


class SortedIds(Sequence[str]):
    """Distinct ids, sorted by code point; an id's number is its index."""

    def __init__(self) -> None:
        #: Returns the number of an id, or None if it is unknown.
        self.find = lru_cache(CACHED_LOOKUPS)(self._find_number)
        #: Returns the id of a number, which must not be negative.
        self.get_id = lru_cache(CACHED_LOOKUPS)(self._read_id)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        if place < 0:
            place += len(self)
        if place < 0:
            raise IndexError(place)
        return self.get_id(place)

    def __contains__(self, id_: object) -> bool:
        return isinstance(id_, str) and self.find(id_) is not None

    @abstractmethod
    def _find_number(self, id_: str) -> int | None: ...

    @abstractmethod
    def _read_id(self, place: int) -> str: ...


class IdIndex(SortedIds):
    """The ids of two files."""

    def __init__(self, folder: Path, kind: str) -> None:
        """Map the ids of kind "user" or "item". Raises OSError, and ValueError for files that do not match."""
        path = folder / f"{kind}_ids.bin"
        with path.open("rb") as file:
            # An empty file cannot be mapped.
            self._text = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else b""
        ends = map_npy(folder / f"{kind}_id_ends.npy")
        if ends.dtype != np.int64 or (np.diff(ends, prepend=0) < 0).any() or ends[-1:].sum() != len(self._text):
            raise ValueError(f"{path} does not hold the ids that its ends describe")
        self._ends = ends.data
        decoder = getincrementaldecoder("utf-8")()
        for begin in range(0, len(self._text), DECODED_BYTES):
            decoder.decode(self._text[begin : begin + DECODED_BYTES], begin + DECODED_BYTES >= len(self._text))
        super().__init__()

    def __len__(self) -> int:
        return len(self._ends)

    def __iter__(self) -> Iterator[str]:
        begin = 0
        for end in self._ends:
            yield self._text[begin:end].decode()
            begin = end

    def _read_id(self, place: int) -> str:
        return self._read_bytes(place).decode()

    def _read_bytes(self, place: int) -> bytes:
        return self._text[self._ends[place - 1] if place else 0 : self._ends[place]]

    def _find_number(self, id_: str) -> int | None:
        """Return the number of an id, or None if it is unknown."""
        wanted = id_.encode()
        low = self.count_before(wanted)
        return low if low < len(self._ends) and self._read_bytes(low) == wanted else None

    def count_before(self, wanted: bytes) -> int:
        """Return how many ids come before one, given in UTF-8."""
        low, high = 0, len(self._ends)
        # The order of code points is the order of UTF-8 bytes.
        while low < high:
            middle = (low + high) // 2
            if self._read_bytes(middle) < wanted:
                low = middle + 1
            else:
                high = middle
        return low


class ExtendedIdIndex(SortedIds):
    """The ids of an ``IdIndex`` and some more."""

    def __init__(self, base: IdIndex, more: Sequence[str]) -> None:
        """``more`` holds distinct ids that the base lacks, sorted by code point."""
        super().__init__()
        self._base = base
        self._more = list(more)
        #: How many ids of the base stand before each of the others.
        self.insertions = [base.count_before(id_.encode(errors="replace")) for id_ in more]
        self._numbers = [insertion + place for place, insertion in enumerate(self.insertions)]
        self._number_by_id = dict(zip(self._more, self._numbers, strict=True))

    def __len__(self) -> int:
        return len(self._base) + len(self._more)

    def __iter__(self) -> Iterator[str]:
        base, done = iter(self._base), 0
        for id_, insertion in zip(self._more, self.insertions, strict=True):
            yield from islice(base, insertion - done)
            done = insertion
            yield id_
        yield from base

    def _read_id(self, place: int) -> str:
        before = bisect_left(self._numbers, place)
        if before < len(self._numbers) and self._numbers[before] == place:
            return self._more[before]
        return self._base.get_id(place - before)

    def _find_number(self, id_: str) -> int | None:
        number = self._number_by_id.get(id_)
        if number is not None:
            return number
        place = self._base.find(id_)
        return None if place is None else place + bisect_right(self.insertions, place)
