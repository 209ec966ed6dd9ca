"""Rows of a large array that is mapped from its file, read from the file instead of through the mapping.

Pages that a process reads through a mapping count as its memory, and the kernel maps the fifteen next to each as well
if it has them: after some thousand requests for a few rows each, all of the array would count. The file's own pages
belong to the kernel, which takes them back when it needs them.

Shapes: K places, H hidden.
"""

from __future__ import annotations

import mmap
import os
import weakref
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.integer[Any]]


class FileRows:
    """The rows of an array that is mapped or in memory. Threads may share it."""

    def __init__(self, array_IH: Floats) -> None:
        self.array_IH = array_IH
        self._file: int | None = None
        mapped = _find_mapping(array_IH)
        if mapped is not None:
            with suppress(FileNotFoundError):  # a deleted file stays mapped
                self._file = os.open(str(mapped.filename), os.O_RDONLY)
                self._begin = mapped.offset + array_IH.ctypes.data - mapped.ctypes.data
                weakref.finalize(self, os.close, self._file)

    def __getitem__(self, places_K: Places) -> Floats:
        """float32[K,H] Return a copy of the rows. Raises OSError if the file was truncated."""
        if self._file is None or not len(places_K):
            return self.array_IH[places_K]
        rows_KH = np.empty((len(places_K), self.array_IH.shape[1]), np.float32)
        width = rows_KH.shape[1] * rows_KH.itemsize
        into = rows_KH.reshape(-1).data.cast("B")
        for place, at in enumerate((self._begin + places_K.astype(np.int64) * width).tolist()):
            if os.preadv(self._file, [into[place * width : (place + 1) * width]], at) != width:
                raise OSError("a file of weights has become shorter")
        return rows_KH

    def read_mapped(self) -> None:
        """From now on read through the mapping: for a process that reads all of the array in any case."""
        self._file = None

    def release_pages(self) -> None:
        """Drop the pages that were read through the mapping from this process's memory."""
        mapped = _find_mapping(self.array_IH)
        if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            mapped.base.madvise(mmap.MADV_DONTNEED)  # type: ignore[union-attr]


def _find_mapping(array: npt.NDArray[Any]) -> np.memmap[Any, Any] | None:
    """Return the read-only mapping that the array is a part of, row by row; None if there is none."""
    base: Any = array
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
    if not isinstance(base, np.memmap) or not isinstance(base.base, mmap.mmap) or base.mode != "r":
        return None
    return base if array.flags.c_contiguous and base.filename is not None else None
