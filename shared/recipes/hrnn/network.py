"""The hierarchical recurrent network of the HRNN recipes, whole, in plain torch. No training loop, no data, no ids.

On a CPU cpu/ computes in few passes what is written out here.

It reads the events of many users end to end and says, before each of them, what the user will take next:

    v_i = E_i + sum of F_f over the features f of item i            the item                     (F: HRNN-Metadata)
    x_t = v_(i_t) + gap[g_t] + type_t + user                        the event, and how long since the one before
    a_t = sigmoid(W_a x_t + time[g_t])                              what is kept of the state          (each layer)
    h_t = a_t * h_(t-1) + (1 - a_t) * W_v x_t                       gated linear recurrence            (each layer)
    x_t = x_t + W_o (h_t * silu(W_g x_t))                           output gate and residual           (each layer)
    q_t = norm(x_t) * scale[g'_t] + shift[g'_t] + context_t         g': from the event to the moment of the request
    logits_ti = v_i q_t + b_i + [i is in the history] * (w q_t + c + age)

A user begins with the event START: what follows it is learnt like everything else.

The hierarchy: half of each state is the session's and starts anew after 30 minutes of silence, the other half is
the user's and goes on. Sessions and time enter the inputs and gates of one recurrence, as in Amazon's HRNN (Ma,
Narayanaswamy, Lin, Ding, Temporal-Contextual Recommendations in Real-Time, KDD 2020), unlike the nested networks
of Quadrana et al. (Personalizing Session-based Recommendations with Hierarchical Recurrent Neural Networks,
RecSys 2017). The recurrence is that of De et al. (Griffin, 2024) and Feng et al. (Were RNNs All We Needed?, 2024):
its gates look at the input alone, so a whole window is one scan, and one event is one multiply-add. The gated
recurrent unit of Cho et al. (2014), as in Hidasi et al. (Session-based Recommendations with Recurrent Neural
Networks, ICLR 2016), is the other cell.

Shapes: T steps, B streams, L layers, H hidden, W state width, I items, C candidates (all items, or a sample),
N queries (T x B, flat), S pairs of a query and an item of its history, R rows, P pair codes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from shared.recipes.hrnn.form import GAP_BUCKETS, LAYERS, SESSION_SECONDS
from shared.recipes.hrnn.form import Form as Form
from shared.recipes.hrnn.recurrence import GatedScan
from shared.recipes.hrnn.softmax import SoftmaxLoss


def gap_buckets(seconds: Tensor) -> Tensor:
    """floor(log2(1 + seconds)): 0, 1-2, 3-6 ... seconds, up to 136 years. A clock that ran backwards is 0."""
    return torch.log2(seconds.clamp(min=0).float() + 1).long().clamp(max=GAP_BUCKETS - 1)


def on_cpu(x: Tensor) -> bool:
    """There the kernels of cpu/ compute what else torch's operations do."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


class Bags(NamedTuple):
    """For each of R rows its features: ``values[offsets[r]:offsets[r + 1]]`` with their ``weights``."""

    offsets: Tensor  # [R + 1]
    values: Tensor  # [F]
    weights: Tensor  # [F]

    def of(self, rows: Tensor) -> Bags:
        """The bags of some rows."""
        begins = self.offsets[rows]
        lengths = self.offsets[rows + 1] - begins
        offsets = functional.pad(lengths.cumsum(0), (1, 0))
        places = torch.arange(int(offsets[-1]), device=rows.device)
        places += (begins - offsets[:-1]).repeat_interleave(lengths)
        return Bags(offsets, self.values[places], self.weights[places])

    def summed(self, of: nn.Embedding) -> Tensor:
        """The weighted sum of each bag's vectors: [R,H]."""
        return functional.embedding_bag(
            self.values,
            of.weight,
            self.offsets,
            mode="sum",
            per_sample_weights=self.weights,
            include_last_offset=True,
        )


class Events(NamedTuple):
    """What the network reads. ``types`` and ``users`` are None where the form has none."""

    items: Tensor  # [T,B] START is the number after the last item
    before: Tensor  # [T,B] seconds since the user's event before; 0 at the first
    begins: Tensor  # [T,B] is this START? There the state starts anew
    types: Tensor | None = None  # [T,B] 0: none
    users: Bags | None = None  # R = T x B


class Pairs(NamedTuple):
    """Query ``rows[s]`` has item ``items[s]`` in its history; each such pair stands once, rows ascending."""

    rows: Tensor  # [S]
    items: Tensor  # [S]
    codes: Tensor | None = None  # [S] place in the table of ages; None where the form has none


class Spans(NamedTuple):
    """What ``Pairs`` say, of queries that are the T steps of B streams, stream by stream: N = B x T.

    The user of ``streams[r]`` has ``items[r]`` in the history in the steps from ``begins[r]`` to before ``ends[r]``.
    No two are of one stream and one item; streams ascend.
    """

    streams: Tensor  # [R]
    items: Tensor  # [R]
    begins: Tensor  # [R]
    ends: Tensor  # [R]
    steps: int

    def of(self, chosen: Tensor) -> Spans:
        """Some of them, in the same order."""
        at = torch.nonzero(chosen).view(-1)
        streams, items, begins, ends = (each.index_select(0, at) for each in self[:4])
        return Spans(streams, items, begins, ends, self.steps)

    def flat(self) -> tuple[Tensor, Tensor]:
        """Rows and items of the same ``Pairs``, rows not in order."""
        lengths_R = self.ends - self.begins
        rows_S = torch.arange(int(lengths_R.sum()), device=lengths_R.device)
        rows_S += (self.streams * self.steps + self.ends - lengths_R.cumsum(0)).repeat_interleave(lengths_R)
        return rows_S, self.items.repeat_interleave(lengths_R)


class Candidates(NamedTuple):
    """The items that stand for all of them in one step. A target that is not among them counts nothing."""

    ids: Tensor  # [C] ascending
    log_share: Tensor  # [C] log of the probability that the item is among them


class Network(nn.Module):
    def __init__(self, form: Form, dropout: float = 0.2) -> None:
        super().__init__()
        hidden = form.hidden
        self.form = form
        self.dropout = dropout
        self.item = nn.Embedding(form.items + 1, hidden)  # and START
        self.bias = nn.Parameter(torch.zeros(form.items + 1))
        self.gap = nn.Embedding(GAP_BUCKETS, hidden)
        self.layers = nn.ModuleList(CELLS[form.cell](hidden) for _ in range(LAYERS))
        self.norm = nn.RMSNorm(hidden)
        self.scale = nn.Embedding(GAP_BUCKETS, hidden)
        self.shift = nn.Embedding(GAP_BUCKETS, hidden)
        self.repeat = nn.Linear(hidden, 1)
        self.ages = nn.ParameterList([torch.zeros(size) for size in form.ages] if form.repeats else [])
        self.of_type = nn.Embedding(form.event_types + 1, hidden) if form.event_types else None
        self.of_user = nn.Embedding(form.user_features, hidden) if form.user_features else None
        self.of_context = nn.Embedding(form.context_features, hidden) if form.context_features else None
        # What a feature says of an item's vector, and of its bias. The last row is every item's that is a stranger.
        self.of_item = nn.Embedding(form.item_features + 1, hidden + 1) if form.item_features else None
        self.estrange = 0.0
        self.fast = False
        """Train in bfloat16 what is not under autocast: on a CPU all large products, on a GPU those of the loss."""
        nn.init.normal_(self.item.weight, std=hidden**-0.5)
        nn.init.ones_(self.scale.weight)
        optional = (self.of_type, self.of_user, self.of_context, self.of_item)
        for start_at_nothing in (self.gap, self.shift, self.repeat, *optional):
            if start_at_nothing is not None:
                nn.init.zeros_(start_at_nothing.weight)
        nn.init.zeros_(self.repeat.bias)

    def know(self, bags: Bags, strangers_I: Tensor, estrange: float) -> None:
        """Gives the network the features of its items, where the form has some, before each fit.

        A stranger is an item with too few interactions for a vector of its own: its features are all of it. In
        training a share ``estrange`` of the others is treated so as well (as by Volkovs et al., DropoutNet, 2017).
        One that was a stranger in the last fit and is none any more sets out from what strangers have in common.
        """
        if self.of_item is not None and hasattr(self, "strangers"):
            met = torch.nonzero(cast(Tensor, self.strangers) & ~strangers_I).view(-1)
            with torch.no_grad():
                self.item.weight[met], self.bias[met] = self.of_item.weight[-1, :-1], self.of_item.weight[-1, -1]
        for name, tensor in zip(Bags._fields, bags, strict=True):
            self.register_buffer(f"bag_{name}", tensor, persistent=False)
        self.register_buffer("strangers", strangers_I, persistent=False)
        self.estrange = estrange

    def folded(self) -> Network:
        """The same network for serving: what features say of items has become part of the items' own vectors."""
        network = Network(replace(self.form, item_features=0), self.dropout).eval()
        state = {name: tensor for name, tensor in self.state_dict().items() if not name.startswith("of_item")}
        network.load_state_dict(state)
        with torch.no_grad():
            v_IH1 = self.items(estrange=False)
            network.item.weight[:-1], network.bias[:-1] = v_IH1[:, :-1], v_IH1[:, -1]
        return network

    def items(self, ids_R: Tensor | None = None, *, estrange: bool = True) -> Tensor:
        """Vector and bias of these items (None: of all but START): v_RH1. ``estrange``: in training, some strangely."""
        if ids_R is None and self.of_item is None:
            return torch.cat([self.item.weight, self.bias[:, None]], -1)[:-1]
        if ids_R is None:
            ids_R = torch.arange(self.form.items, device=self.bias.device)
        v_RH1 = torch.cat([self.item(ids_R), self.bias[ids_R, None]], -1)
        if self.of_item is None:
            return v_RH1
        item_R = ids_R.clamp(max=self.form.items - 1)  # START has no features, and is no stranger
        strange_R = cast(Tensor, self.strangers)[item_R]
        if self.training and estrange:
            strange_R = strange_R | (torch.rand(len(ids_R), device=ids_R.device) < self.estrange)
        bags = Bags(*(cast(Tensor, getattr(self, f"bag_{name}")) for name in Bags._fields)).of(item_R)
        known_R1 = (ids_R < self.form.items)[:, None]
        v_RH1 = torch.where(strange_R[:, None] & known_R1, self.of_item.weight[-1], v_RH1)
        return v_RH1 + known_R1 * bags.summed(self.of_item)

    def start(self, streams: int) -> Tensor:
        """The state_LBW of users of whom nothing is known."""
        return self.bias.new_zeros(LAYERS, streams, cast(int, self.layers[0].width))

    def forward(self, events: Events, state_LBW: Tensor) -> tuple[Tensor, Tensor]:
        """Reads T more events of B streams; returns what is known after each, x_TBH, and the state after the last.

        Windows that hand on their state give the same as one long window.
        """
        gap_TB = gap_buckets(events.before)
        new_session_TB = events.begins | (events.before > SESSION_SECONDS)
        keep_TB2 = torch.stack([~new_session_TB, ~events.begins], -1).to(self.bias)
        if self.of_item is None:
            x_TBH = self.read(events.items, gap_TB)
        else:
            ids_R, places_TB = torch.unique(events.items, return_inverse=True)
            x_TBH = self.items(ids_R)[:, :-1][places_TB] + self.gap(gap_TB)
        if self.of_type is not None:
            x_TBH = x_TBH + self.of_type(cast(Tensor, events.types))
        if self.of_user is not None:
            x_TBH = x_TBH + cast(Bags, events.users).summed(self.of_user).view_as(x_TBH)
        x_TBH = self.drop(x_TBH)
        states = []
        for layer, h_BW in zip(self.layers, state_LBW, strict=True):
            x_TBH, h_BW = layer(x_TBH, gap_TB, keep_TB2, h_BW, fast=self.fast and self.training)
            states.append(h_BW)
        if on_cpu(x_TBH):
            from shared.recipes.hrnn.cpu.layer import Norm

            return Norm.apply(x_TBH, self.norm.weight), torch.stack(states)  # type: ignore[no-untyped-call]
        return self.norm(x_TBH), torch.stack(states)

    def read(self, items_TB: Tensor, gap_TB: Tensor) -> Tensor:
        """x_TBH: the items and how long since the events before, where items have no features."""
        if on_cpu(items_TB):
            from shared.recipes.hrnn.cpu.rows import LookUp

            return LookUp.apply(self.item.weight, items_TB, self.gap.weight, gap_TB)  # type: ignore[no-any-return, no-untyped-call]
        return cast(Tensor, self.item(items_TB) + self.gap(gap_TB))

    def query(self, x_NH: Tensor, after_N: Tensor, contexts: Bags | None = None) -> Tensor:
        """q_NH: x seen ``after`` seconds later, when somebody asks, in these contexts."""
        gap_N = gap_buckets(after_N)
        if on_cpu(x_NH):
            from shared.recipes.hrnn.cpu.rows import ScaleAndShift

            q_NH = ScaleAndShift.apply(x_NH, self.scale.weight, self.shift.weight, gap_N)  # type: ignore[no-untyped-call]
        else:
            q_NH = torch.addcmul(self.shift(gap_N), x_NH, self.scale(gap_N))
        if self.of_context is not None and contexts is not None:
            q_NH = q_NH + contexts.summed(self.of_context)
        return self.drop(q_NH)

    def drop(self, x: Tensor) -> Tensor:
        """Dropout by random bytes, drawn eight at a time: a chance in 256ths, at an eighth of the cost."""
        if not self.training or not self.dropout:
            return x
        bytes_ = torch.empty(-(-x.numel() // 8), dtype=torch.long, device=x.device).random_(-(2**63), None)
        byte, dropped = bytes_.view(torch.uint8)[: x.numel()], round(self.dropout * 256)
        if on_cpu(x):
            from shared.recipes.hrnn.cpu.rows import Drop

            return Drop.apply(x, byte, dropped)  # type: ignore[no-any-return, no-untyped-call]
        return x * (byte.view(x.shape) >= dropped) * (256 / (256 - dropped))

    def age_table(self) -> Tensor | None:
        """What being in the history is worth more or less, by ``Pairs.codes``."""
        if not len(self.ages):
            return None
        distance, seconds, count, type_ = self.ages
        table: Tensor = distance[:, None, None, None] + seconds[:, None, None] + count[:, None] + type_
        return table.flatten()

    def logits(self, q_NH: Tensor, pairs: Pairs) -> Tensor:
        """logits_NI of all items."""
        v_IH1 = self.items()
        logits_NI = torch.addmm(v_IH1[:, -1], q_NH, v_IH1[:, :-1].T)
        repeat_S = self.repeat(q_NH).view(-1)[pairs.rows]
        table = self.age_table()
        if table is not None:
            repeat_S = repeat_S + table[cast(Tensor, pairs.codes)]
        return logits_NI.index_put((pairs.rows, pairs.items), repeat_S, accumulate=True)

    def loss(
        self,
        q_NH: Tensor,
        pairs: Pairs,
        targets_N: Tensor,
        weights_N: Tensor,
        candidates: Candidates | None = None,
        spans: Spans | None = None,
    ) -> Tensor:
        """The weighted mean over queries of -log softmax(logits)[target], over the candidates or over all items.

        What is in the histories is said by ``pairs`` and ``spans`` together, nothing by both.

        Over candidates each exp(logit) is divided by the probability of being one, so that their sum estimates the
        sum over all items without bias (logQ correction; Bengio & Senecal, 2008). The target is there for certain.
        """
        rows_S, items_S, codes_S = pairs
        if candidates is None:
            v_CH1, shares_N = self.items(), None
        else:
            place_I = torch.full((self.form.items,), -1, device=q_NH.device)
            place_I[candidates.ids] = torch.arange(len(candidates.ids), device=q_NH.device)
            targets_N, items_S = place_I[targets_N], place_I[items_S]
            there_S = items_S >= 0
            rows_S, items_S = rows_S[there_S], items_S[there_S]
            codes_S = None if codes_S is None else codes_S[there_S]
            if spans is not None:
                spans = spans._replace(items=place_I[spans.items])
                spans = spans.of(spans.items >= 0)
            weights_N = weights_N * (targets_N >= 0)
            targets_N = targets_N.clamp(min=0)
            shares_N = candidates.log_share[targets_N]
            v_CH1 = self.items(candidates.ids)
            v_CH1 = torch.cat([v_CH1[:, :-1], v_CH1[:, -1:] - candidates.log_share[:, None]], -1)
        # Of weights that sum to 1 the loss is the mean, and the gradient needs no scaling.
        weights_N = weights_N / weights_N.sum().clamp(min=1e-9)
        repeat_N = self.repeat(q_NH).view(-1).float()
        q_NH, v_CH1 = q_NH.float(), v_CH1.float()
        if self.fast and on_cpu(q_NH):
            from shared.recipes.hrnn.cpu.loss import SwiftSoftmaxLoss, within_reach

            if within_reach(q_NH, v_CH1, repeat_N, self.age_table()):
                return SwiftSoftmaxLoss.apply(  # type: ignore[no-any-return, no-untyped-call]
                    q_NH,
                    v_CH1,
                    repeat_N,
                    self.age_table(),
                    (rows_S, items_S, codes_S),
                    spans,
                    targets_N,
                    weights_N,
                    shares_N,
                )
        if spans is not None:
            more_S, items_of_more_S = spans.flat()
            rows_S, order_S = torch.sort(torch.cat([rows_S, more_S]))
            items_S = torch.cat([items_S, items_of_more_S])[order_S]
        return SoftmaxLoss.apply(  # type: ignore[no-any-return, no-untyped-call]
            functional.pad(q_NH, (0, 1), value=1.0),
            v_CH1,
            repeat_N,
            self.age_table(),
            rows_S,
            items_S,
            codes_S,
            targets_N,
            weights_N,
            shares_N,
            self.fast,
        )


class LinearRecurrence(nn.Module):
    """One layer: norm, gated linear recurrence, output gate, residual."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.width = width = 2 * hidden
        self.norm = nn.RMSNorm(hidden)
        self.into = nn.Linear(hidden, 3 * width, bias=False)
        self.time = nn.Embedding(GAP_BUCKETS, width)
        self.out = nn.Linear(width, hidden, bias=False)
        # Half-lives from 1 to 256 events, in the session's half and in the user's.
        halflives_H = 2 ** torch.linspace(0, 8, hidden)
        gates_H = torch.logit(0.5 ** (1 / halflives_H))
        with torch.no_grad():
            self.time.weight.copy_(torch.cat([gates_H, gates_H]))

    def forward(
        self, x_TBH: Tensor, gap_TB: Tensor, keep_TB2: Tensor, h_BW: Tensor, *, fast: bool = False
    ) -> tuple[Tensor, Tensor]:
        if on_cpu(x_TBH):
            from shared.recipes.hrnn.cpu.layer import Layer

            weights = self.norm.weight, self.into.weight, self.time.weight, self.out.weight
            return Layer.apply(x_TBH, *weights, gap_TB, keep_TB2, h_BW, fast)  # type: ignore[no-any-return, no-untyped-call]
        into_TB3W = self.into(self.norm(x_TBH)).float()
        y_TBW, h_BW = GatedScan.apply(into_TB3W, self.time(gap_TB), keep_TB2, h_BW)  # type: ignore[no-untyped-call]
        return x_TBH + self.out(y_TBW), h_BW


class GatedUnit(nn.Module):
    """One layer: norm, gated recurrent unit, residual. Its gates look at the state, so it goes step by step."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.width = hidden
        self.norm = nn.RMSNorm(hidden)
        self.into = nn.Linear(hidden, 3 * hidden)
        self.time = nn.Embedding(GAP_BUCKETS, 3 * hidden)
        self.recur = nn.Linear(hidden, 3 * hidden, bias=False)
        self.out = nn.Linear(hidden, hidden, bias=False)
        nn.init.zeros_(self.time.weight)

    def forward(
        self,
        x_TBH: Tensor,
        gap_TB: Tensor,
        keep_TB2: Tensor,
        h_BH: Tensor,
        *,
        fast: bool = False,  # noqa: ARG002 -- what it waits for are its calls
    ) -> tuple[Tensor, Tensor]:
        into_TB3H = self.into(self.norm(x_TBH)) + self.time(gap_TB)
        of_session = self.width // 2
        keep_TBH = torch.cat(
            [
                keep_TB2[..., :1].expand(-1, -1, of_session),
                keep_TB2[..., 1:].expand(-1, -1, self.width - of_session),
            ],
            -1,
        )
        h_TBH = []
        for into_B3H, keep_BH in zip(into_TB3H, keep_TBH, strict=True):
            h_BH = h_BH * keep_BH
            reset, update, new = into_B3H.chunk(3, -1)
            of_reset, of_update, of_new = self.recur(h_BH).chunk(3, -1)
            z_BH = torch.sigmoid(update + of_update)
            h_BH = torch.lerp(torch.tanh(new + torch.sigmoid(reset + of_reset) * of_new), h_BH, z_BH)
            h_TBH.append(h_BH)
        return x_TBH + self.out(torch.stack(h_TBH)), h_BH.detach()


CELLS = {"linear": LinearRecurrence, "gru": GatedUnit}
