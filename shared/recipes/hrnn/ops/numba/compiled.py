"""How kernels are compiled by numba, read and write bfloat16, and run on torch's threads. No kernels.

A kernel is a pass over memory that torch would make many of. It is given numpy's view of tensors: float32, or bfloat16
as its bits, int16. What it sums up is float32. Loops that are to be vectorised count from 0, over rows cut out before:
then numba need not ask whether a place is counted from the end.
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

HOW: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz", "arcp"}}


def _keep_by_source() -> None:
    """numba compiles anew when a function's own file changes, and not when another does whose functions it calls: so
    what is compiled is kept in a folder by the digest of all files here."""
    config: Any = numba.config
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    with suppress(RuntimeError):  # nobody has a home
        folder = config.CACHE_DIR or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        config.CACHE_DIR = str(Path(folder) / "foretaste" / digest.hexdigest()[:16])


_keep_by_source()


_FunctionCache: Any = FunctionCache  # numba has no types


class _Cache(_FunctionCache):  # type: ignore[misc]
    """numba's, where what can't be read, after a power failure say, is compiled again; what can't be kept is not."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # pickle meets a torn file with almost any
            log.warning("compiled again: what was kept can't be read", folder=self.cache_path, reason=repr(error))
        try:
            self.flush()
        except OSError:
            self.disable()
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError as error:
            log.warning("compiled, and can't be kept", folder=self.cache_path, reason=str(error))


def compiled(function: Any) -> Any:
    """Compiled at the first call with arguments of these types, and kept on disk where a place for it can be had."""
    kernel = numba.njit(**HOW)(function)
    with suppress(RuntimeError):  # neither this folder nor the user's can be written
        kernel._cache = _Cache(function)
    return kernel


ZERO, ONE = np.float32(0), np.float32(1)
LOG2_E = np.float32(1 / np.log(2))
LEAST, MOST = np.float32(-126), np.float32(126)
# 2^f for 0 <= f < 1, to a relative 1e-7: least squares at Chebyshev's points.
C0, C1, C2, C3, C4, C5 = (
    np.float32(c) for c in (0.99999993, 0.69315307, 0.24015362, 0.05582632, 0.00898934, 0.00187758)
)
LAST, SIXTEEN, BELOW_HALF = np.int32(1), np.int32(16), np.int32(0x7FFF)


@compiled
def widened(x: Any) -> Any:
    return np.int32(np.int32(x) << SIXTEEN).view(np.float32)


@compiled
def rounded(x: Any) -> Any:
    bits = np.float32(x).view(np.int32)
    return np.int16(np.int32(bits + BELOW_HALF + np.int32(np.int32(bits >> SIXTEEN) & LAST)) >> SIXTEEN)


def number(x: Any) -> Any:
    """float32 of what lies in an array."""


def as_in(place: Any, x: Any) -> Any:
    """What to write there: ``x``, rounded to the nearest even where the array holds bfloat16."""


@overload(number, inline="always", strict=False)
def _number(x: Any) -> Any:
    return (lambda x: widened(x)) if isinstance(x, types.Integer) else (lambda x: x)


@overload(as_in, inline="always", strict=False)
def _as_in(place: Any, x: Any) -> Any:  # noqa: ARG001
    if isinstance(place, types.Integer):
        return lambda place, x: rounded(x)  # noqa: ARG005
    return lambda place, x: x  # noqa: ARG005


@compiled
def exp(x: Any) -> Any:
    t = min(max(x * LOG2_E, LEAST), MOST)
    whole = np.floor(t)
    f = t - whole
    of_f = C0 + f * (C1 + f * (C2 + f * (C3 + f * (C4 + f * C5))))
    return of_f * np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32)


@compiled
def sigmoid(x: Any) -> Any:
    return ONE / (ONE + exp(-x))


GRAIN = 2**17
"""Elements that are worth a thread: it takes longer over them than to be called, on a busy machine too."""


def in_parts(kernel: Callable[..., None], count: int, *arguments: Tensor | int | None) -> None:
    """kernel(part, begin, end, *arguments) for all of ``count``, at once on as many of torch's threads as pay."""
    elements = max(each.numel() for each in arguments if isinstance(each, Tensor))
    seen, parts = arrays(*arguments), max(1, min(parts_of(count), elements // GRAIN))
    if parts == 1:
        kernel(0, 0, count, *seen)
        return
    edges = [count * part // parts for part in range(parts + 1)]
    running = [_threads(parts).submit(kernel, part, edges[part], edges[part + 1], *seen) for part in range(1, parts)]
    kernel(0, 0, edges[1], *seen)
    for each in running:
        each.result()


def parts_of(count: int) -> int:
    return max(1, min(torch.get_num_threads(), count))


def sums_of(count: int, *shape: int) -> Tensor:
    """Zeros for each part to sum up what it has."""
    return torch.zeros(parts_of(count), *shape)


@lru_cache(maxsize=1)
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count - 1)


def arrays(*arguments: Tensor | int | None) -> list[Any]:
    """The same memory as numba sees it: bfloat16 as its bits."""
    return [_array(each) if isinstance(each, Tensor) else each for each in arguments]


def _array(tensor: Tensor) -> Any:
    if tensor.requires_grad:
        tensor = tensor.detach()
    return (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
