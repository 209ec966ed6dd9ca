"""Arrays in one mapped file: a process with the file open keeps reading it after a newer file has replaced it.

The arrays stand end to end, each at a multiple of 64 bytes. JSON with their offsets follows them, and the last 8 bytes
are the length of the JSON.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import orjson

_ALIGNMENT = 64
_LENGTH_BYTES = 8


class ArrayFileWriter:
    """Write a file of arrays, piece by piece: only one piece of an array needs to be in memory."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._arrays: dict[str, tuple[str, int, int]] = {}
        #: Further data about the arrays, written as JSON.
        self.about: dict[str, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        index = orjson.dumps({"arrays": self._arrays, "about": self.about})
        self._file.write(index + len(index).to_bytes(_LENGTH_BYTES, "little"))
        self._file.close()

    def add_array(self, name: str, array: npt.NDArray[Any]) -> None:
        self.add_pieces(name, array.dtype, [array])

    def add_pieces(self, name: str, dtype: npt.DTypeLike, pieces: Iterable[npt.NDArray[Any]]) -> None:
        """Write an array of one dimension, piece by piece."""
        kept = np.dtype(dtype)
        self._file.write(b"\0" * (-self._file.tell() % _ALIGNMENT))
        begin, length = self._file.tell(), 0
        for piece in pieces:
            self._file.write(np.ascontiguousarray(piece, kept).data)
            length += len(piece)
        self._arrays[name] = (kept.str, begin, length)

    def add_strings(self, name: str, batches: Iterable[list[str]]) -> int:
        """Write strings for ``MappedStrings`` and return their number."""
        lengths: list[npt.NDArray[np.int64]] = []

        def encode_batches() -> Iterator[npt.NDArray[np.uint8]]:
            for batch in batches:
                pieces = [text.encode() for text in batch]
                lengths.append(np.fromiter(map(len, pieces), np.int64, len(pieces)))
                yield np.frombuffer(b"".join(pieces), np.uint8)

        self.add_pieces(f"{name}.bytes", np.uint8, encode_batches())
        ends = np.cumsum(np.concatenate([np.zeros(0, np.int64), *lengths]))
        self.add_array(f"{name}.ends", ends)
        return len(ends)


@dataclass(frozen=True, eq=False)
class ArrayFile:
    """A file that ``ArrayFileWriter`` wrote. Its arrays are read-only."""

    about: Mapping[str, Any]
    _arrays: Mapping[str, tuple[str, int, int]]
    _mapped: mmap.mmap

    @classmethod
    def open(cls, path: Path) -> Self:
        """Map a file. Raises OSError, and ValueError if it is no such file."""
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        length = int.from_bytes(mapped[-_LENGTH_BYTES:], "little")
        index = orjson.loads(mapped[-_LENGTH_BYTES - length : -_LENGTH_BYTES])
        return cls(index["about"], index["arrays"], mapped)

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def get_array(self, name: str) -> npt.NDArray[Any]:
        dtype, begin, length = self._arrays[name]
        return np.frombuffer(self._mapped, dtype, length, begin)

    def get_strings(self, name: str) -> MappedStrings:
        _, begin, length = self._arrays[f"{name}.bytes"]
        return MappedStrings(memoryview(self._mapped)[begin : begin + length], self.get_array(f"{name}.ends"))


@dataclass(frozen=True, eq=False)
class MappedStrings:
    """Strings by their numbers. ``find`` needs strings sorted by code point, which is the order of UTF-8."""

    _bytes: memoryview
    _ends: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, number: int) -> str:
        return self._read_bytes(number).decode()

    def __iter__(self) -> Iterator[str]:
        begin = 0
        # tolist() converts one piece at a time, as there may be millions of strings.
        for start in range(0, len(self._ends), 2**14):
            for end in self._ends[start : start + 2**14].tolist():
                yield str(self._bytes[begin:end], "utf-8")
                begin = end

    def find(self, text: str) -> int | None:
        """Return the number of a string among sorted ones, or None if it is missing."""
        try:
            wanted = text.encode()
        except UnicodeEncodeError:  # half a surrogate pair, as JSON can spell it
            return None
        low, high = 0, len(self._ends)
        while low < high:
            middle = (low + high) // 2
            found = self._read_bytes(middle)
            if found == wanted:
                return middle
            low, high = (middle + 1, high) if found < wanted else (low, middle)
        return None

    def _read_bytes(self, number: int) -> bytes:
        begin = self._ends[number - 1] if number else 0
        return bytes(self._bytes[begin : self._ends[number]])
