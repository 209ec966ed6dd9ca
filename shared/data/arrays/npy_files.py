"""Map .npy files, write them piece by piece, and expand arrays of ranges."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy


def map_npy(path: Path) -> npt.NDArray[Any]:
    """Map the array of a .npy file, read-only. Raises OSError and ValueError."""
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


def expand_ranges(starts: npt.NDArray[np.integer[Any]], lengths: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
    """Return start, start + 1 ... of each range, end to end."""
    ends = np.cumsum(lengths, dtype=np.int64)
    length = ends[-1] if len(ends) else 0
    found: npt.NDArray[np.int64] = np.arange(length) + np.repeat(starts - (ends - lengths), lengths)
    return found


_BYTES_PER_SYNC = 2**25


class NpyWriter:
    """Write a .npy file of one dimension: only a piece of it is in memory, or waits to be synced, at a time.

    ``close`` syncs the file to the disk.
    """

    def __init__(self, path: Path, dtype: npt.DTypeLike) -> None:
        self._dtype = np.dtype(dtype)
        self._file = path.open("wb")
        self._length = 0
        self._bytes_to_sync = 0
        self._write_header()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def append(self, piece: npt.NDArray[Any]) -> None:
        self._file.write(np.ascontiguousarray(piece, self._dtype).data)
        self._length += len(piece)
        self._bytes_to_sync += len(piece) * self._dtype.itemsize
        # A single sync at the end would take long, and could not be cancelled.
        if self._bytes_to_sync > _BYTES_PER_SYNC:
            self._sync()

    def close(self) -> None:
        # numpy pads the header for the longest possible length, so the second header fits over the first.
        self._file.seek(0)
        self._write_header()
        self._sync()
        self._file.close()

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._bytes_to_sync = 0

    def _write_header(self) -> None:
        header = {"descr": npy.dtype_to_descr(self._dtype), "fortran_order": False, "shape": (self._length,)}
        npy.write_array_header_1_0(self._file, header)
