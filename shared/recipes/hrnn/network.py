"""The hierarchical recurrent network of aws-hrnn, whole: plain torch, no training loop, no data handling.

It reads the events of many users end to end and says, after each of them, what the user will take next:

    x_t = E[item_t] + gap[t]                           the item, and how long since the event before
    a_t = sigmoid(W_a x_t + time_a[gap_t])             gate: what is kept of the state          (per layer)
    h_t = a_t * h_(t-1) + (1 - a_t) * (W_v x_t)        gated linear recurrence                  (per layer)
    x_t = x_t + W_o (h_t * silu(W_g x_t))              output gate and residual                 (per layer)
    q_t = norm(x_t) * scale[gap'_t] + shift[gap'_t]    gap' = from the event to the moment of the request
    logits_t = E q_t + b + r_t * [item is in the history]

The hierarchy: half of each state is the session's and starts anew after 30 minutes of silence, the other half is
the user's and goes on. As in Amazon's HRNN (Ma, Narayanaswamy, Lin, Ding: Temporal-Contextual Recommendations in
Real-Time, KDD 2020) sessions and time enter the inputs and gates of one recurrence, unlike the two nested ones of
Quadrana, Karatzoglou, Hidasi, Cremonesi (Personalizing Session-based Recommendations with Hierarchical Recurrent
Neural Networks, RecSys 2017). The recurrence is that of Feng et al., Were RNNs All We Needed? (2024), and De et
al., Griffin (2024): the gates look at the input alone, so a window is one scan.

Shapes: T steps, B streams, H hidden, W state width (2 H), I items, G gap buckets, N events, S (event, item) pairs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional

GAP_BUCKETS = 32
SESSION_SECONDS = 30 * 60
LAYERS = 2


def gap_buckets(seconds: Tensor) -> Tensor:
    """log2 of 1 + seconds, rounded down: 0 s, 1-2 s, 3-6 s ... 136 years; a clock that ran backwards is 0 s."""
    return torch.log2(seconds.clamp(min=0).double() + 1.0).long().clamp(max=GAP_BUCKETS - 1)


class _Scan(torch.autograd.Function):
    """h_t = a_t * h_(t-1) + b_t over the first dimension.

    A loop of T multiply-adds over [B,W], each long enough for a CPU's vector units; its adjoint is the same loop
    backwards: g_t = dh_t + a_(t+1) * g_(t+1), da_t = g_t * h_(t-1), db_t = g_t.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, a_TBW: Tensor, b_TBW: Tensor, h_BW: Tensor) -> Tensor:
        h_TBW = torch.empty_like(b_TBW)
        before = h_BW
        for a, b, h in zip(a_TBW.unbind(), b_TBW.unbind(), h_TBW.unbind(), strict=True):
            torch.addcmul(b, a, before, out=h)
            before = h
        ctx.save_for_backward(a_TBW, h_TBW, h_BW)
        return h_TBW

    @staticmethod
    def backward(ctx, dh_TBW: Tensor):  # type: ignore[no-untyped-def,override]
        a_TBW, h_TBW, h_BW = ctx.saved_tensors
        g_TBW = dh_TBW.clone()
        gs, as_ = g_TBW.unbind(), a_TBW.unbind()
        for t in range(len(gs) - 2, -1, -1):
            gs[t].addcmul_(as_[t + 1], gs[t + 1])
        da_TBW = torch.empty_like(g_TBW)
        torch.mul(g_TBW[1:], h_TBW[:-1], out=da_TBW[1:])
        torch.mul(g_TBW[0], h_BW, out=da_TBW[0])
        return da_TBW, g_TBW, None


import os
CHUNK = 2**int(os.environ.get("CH","18"))


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q_NH, E_IH, repeat_N, rows_S, items_S, target_N, weight_N):
        N, I = len(q_NH), len(E_IH)
        dq, dE, dr = torch.empty_like(q_NH), torch.zeros_like(E_IH), torch.zeros_like(repeat_N)
        total = q_NH.new_zeros(())
        size = max(1, CHUNK // I)
        ends = torch.searchsorted(rows_S, torch.arange(0, N + size, size)).tolist()
        Et = E_IH.T
        at_S = rows_S * I + items_S
        buffer = q_NH.new_empty(min(size,N), I)
        qw_NH = q_NH * weight_N[:, None]
        r_S = repeat_N[rows_S]
        w_S = weight_N[rows_S]
        dr_S = torch.empty_like(r_S)
        for k, begin in enumerate(range(0, N, size)):
            n = slice(begin, begin + size)
            s = slice(ends[k], ends[k + 1])
            q, w, t = q_NH[n], weight_N[n], target_N[n, None]
            p = buffer[:len(q)]
            torch.mm(q, Et, out=p)
            at = at_S[s] - begin * I
            p.view(-1).scatter_add_(0, at, r_S[s])
            torch.softmax(p, -1, out=p)
            total -= torch.dot(w, p.gather(1, t).view(-1).clamp_min(1e-37).log_())
            p.scatter_add_(1, t, p.new_full((len(q),1),-1.0))
            torch.mm(p, E_IH, out=dq[n])
            dE.addmm_(p.T, qw_NH[n])
            torch.index_select(p.view(-1), 0, at, out=dr_S[s])
        dq *= weight_N[:, None]
        dr.scatter_add_(0, rows_S, dr_S * w_S)
        ctx.grads = dq, dE, dr
        return total

    @staticmethod
    def backward(ctx, g):
        return (*(g * d for d in ctx.grads), None, None, None, None)


class Recurrence(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        width = 2 * hidden
        self.norm = nn.RMSNorm(hidden)
        self.into = nn.Linear(hidden, 3 * width)
        self.time = nn.Embedding(GAP_BUCKETS, width)
        self.out = nn.Linear(width, hidden, bias=False)
        nn.init.zeros_(self.time.weight)
        with torch.no_grad():
            # half-lives from one event to hundreds, in both halves
            halflife = 2 ** torch.linspace(0.0, 8.0, hidden)
            a = 0.5 ** (1 / halflife)
            self.into.bias.zero_()
            self.into.bias[:hidden] = torch.logit(a)
            self.into.bias[hidden:width] = torch.logit(a)

    def forward(self, x_TBH: Tensor, gap_TB: Tensor, keep_TBW: Tensor, h_BW: Tensor) -> tuple[Tensor, Tensor]:
        gate, value, out = self.into(self.norm(x_TBH)).chunk(3, dim=-1)
        a = torch.sigmoid(gate + self.time(gap_TB))
        h = _Scan.apply(a * keep_TBW, torch.addcmul(value, a, value, value=-1), h_BW)
        return x_TBH + self.out(h * functional.silu(out)), h[-1]


class Network(nn.Module):
    def __init__(self, items: int, hidden: int, *, dropout: float = 0.2) -> None:
        super().__init__()
        self.hidden = hidden
        self.embedding = nn.Embedding(items, hidden)
        nn.init.normal_(self.embedding.weight, std=hidden**-0.5)
        self.gap = nn.Embedding(GAP_BUCKETS, hidden)
        nn.init.zeros_(self.gap.weight)
        self.layers = nn.ModuleList(Recurrence(hidden) for _ in range(LAYERS))
        self.norm = nn.RMSNorm(hidden)
        self.scale = nn.Embedding(GAP_BUCKETS, hidden)
        self.shift = nn.Embedding(GAP_BUCKETS, hidden)
        nn.init.ones_(self.scale.weight)
        nn.init.zeros_(self.shift.weight)
        self.bias = nn.Parameter(torch.zeros(items))
        self.repeat = nn.Linear(hidden, 1)
        nn.init.zeros_(self.repeat.weight)
        nn.init.zeros_(self.repeat.bias)
        self.dropout = nn.Dropout(dropout)

    def start(self, streams: int) -> list[Tensor]:
        return [self.bias.new_zeros(streams, 2 * self.hidden) for _ in self.layers]

    def forward(self, items_TB, before_TB, begins_TB, after_TB, state):
        gap_TB = gap_buckets(before_TB)
        session_TB = begins_TB | (before_TB > SESSION_SECONDS)
        keep_TBW = torch.stack([~session_TB, ~begins_TB], -1).to(self.bias.dtype).repeat_interleave(self.hidden, -1)
        x = self.dropout(self.embedding(items_TB) + self.gap(gap_TB))
        new = []
        for layer, h in zip(self.layers, state):
            x, h = layer(x, gap_TB, keep_TBW, h)
            new.append(h)
        x = self.norm(x)
        g = gap_buckets(after_TB)
        q = torch.addcmul(self.shift(g), x, self.scale(g))
        return self.dropout(q), new

    def logits(self, q_NH: Tensor, rows_S: Tensor, items_S: Tensor) -> Tensor:
        logits = torch.addmm(self.bias, q_NH, self.embedding.weight.T)
        r = self.repeat(q_NH).view(-1)
        return logits.view(-1).index_add(0, rows_S * logits.shape[1] + items_S, r[rows_S]).view_as(logits)

    def loss(self, q_NH, rows_S, items_S, target_N, weight_N):
        r = self.repeat(q_NH).view(-1)
        E = torch.cat([self.embedding.weight, self.bias[:, None]], 1)
        q = functional.pad(q_NH, (0, 1), value=1.0)
        return _Loss.apply(q, E, r, rows_S, items_S, target_N, weight_N)
