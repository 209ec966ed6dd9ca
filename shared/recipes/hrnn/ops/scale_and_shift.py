"""Rows scaled and shifted by the rows of two tables."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from shared.recipes.hrnn.ops.device import has_cpu_kernels


def scale_and_shift(x_NH: Tensor, scale_PH: Tensor, shift_PH: Tensor, gap_N: Tensor) -> Tensor:
    """[N,H] Return x * scale[gap] + shift[gap]."""
    if has_cpu_kernels(x_NH):
        from shared.recipes.hrnn.ops.numba.table_rows import ScaleAndShift

        return ScaleAndShift.apply(x_NH, scale_PH, shift_PH, gap_N)  # type: ignore[no-any-return, no-untyped-call]
    return torch.addcmul(functional.embedding(gap_N, shift_PH), x_NH, functional.embedding(gap_N, scale_PH))
