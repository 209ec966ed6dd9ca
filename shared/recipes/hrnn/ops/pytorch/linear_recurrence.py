"""The gated linear recurrence of the network, with its gradient, in few large operations for GPUs. No weights.

Shapes as in network.py: T steps, B streams, W state width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


class GatedScan(torch.autograd.Function):
    """The recurrence with its gates: a = sigmoid(gate + time), h_t = a h_(t-1) + (1 - a) v, y = h silu(g).

    Forward and backward are written out to save passes over [T,B,W]. The adjoint of the scan is the scan backwards. The
    incoming state is a constant: that is the truncation of back-propagation through time.
    """

    @staticmethod
    def forward(ctx: Any, into_TB3W: Tensor, time_TBW: Tensor, keep_TB2: Tensor, h_BW: Tensor) -> tuple[Tensor, Tensor]:
        gate, v, g = into_TB3W.chunk(3, -1)
        a = torch.add(gate, time_TBW).sigmoid_()
        b = torch.addcmul(v, a, v, value=-1)
        h = compute_scan(mask_gates(a, keep_TB2), b, h_BW)
        ctx.save_for_backward(into_TB3W, a, keep_TB2, h, h_BW)
        last_BW = h[-1].clone()
        ctx.mark_non_differentiable(last_BW)
        return functional.silu(g).mul_(h), last_BW

    @staticmethod
    def backward(ctx: Any, dy: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None, None]:
        into_TB3W, a, keep_TB2, h, h_BW = ctx.saved_tensors
        _, v, g = into_TB3W.chunk(3, -1)
        dinto = torch.empty_like(into_TB3W)
        dgate, dv, dg = dinto.chunk(3, -1)
        dg.copy_(torch.ops.aten.silu_backward(dy * h, g))
        db = compute_scan_backward(mask_gates(a, keep_TB2), functional.silu(g).mul_(dy))
        torch.addcmul(db, a, db, value=-1, out=dv)
        da = torch.cat([h_BW[None], h[:-1]])
        da.view(*keep_TB2.shape, -1).mul_(keep_TB2[..., None])
        da.sub_(v).mul_(db)
        dtime = torch.ops.aten.sigmoid_backward(da, a)
        dgate.copy_(dtime)
        return dinto, dtime, None, None


def mask_gates(a_TBW: Tensor, keep_TB2: Tensor) -> Tensor:
    """Return a where the session (first half) or the user (second half) continues, 0 where one begins."""
    return (a_TBW.view(*keep_TB2.shape, -1) * keep_TB2[..., None]).view_as(a_TBW)


def compute_scan(a_TBW: Tensor, b_TBW: Tensor, h_BW: Tensor) -> Tensor:
    """Return h_TBW with h_t = a_t * h_(t-1) + b_t.

    It takes log2(T) operations over all elements (Hillis & Steele, Data Parallel Algorithms, 1986): after the pass with
    stride s, (a_t, b_t) map the state before the 2 s steps up to t to the state after them.
    """
    b_TBW = torch.cat([torch.addcmul(b_TBW[:1], a_TBW[:1], h_BW), b_TBW[1:]])
    stride = 1
    while stride < len(a_TBW):
        b_TBW = torch.cat([b_TBW[:stride], torch.addcmul(b_TBW[stride:], a_TBW[stride:], b_TBW[:-stride])])
        a_TBW = torch.cat([a_TBW[:stride], a_TBW[stride:] * a_TBW[:-stride]])
        stride *= 2
    return b_TBW


def compute_scan_backward(a_TBW: Tensor, g_TBW: Tensor) -> Tensor:
    """Return the adjoint of ``compute_scan``: adjoint_t = g_t + a_(t+1) * adjoint_(t+1)."""
    following = torch.cat([torch.zeros_like(a_TBW[:1]), a_TBW.flip(0)[:-1]])
    return compute_scan(following, g_TBW.flip(0), torch.zeros_like(g_TBW[0])).flip(0)
