"""Dropout by random bytes."""

from __future__ import annotations

import torch
from torch import Tensor

from shared.recipes.hrnn.ops.device import has_cpu_kernels


def apply_dropout(x: Tensor, chance: float) -> Tensor:
    """Set elements to 0 with this chance, rounded to a 256th, and scale the rest by its inverse.

    The random bytes are drawn eight at a time, at an eighth of the cost.
    """
    bytes_ = torch.empty(-(-x.numel() // 8), dtype=torch.long, device=x.device).random_(-(2**63), None)
    byte, dropped = bytes_.view(torch.uint8)[: x.numel()], round(chance * 256)
    if has_cpu_kernels(x):
        from shared.recipes.hrnn.ops.numba.table_rows import Dropout

        return Dropout.apply(x, byte, dropped)  # type: ignore[no-any-return, no-untyped-call]
    return x * (byte.view(x.shape) >= dropped) * (256 / (256 - dropped))
