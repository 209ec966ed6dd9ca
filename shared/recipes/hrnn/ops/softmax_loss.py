"""The loss of the network: softmax cross-entropy over the candidates."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from shared.recipes.hrnn.ops.device import has_cpu_kernels
from shared.recipes.hrnn.ops.pytorch.softmax_loss import SoftmaxLoss
from shared.recipes.hrnn.types import HistorySpans, Pairs, Targets


def compute_softmax_loss(
    q_NH: Tensor,
    v_CH1: Tensor,
    pairs: Pairs,
    targets: Targets,
    shares_K: Tensor | None,
    spans: HistorySpans | None,
    *,
    fast: bool,
) -> Tensor:
    """Return the weighted sum over targets of -log softmax, without the items of ``pairs`` and ``spans``.

    The last column of v is the bias. ``shares_K`` is added to the targets' logits. ``fast`` multiplies in bfloat16; on
    a CPU it takes the approximation of ``Bf16SoftmaxLoss`` if the logits lie within its range.
    """
    if fast and has_cpu_kernels(q_NH) and len(q_NH):
        from shared.recipes.hrnn.ops.numba.bf16_softmax_loss import Bf16SoftmaxLoss, is_within_reach

        if is_within_reach(q_NH, v_CH1):
            return Bf16SoftmaxLoss.apply(q_NH, v_CH1, pairs[:2], spans, *targets, shares_K)  # type: ignore[no-any-return, no-untyped-call]
    rows_S, items_S = pairs[:2]
    if spans is not None:
        more_S, items_of_more_S = spans.expand()
        rows_S, order_S = torch.sort(torch.cat([rows_S, more_S]))
        items_S = torch.cat([items_S, items_of_more_S])[order_S]
    q_NH1 = functional.pad(q_NH, (0, 1), value=1.0)
    return SoftmaxLoss.apply(q_NH1, v_CH1, rows_S, items_S, *targets, shares_K, fast)  # type: ignore[no-any-return, no-untyped-call]
