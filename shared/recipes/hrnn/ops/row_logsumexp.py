"""The logarithm of a sum of exponentials, row by row. Torch's operations on every device."""

from __future__ import annotations

import torch
from torch import Tensor

from shared.recipes.hrnn.types import IMPOSSIBLE


def sum_exp_rows(a_S: Tensor, rows_S: Tensor, rows: int) -> Tensor:
    """[N] Return log(sum of exp(a)) of each row, or about IMPOSSIBLE for a row without elements."""
    greatest_N = a_S.new_full((rows,), IMPOSSIBLE).scatter_reduce(0, rows_S, a_S.detach(), "amax")
    sums_N = a_S.new_zeros(rows).index_add(0, rows_S, torch.exp(a_S - greatest_N[rows_S]))
    return torch.log(sums_N.clamp(min=1e-30)) + greatest_N
