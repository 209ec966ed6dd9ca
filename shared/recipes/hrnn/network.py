"""The hierarchical recurrent network of aws-hrnn, whole, in plain torch. No training loop, no data, no ids.

It reads the events of many users end to end and says, after each of them, what the user will take next:

    x_t = E[item_t] + gap[g_t]                         the item, and how long since the event before
    a_t = sigmoid(W_a x_t + time[g_t])                 what is kept of the state          (in each layer)
    h_t = a_t * h_(t-1) + (1 - a_t) * W_v x_t          gated linear recurrence            (in each layer)
    x_t = x_t + W_o (h_t * silu(W_g x_t))              output gate and residual           (in each layer)
    q_t = norm(x_t) * scale[g'_t] + shift[g'_t]        g': from the event to the moment of the request
    logits_t = E q_t + b + r_t * [the item is in the history],  r_t = w q_t + c

The hierarchy: half of each state is the session's and starts anew after 30 minutes of silence, the other half is
the user's and goes on. Sessions and time enter the inputs and gates of one recurrence, as in Amazon's HRNN (Ma,
Narayanaswamy, Lin, Ding, Temporal-Contextual Recommendations in Real-Time, KDD 2020), unlike the nested networks
of Quadrana et al. (Personalizing Session-based Recommendations with Hierarchical Recurrent Neural Networks,
RecSys 2017). The recurrence is that of De et al. (Griffin, 2024) and Feng et al. (Were RNNs All We Needed?, 2024):
its gates look at the input alone, so a whole window is one scan, and one event is one multiply-add.

Shapes: T steps, B streams, L layers, H hidden, W state width (2 H), I items, N queries (T x B, flat), S pairs of
a query and an item of its history.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

LAYERS = 2
GAP_BUCKETS = 32
SESSION_SECONDS = 30 * 60

CACHE = 2**18
"""Logits held at once for each thread of a CPU: 1 MiB, its second-level cache. Elsewhere a thousand times more."""


def gap_buckets(seconds: Tensor) -> Tensor:
    """floor(log2(1 + seconds)): 0, 1-2, 3-6 ... seconds, up to 136 years. A clock that ran backwards is 0."""
    return torch.log2(seconds.clamp(min=0).float() + 1).long().clamp(max=GAP_BUCKETS - 1)


class Network(nn.Module):
    def __init__(self, items: int, hidden: int, dropout: float = 0.2) -> None:
        super().__init__()
        self.hidden = hidden
        self.item = nn.Embedding(items, hidden)
        self.gap = nn.Embedding(GAP_BUCKETS, hidden)
        self.layers = nn.ModuleList(Recurrence(hidden) for _ in range(LAYERS))
        self.norm = nn.RMSNorm(hidden)
        self.scale = nn.Embedding(GAP_BUCKETS, hidden)
        self.shift = nn.Embedding(GAP_BUCKETS, hidden)
        self.bias = nn.Parameter(torch.zeros(items))
        self.repeat = nn.Linear(hidden, 1)
        self.dropout = dropout
        nn.init.normal_(self.item.weight, std=hidden**-0.5)
        nn.init.ones_(self.scale.weight)
        for start_at_nothing in (self.gap, self.shift, self.repeat):
            nn.init.zeros_(start_at_nothing.weight)
        nn.init.zeros_(self.repeat.bias)

    def start(self, streams: int) -> Tensor:
        """The state_LBW of users of whom nothing is known."""
        return self.bias.new_zeros(LAYERS, streams, 2 * self.hidden)

    def forward(
        self, items_TB: Tensor, before_TB: Tensor, begins_TB: Tensor, state_LBW: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Reads T more events of B streams; returns what is known after each, x_TBH, and the state after the last.

        ``before_TB`` are the seconds since the user's event before, ``begins_TB`` marks a user's first event: there
        the state starts anew. Windows that hand on their state give the same as one long window.
        """
        gap_TB = gap_buckets(before_TB)
        of_session_TB = ~(begins_TB | (before_TB > SESSION_SECONDS))
        of_user_TB = ~begins_TB
        keep_TBW = torch.stack([of_session_TB, of_user_TB], -1).repeat_interleave(self.hidden, -1).to(self.bias)
        x_TBH = functional.dropout(self.item(items_TB) + self.gap(gap_TB), self.dropout, self.training)
        states = []
        for layer, h_BW in zip(self.layers, state_LBW, strict=True):
            x_TBH, h_BW = layer(x_TBH, gap_TB, keep_TBW, h_BW)
            states.append(h_BW)
        return self.norm(x_TBH), torch.stack(states)

    def step(self, items_B: Tensor, before_B: Tensor, begins_B: Tensor, state_LBW: Tensor) -> tuple[Tensor, Tensor]:
        """One more event of each stream: a window of one."""
        x_TBH, state_LBW = self.forward(items_B[None], before_B[None], begins_B[None], state_LBW)
        return x_TBH[0], state_LBW

    def query(self, x: Tensor, after: Tensor) -> Tensor:
        """x [..., H] seen ``after`` [...] seconds later, when somebody asks: q [..., H]."""
        gap = gap_buckets(after)
        return functional.dropout(torch.addcmul(self.shift(gap), x, self.scale(gap)), self.dropout, self.training)

    def logits(self, q_NH: Tensor, rows_S: Tensor, items_S: Tensor) -> Tensor:
        """logits_NI. Query ``rows_S[s]`` has item ``items_S[s]`` in its history; each such pair stands once."""
        logits_NI = torch.addmm(self.bias, q_NH, self.item.weight.T)
        repeat_S = self.repeat(q_NH).view(-1)[rows_S]
        return logits_NI.index_put((rows_S, items_S), repeat_S, accumulate=True)

    def loss(self, q_NH: Tensor, rows_S: Tensor, items_S: Tensor, targets_N: Tensor, weights_N: Tensor) -> Tensor:
        """The weighted mean over queries of -log softmax(logits)[target]; ``rows_S`` is sorted."""
        q_NH1 = functional.pad(q_NH, (0, 1), value=1.0)
        E_IH1 = torch.cat([self.item.weight, self.bias[:, None]], dim=1)
        repeat_N = self.repeat(q_NH).view(-1)
        total: Tensor = SoftmaxLoss.apply(  # type: ignore[no-untyped-call]
            q_NH1, E_IH1, repeat_N, rows_S, items_S, targets_N, weights_N
        )
        return total / weights_N.sum().clamp(min=1e-9)


class Recurrence(nn.Module):
    """One layer: norm, gated linear recurrence, output gate, residual."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        width = 2 * hidden
        self.norm = nn.RMSNorm(hidden)
        self.into = nn.Linear(hidden, 3 * width)
        self.time = nn.Embedding(GAP_BUCKETS, width)
        self.out = nn.Linear(width, hidden, bias=False)
        nn.init.zeros_(self.time.weight)
        # Half-lives from 1 to 256 events, in the session's half and in the user's.
        halflives_H = 2 ** torch.linspace(0, 8, hidden)
        gates_H = torch.logit(0.5 ** (1 / halflives_H))
        with torch.no_grad():
            self.into.bias.copy_(torch.cat([gates_H, gates_H, torch.zeros(2 * width)]))

    def forward(self, x_TBH: Tensor, gap_TB: Tensor, keep_TBW: Tensor, h_BW: Tensor) -> tuple[Tensor, Tensor]:
        gate_TBW, value_TBW, out_TBW = self.into(self.norm(x_TBH)).chunk(3, dim=-1)
        a_TBW = torch.sigmoid(gate_TBW + self.time(gap_TB))
        taken_TBW = torch.addcmul(value_TBW, a_TBW, value_TBW, value=-1)  # (1 - a) v
        h_TBW = scan(a_TBW * keep_TBW, taken_TBW, h_BW)
        return x_TBH + self.out(h_TBW * functional.silu(out_TBW)), h_TBW[-1]


def scan(a_TBW: Tensor, b_TBW: Tensor, h_BW: Tensor) -> Tensor:
    """h_t = a_t * h_(t-1) + b_t for all t: h_TBW."""
    if a_TBW.device.type == "cpu" and torch.is_grad_enabled():
        return LoopScan.apply(a_TBW, b_TBW, h_BW)  # type: ignore[no-any-return, no-untyped-call]
    return doubling_scan(a_TBW, b_TBW, h_BW)


def doubling_scan(a_TBW: Tensor, b_TBW: Tensor, h_BW: Tensor) -> Tensor:
    """In log2(T) operations over everything (Hillis and Steele, Data Parallel Algorithms, 1986).

    After the pass with stride s, (a_t, b_t) carry the state over the 2 s steps up to t.
    """
    b_TBW = torch.cat([torch.addcmul(b_TBW[:1], a_TBW[:1], h_BW), b_TBW[1:]])
    stride = 1
    while stride < len(a_TBW):
        b_TBW = torch.cat([b_TBW[:stride], torch.addcmul(b_TBW[stride:], a_TBW[stride:], b_TBW[:-stride])])
        a_TBW = torch.cat([a_TBW[:stride], a_TBW[stride:] * a_TBW[:-stride]])
        stride *= 2
    return b_TBW


class LoopScan(torch.autograd.Function):
    """In T multiply-adds over [B,W]: on a CPU the least work, and few enough calls.

    The adjoint is the same loop backwards: g_t = dh_t + a_(t+1) * g_(t+1), da_t = g_t * h_(t-1), db_t = g_t. The
    state that came in is a constant: that is the truncation of back-propagation through time.
    """

    @staticmethod
    def forward(ctx: Any, a_TBW: Tensor, b_TBW: Tensor, h_BW: Tensor) -> Tensor:
        h_TBW = torch.empty_like(b_TBW)
        before = h_BW
        for a, b, h in zip(a_TBW.unbind(), b_TBW.unbind(), h_TBW.unbind(), strict=True):
            before = torch.addcmul(b, a, before, out=h)
        ctx.save_for_backward(a_TBW, h_TBW, h_BW)
        return h_TBW

    @staticmethod
    def backward(ctx: Any, dh_TBW: Tensor) -> tuple[Tensor, Tensor, None]:
        a_TBW, h_TBW, h_BW = ctx.saved_tensors
        g_TBW = dh_TBW.clone()
        a, g = a_TBW.unbind(), g_TBW.unbind()
        for t in range(len(g) - 2, -1, -1):
            g[t].addcmul_(a[t + 1], g[t + 1])
        return g_TBW * torch.cat([h_BW[None], h_TBW[:-1]]), g_TBW, None


class SoftmaxLoss(torch.autograd.Function):
    """Full softmax cross-entropy, with its gradient, in pieces that stay in the cache.

    The logits never exist as a whole: of each piece's softmax p the gradient (p - onehot) goes into dq and dE at
    once (as in Wijmans et al., Cut Your Losses in Large-Vocabulary Language Models, 2024). That halves the
    time of torch's cross_entropy here. The last column of q is 1 and that of E the bias.
    """

    @staticmethod
    def forward(
        ctx: Any,
        q_NH: Tensor,
        E_IH: Tensor,
        repeat_N: Tensor,
        rows_S: Tensor,
        items_S: Tensor,
        targets_N: Tensor,
        weights_N: Tensor,
    ) -> Tensor:
        N, I = len(q_NH), len(E_IH)  # noqa: E741
        at_once = CACHE * (torch.get_num_threads() if q_NH.device.type == "cpu" else 1000)
        size = max(1, min(N, at_once // I))
        edges = torch.arange(0, N + size, size, device=rows_S.device)
        ends = torch.searchsorted(rows_S, edges).tolist()
        places_S = rows_S * I + items_S
        repeat_S = repeat_N[rows_S]
        weighted_NH = q_NH * weights_N[:, None]
        logits = q_NH.new_empty(size, I)
        losses_N, dq_NH, dE_IH = torch.empty_like(repeat_N), torch.empty_like(q_NH), torch.zeros_like(E_IH)
        drepeat_S = torch.empty_like(repeat_S)
        for begin, (first, last) in zip(range(0, N, size), pairwise(ends), strict=True):
            n, s = slice(begin, begin + size), slice(first, last)
            targets = targets_N[n, None]
            p = torch.mm(q_NH[n], E_IH.T, out=logits[: len(targets)])
            places = places_S[s] - begin * I
            p.view(-1).scatter_add_(0, places, repeat_S[s])
            torch.softmax(p, -1, out=p)
            losses_N[n] = p.gather(1, targets).view(-1)
            p.scatter_add_(1, targets, p.new_full(targets.shape, -1.0))
            torch.mm(p, E_IH, out=dq_NH[n])
            dE_IH.addmm_(p.T, weighted_NH[n])
            torch.index_select(p.view(-1), 0, places, out=drepeat_S[s])
        dq_NH *= weights_N[:, None]
        drepeat_N = torch.zeros_like(repeat_N).scatter_add_(0, rows_S, drepeat_S * weights_N[rows_S])
        ctx.save_for_backward(dq_NH, dE_IH, drepeat_N)
        return -torch.dot(losses_N.clamp_(min=1e-37).log_(), weights_N)

    @staticmethod
    def backward(ctx: Any, dloss: Tensor) -> tuple[Tensor | None, ...]:
        return (*(dloss * gradient for gradient in ctx.saved_tensors), None, None, None, None)
