"""Dot products of pairs of rows."""

from __future__ import annotations

from torch import Tensor

from shared.recipes.hrnn.ops.device import has_cpu_kernels


def multiply_pairs(q_NH: Tensor, rows_S: Tensor, v_RH: Tensor, places_S: Tensor) -> Tensor:
    """[S] Return the dot product of row ``rows`` of q and row ``places`` of v."""
    if has_cpu_kernels(q_NH):
        from shared.recipes.hrnn.ops.numba.table_rows import PairDots

        return PairDots.apply(q_NH, rows_S, v_RH, places_S)  # type: ignore[no-any-return, no-untyped-call]
    return (q_NH[rows_S] * v_RH[places_S]).sum(-1)
