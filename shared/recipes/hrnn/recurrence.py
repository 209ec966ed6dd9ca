"""The gated linear recurrence of the network and its norms, with their gradients written out. No weights.

Shapes as in network.py: T steps, B streams, N = T x B rows, step by step, H hidden, W state width, V = 3 W, P buckets
of time, R rows of halves of a state.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from shared.recipes.hrnn.form import GAP_BUCKETS

STREAMS_TO_LOOP = 8
"""With fewer streams a scan on a CPU waits for its calls, not for its multiply-adds."""


class LayerOnCPU(torch.autograd.Function):
    """The whole of a layer in as few passes over [T,B,W] as torch allows: on a CPU a small network waits for these.

    The gates lie apart, so that each pass runs over memory that is whole. Where a session or a user begins, which
    is seldom, a is set to 0 in its row instead of multiplied in all of them. ``fast`` multiplies matrices in bfloat16.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x_TBH: Tensor,
        norm_H: Tensor,
        into_VH: Tensor,
        time_PW: Tensor,
        out_HW: Tensor,
        gap_TB: Tensor,
        keep_TB2: Tensor,
        h_BW: Tensor,
        fast: bool,
    ) -> tuple[Tensor, Tensor]:
        (T, B, H), W = x_TBH.shape, out_HW.shape[1]
        low = torch.bfloat16 if fast else x_TBH.dtype
        x_NH, gap_N = x_TBH.reshape(-1, H), gap_TB.reshape(-1)
        rms_N1 = torch.linalg.vecdot(x_NH, x_NH).div_(H).add_(torch.finfo(x_TBH.dtype).eps).rsqrt_()[:, None]
        normed_NH = x_NH * rms_N1
        low_NH, low_VH, low_HW = normed_NH.to(low), (into_VH * norm_H).to(low), out_HW.to(low)
        gate, v, g = (of_gate.to(x_TBH.dtype).contiguous() for of_gate in torch.mm(low_NH, low_VH.T).chunk(3, -1))
        a = gate.add_(time_PW.index_select(0, gap_N)).sigmoid_()
        b = torch.addcmul(v, a, v, value=-1)
        # a lies in halves for this: of each event the session's, then the user's.
        ends_R = torch.nonzero(keep_TB2.reshape(-1) == 0).view(-1)
        a_R = a.view(-1, W // 2).index_select(0, ends_R)
        a.view(-1, W // 2).index_fill_(0, ends_R, 0.0)
        h = a.new_empty(T + 1, B, W)
        h[0] = h_BW
        scan(a.view(T, B, W), b.view(T, B, W), h_BW, out=h[1:])
        silu = functional.silu(g)
        low_y = torch.mul(h[1:].view(-1, W), silu).to(low)
        z_NH = torch.mm(low_y, low_HW.T).to(x_TBH.dtype).add_(x_NH)
        ctx.save_for_backward(into_VH, norm_H, normed_NH, rms_N1, low_NH, low_VH, low_HW, gap_N,
                              a, a_R, v, g, silu, h, low_y, ends_R)  # fmt: skip
        last_BW = h[-1].clone()
        ctx.mark_non_differentiable(last_BW)
        return z_NH.view(T, B, H), last_BW

    @staticmethod
    def backward(ctx: Any, dz_TBH: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        (into_VH, norm_H, normed_NH, rms_N1, low_NH, low_VH, low_HW, gap_N,
         a, a_R, v, g, silu, h, low_y, ends_R) = ctx.saved_tensors  # fmt: skip
        (T, B, H), W, low = dz_TBH.shape, g.shape[1], low_NH.dtype
        dz_NH = dz_TBH.reshape(-1, H)
        low_dz = dz_NH.to(low)
        dout_HW = torch.mm(low_dz.T, low_y).to(a.dtype)
        dy = torch.mm(low_dz, low_HW).to(g.dtype)
        low_d = low_dz.new_empty(len(g), 3 * W)
        low_dgate, low_dv, low_dg = low_d.chunk(3, -1)
        low_dg.copy_(torch.ops.aten.silu_backward(dy * h[1:].view(-1, W), g))
        db = scan_back(a.view(T, B, W), dy.mul_(silu).view(T, B, W)).view(-1, W)
        da = torch.sub(h[:-1].view(-1, W), v)
        da.view(-1, W // 2).index_copy_(0, ends_R, -v.view(-1, W // 2).index_select(0, ends_R))
        a = a.view(-1, W // 2).index_copy(0, ends_R, a_R).view(-1, W)
        dv = torch.addcmul(db, a, db, value=-1)
        dgate = da.mul_(a).mul_(dv)  # a (1 - a) db (kept h_(t-1) - v)
        low_dv.copy_(dv)
        low_dgate.copy_(dgate)
        dtime_PW = dgate.new_zeros(GAP_BUCKETS, W).index_add_(0, gap_N, dgate)
        dnormed_NH = torch.mm(low_d, low_VH).to(a.dtype)
        dinto_VH = torch.mm(low_NH.T, low_d).to(a.dtype).T
        dnorm_H = (dinto_VH * into_VH).sum(0)
        along_N1 = torch.linalg.vecdot(dnormed_NH, normed_NH).div_(H)[:, None]
        dx_NH = torch.addcmul(dnormed_NH, normed_NH, along_N1, value=-1).mul_(rms_N1).add_(dz_NH)
        return dx_NH.view(T, B, H), dnorm_H, dinto_VH * norm_H, dtime_PW, dout_HW, None, None, None, None


class Norm(torch.autograd.Function):
    """torch's rms_norm, whose gradient takes a CPU twice as long."""

    @staticmethod
    def forward(ctx: Any, x_TBH: Tensor, weight_H: Tensor) -> Tensor:
        mean_TB = torch.linalg.vecdot(x_TBH, x_TBH).div_(x_TBH.shape[-1])
        rms_TB1 = mean_TB.add_(torch.finfo(x_TBH.dtype).eps).rsqrt_()[..., None]
        normed_TBH = x_TBH * rms_TB1
        ctx.save_for_backward(normed_TBH, rms_TB1, weight_H)
        y_TBH: Tensor = normed_TBH * weight_H
        return y_TBH

    @staticmethod
    def backward(ctx: Any, dy_TBH: Tensor) -> tuple[Tensor, Tensor]:
        normed_TBH, rms_TB1, weight_H = ctx.saved_tensors
        dnormed_TBH = dy_TBH * weight_H
        along_TB1 = torch.linalg.vecdot(dnormed_TBH, normed_TBH).div_(len(weight_H))[..., None]
        dx_TBH = torch.addcmul(dnormed_TBH, normed_TBH, along_TB1, value=-1).mul_(rms_TB1)
        return dx_TBH, (dy_TBH * normed_TBH).flatten(0, -2).sum(0)


class GatedScan(torch.autograd.Function):
    """The recurrence with its gates: a = sigmoid(gate + time), h_t = a h_(t-1) + (1 - a) v, y = h silu(g).

    Forward and backward are written out because each pass over [T,B,W] that is saved is time saved. The adjoint of
    the scan is the scan backwards. The state that came in is a constant: that is the truncation of back-propagation
    through time.
    """

    @staticmethod
    def forward(ctx: Any, into_TB3W: Tensor, time_TBW: Tensor, keep_TB2: Tensor, h_BW: Tensor) -> tuple[Tensor, Tensor]:
        gate, v, g = into_TB3W.chunk(3, -1)
        a = torch.add(gate, time_TBW).sigmoid_()
        b = torch.addcmul(v, a, v, value=-1)
        h = scan(kept(a, keep_TB2), b, h_BW)
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
        db = scan_back(kept(a, keep_TB2), functional.silu(g).mul_(dy))
        torch.addcmul(db, a, db, value=-1, out=dv)
        da = torch.cat([h_BW[None], h[:-1]])
        da.view(*keep_TB2.shape, -1).mul_(keep_TB2[..., None])
        da.sub_(v).mul_(db)
        dtime = torch.ops.aten.sigmoid_backward(da, a)
        dgate.copy_(dtime)
        return dinto, dtime, None, None


def kept(a_TBW: Tensor, keep_TB2: Tensor) -> Tensor:
    """a where the session (first half) or the user (second half) goes on, 0 where one begins."""
    return (a_TBW.view(*keep_TB2.shape, -1) * keep_TB2[..., None]).view_as(a_TBW)


def scan(a_TBW: Tensor, b_TBW: Tensor, h_BW: Tensor, out: Tensor | None = None) -> Tensor:
    """h_t = a_t * h_(t-1) + b_t for all t: h_TBW, into ``out`` where given.

    For many streams on a CPU in T multiply-adds over [B,W]: the least work, and few enough calls. Elsewhere in log2(T)
    operations over everything (Hillis & Steele, Data Parallel Algorithms, 1986): after the pass with stride s,
    (a_t, b_t) carry the state over the 2 s steps up to t.
    """
    if a_TBW.device.type == "cpu" and a_TBW.shape[1] >= STREAMS_TO_LOOP:
        h_TBW = torch.empty_like(b_TBW) if out is None else out
        before = h_BW
        for a, b, h in zip(a_TBW.unbind(), b_TBW.unbind(), h_TBW.unbind(), strict=True):
            before = torch.addcmul(b, a, before, out=h)
        return h_TBW
    b_TBW = torch.cat([torch.addcmul(b_TBW[:1], a_TBW[:1], h_BW), b_TBW[1:]])
    stride = 1
    while stride < len(a_TBW):
        b_TBW = torch.cat([b_TBW[:stride], torch.addcmul(b_TBW[stride:], a_TBW[stride:], b_TBW[:-stride])])
        a_TBW = torch.cat([a_TBW[:stride], a_TBW[stride:] * a_TBW[:-stride]])
        stride *= 2
    return b_TBW if out is None else out.copy_(b_TBW)


def scan_back(a_TBW: Tensor, g_TBW: Tensor) -> Tensor:
    """The adjoint of ``scan``: g_t + a_(t+1) * adjoint_(t+1) for all t. May overwrite ``g_TBW``."""
    if a_TBW.device.type == "cpu" and a_TBW.shape[1] >= STREAMS_TO_LOOP:
        a, g = a_TBW.unbind(), g_TBW.unbind()
        for t in range(len(g) - 2, -1, -1):
            g[t].addcmul_(a[t + 1], g[t + 1])
        return g_TBW
    following = torch.cat([torch.zeros_like(a_TBW[:1]), a_TBW.flip(0)[:-1]])
    return scan(following, g_TBW.flip(0), torch.zeros_like(g_TBW[0])).flip(0)
