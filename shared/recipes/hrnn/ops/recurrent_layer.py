"""A layer of the gated linear recurrence: norm, recurrence, output gate, residual."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from shared.recipes.hrnn.ops.device import has_cpu_kernels
from shared.recipes.hrnn.ops.pytorch.linear_recurrence import GatedScan


def apply_recurrent_layer(
    x_TBH: Tensor,
    norm_H: Tensor,
    into_VH: Tensor,
    time_PW: Tensor,
    out_HW: Tensor,
    gap_TB: Tensor,
    keep_TB2: Tensor,
    h_BW: Tensor,
    *,
    fast: bool,
) -> tuple[Tensor, Tensor]:
    """Return the layer's output, [T,B,H], and its state after the last step, [B,W]. V is 3 W, P buckets of time.

    ``fast`` multiplies matrices in bfloat16 on a CPU. On a GPU autocast decides.
    """
    if has_cpu_kernels(x_TBH):
        from shared.recipes.hrnn.ops.numba.recurrent_layer import RecurrentLayer

        return RecurrentLayer.apply(x_TBH, norm_H, into_VH, time_PW, out_HW, gap_TB, keep_TB2, h_BW, fast)  # type: ignore[no-any-return, no-untyped-call]
    into_TB3W = functional.linear(functional.rms_norm(x_TBH, norm_H.shape, norm_H), into_VH).float()
    y_TBW, h_BW = GatedScan.apply(into_TB3W, functional.embedding(gap_TB, time_PW), keep_TB2, h_BW)  # type: ignore[no-untyped-call]
    return x_TBH + functional.linear(y_TBW, out_HW), h_BW
