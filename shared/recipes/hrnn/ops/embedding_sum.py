"""The sum of two embeddings."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from shared.recipes.hrnn.ops.device import has_cpu_kernels


def add_embeddings(one_IH: Tensor, ones_TB: Tensor, other_PH: Tensor, others_TB: Tensor) -> Tensor:
    """[T,B,H] Return row ``ones`` of the first table plus row ``others`` of the second."""
    if has_cpu_kernels(ones_TB):
        from shared.recipes.hrnn.ops.numba.table_rows import EmbeddingSum

        return EmbeddingSum.apply(one_IH, ones_TB, other_PH, others_TB)  # type: ignore[no-any-return, no-untyped-call]
    return functional.embedding(ones_TB, one_IH) + functional.embedding(others_TB, other_PH)
