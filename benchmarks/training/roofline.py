"""What the machine can do: its rate of matrix products and its memory's, measured."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

SIZE = {"cpu": 1536, "cuda": 8192}
SECONDS = 1.0
"""That each measurement takes."""

COPIED = {"cpu": 2**28, "cuda": 2**31}
"""Bytes, well beyond any cache."""


def gemm_rate(dtype: torch.dtype, device: str, shape: tuple[int, int, int] | None = None) -> float:
    """FLOP/s of torch.mm with as many threads as torch has; the best of the runs.

    ``shape`` (n, k, m) is that of [n, k] x [k, m]; None: large square matrices, which is what is meant by roofline.
    """
    n, k, m = shape or (SIZE[device],) * 3
    a, b = torch.randn(n, k, device=device).to(dtype), torch.randn(k, m, device=device).to(dtype)
    out = torch.empty(n, m, device=device, dtype=dtype)
    return 2 * n * k * m / _best(lambda: torch.mm(a, b, out=out), device)


def memory_rate(device: str) -> float:
    """Bytes/s, read and written, of copying a large array."""
    source = torch.zeros(COPIED[device] // 4, device=device)
    target = torch.empty_like(source)
    return 2 * COPIED[device] / _best(lambda: target.copy_(source), device)


def _best(work: Callable[[], object], device: str) -> float:
    """Seconds of one call: the least, so that what else the machine does counts little."""
    work()
    least, ends = float("inf"), time.perf_counter() + SECONDS
    while time.perf_counter() < ends:
        _wait(device)
        began = time.perf_counter()
        work()
        _wait(device)
        least = min(least, time.perf_counter() - began)
    return least


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
