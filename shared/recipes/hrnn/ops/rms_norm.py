"""Root mean square normalization."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from shared.recipes.hrnn.ops.device import has_cpu_kernels


def apply_rms_norm(x_TBH: Tensor, weight_H: Tensor) -> Tensor:
    """[T,B,H] Return torch's rms_norm with its default epsilon."""
    if has_cpu_kernels(x_TBH):
        from shared.recipes.hrnn.ops.numba.recurrent_layer import RmsNorm

        return RmsNorm.apply(x_TBH, weight_H)  # type: ignore[no-any-return, no-untyped-call]
    return functional.rms_norm(x_TBH, weight_H.shape, weight_H)
