"""Tools for the kernels: compiling them by numba, reading and writing bfloat16, running them on torch's threads.

A kernel makes one pass over memory where torch's operations make several. Its arguments are numpy's views of tensors:
float32, or bfloat16 as its bits, int16. Its sums are float32. A loop that is to be vectorised counts from 0 over a row
that was sliced before it: numba then knows that no index is negative, and adds no branch for an index from the end.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numba
import numpy as np
import structlog
import torch
from numba import types
from numba.core.caching import FunctionCache
from numba.extending import overload
from torch import Tensor

log = structlog.get_logger()

NUMBA_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"contract", "reassoc", "nsz", "arcp"},
}


def _set_cache_folder() -> None:
    """Keep compiled kernels in a folder that is named by the digest of all files here.

    numba compiles a function again after a change of its own file, but not after a change of a file that it calls.
    """
    config: Any = numba.config
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    with suppress(RuntimeError):  # the user has no home folder
        folder = config.CACHE_DIR or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        config.CACHE_DIR = str(Path(folder) / "foretaste" / digest.hexdigest()[:16])


_set_cache_folder()


_FunctionCache: Any = FunctionCache  # numba has no types


class _KernelCache(_FunctionCache):  # type: ignore[misc]
    """numba's cache on disk, tolerant of damage: an unreadable entry, as after a power failure, is compiled again, and
    an entry that cannot be written is left out."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # pickle raises almost any error for a truncated file
            log.warning("cached kernel unreadable, compiled again", folder=self.cache_path, reason=repr(error))
        try:
            self.flush()
        except OSError:
            self.disable()
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError as error:
            log.warning("compiled kernel not cached", folder=self.cache_path, reason=str(error))


def compile_kernel(function: Any) -> Any:
    """Compile the function at its first call with arguments of these types, and keep the result on disk if possible."""
    kernel = numba.njit(**NUMBA_OPTIONS)(function)
    with suppress(RuntimeError):  # neither this folder nor the user's cache is writable
        kernel._cache = _KernelCache(function)
    return kernel


ZERO, ONE = np.float32(0), np.float32(1)
LOG2_E = np.float32(1 / np.log(2))
LEAST, MOST = np.float32(-126), np.float32(126)
# 2^f for 0 <= f < 1, to a relative 1e-7: least squares at Chebyshev's points.
C0, C1, C2, C3, C4, C5 = (
    np.float32(c) for c in (0.99999993, 0.69315307, 0.24015362, 0.05582632, 0.00898934, 0.00187758)
)
LAST, SIXTEEN, BELOW_HALF = np.int32(1), np.int32(16), np.int32(0x7FFF)


@compile_kernel
def widen_bfloat16(x: Any) -> Any:
    """Return the float32 of bfloat16 bits: they are its upper half."""
    return np.int32(np.int32(x) << SIXTEEN).view(np.float32)


@compile_kernel
def round_to_bfloat16(x: Any) -> Any:
    """Return the bits of the nearest bfloat16, of two equally near the even one."""
    bits = np.float32(x).view(np.int32)
    return np.int16(np.int32(bits + BELOW_HALF + np.int32(np.int32(bits >> SIXTEEN) & LAST)) >> SIXTEEN)


def read_float(x: Any) -> Any:
    """Return an array's element as float32."""


def convert_to(place: Any, x: Any) -> Any:
    """Return ``x`` in the type of ``place``, an array's element: rounded if the array holds bfloat16."""


@overload(read_float, inline="always", strict=False)
def _read_float(x: Any) -> Any:
    return (lambda x: widen_bfloat16(x)) if isinstance(x, types.Integer) else (lambda x: x)


@overload(convert_to, inline="always", strict=False)
def _convert_to(place: Any, x: Any) -> Any:  # noqa: ARG001
    if isinstance(place, types.Integer):
        return lambda place, x: round_to_bfloat16(x)  # noqa: ARG005
    return lambda place, x: x  # noqa: ARG005


@compile_kernel
def exp(x: Any) -> Any:
    """Return e^x to a relative 5e-6, and to 3e-7 near 0: 2^whole by the exponent's bits, 2^f by a polynomial."""
    t = min(max(x * LOG2_E, LEAST), MOST)
    whole = np.floor(t)
    f = t - whole
    of_f = C0 + f * (C1 + f * (C2 + f * (C3 + f * (C4 + f * C5))))
    return of_f * np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32)


@compile_kernel
def sigmoid(x: Any) -> Any:
    """Return 1 / (1 + e^-x)."""
    return ONE / (ONE + exp(-x))


ELEMENTS_A_THREAD = 2**17
"""The least elements for a thread of their own: computing them takes longer than starting it, on a busy machine too."""


def run_in_parts(kernel: Callable[..., None], count: int, *arguments: Tensor | int | None) -> None:
    """Call kernel(part, begin, end, *arguments) for the parts of 0 to ``count``, at once on as many threads as pay off.

    There are at most torch's number of threads. Kernels release the GIL.
    """
    elements = max(each.numel() for each in arguments if isinstance(each, Tensor))
    seen, parts = view_arrays(*arguments), max(1, min(count_parts(count), elements // ELEMENTS_A_THREAD))
    if parts == 1:
        kernel(0, 0, count, *seen)
        return
    edges = [count * part // parts for part in range(parts + 1)]
    running = [
        _get_threads(parts).submit(kernel, part, edges[part], edges[part + 1], *seen) for part in range(1, parts)
    ]
    kernel(0, 0, edges[1], *seen)
    for each in running:
        each.result()


def count_parts(count: int) -> int:
    """Return the most parts that ``in_parts`` may make."""
    return max(1, min(torch.get_num_threads(), count))


def create_partial_sums(count: int, *shape: int) -> Tensor:
    """Return zeros, [parts, *shape]: one partial sum for each part."""
    return torch.zeros(count_parts(count), *shape)


@lru_cache(maxsize=1)
def _get_threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count - 1)


def view_arrays(*arguments: Tensor | int | None) -> list[Any]:
    """Return numpy's views of the tensors, bfloat16 as its bits."""
    return [_view_array(each) if isinstance(each, Tensor) else each for each in arguments]


def _view_array(tensor: Tensor) -> Any:
    if tensor.requires_grad:
        tensor = tensor.detach()
    return (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
