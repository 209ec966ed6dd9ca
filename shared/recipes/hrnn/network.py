"""The hierarchical recurrent network of the HRNN recipes, whole, in plain torch. No training loop, no data, no ids.

``ops`` has its operations, for CPUs and GPUs.

The network reads the concatenated events of many users, and predicts before each event the user's next item:

    v_i = E_i + sum of F_f over the features f of item i            the item                     (F: HRNN-Metadata)
    x_t = v_(i_t) + gap[g_t] + type_t + user                        the event, and the time since the previous one
    a_t = sigmoid(W_a x_t + time[g_t])                              the part of the state that is kept  (each layer)
    h_t = a_t * h_(t-1) + (1 - a_t) * W_v x_t                       gated linear recurrence             (each layer)
    x_t = x_t + W_o (h_t * silu(W_g x_t))                           output gate and residual            (each layer)
    q_t = norm(x_t) * scale[g'_t] + shift[g'_t] + context_t         g': from the event to the moment of the request
    z_ti = v_i q_t + b_i                                            the logit of item i
    p(i | new)   = softmax of z_ti over the items that are new to the user
    p(i | again) = softmax of (r * v_i) q_t + c_i + m(features of i's last event) over the items of the history
    p(again)     = sigmoid(w [q_t, activity of the user])
    p_ti = p(again) p(i | again) + p(new) p(i | new)

A user begins with the event START: the first item is predicted like every other.

The hierarchy: half of each state is the session's and is reset after 30 minutes of silence, the other half is the
user's and continues. Sessions and time enter the inputs and gates of one recurrence, as in Amazon's HRNN (Ma,
Narayanaswamy, Lin, Ding, Temporal-Contextual Recommendations in Real-Time, KDD 2020), unlike the nested networks
of Quadrana et al. (Personalizing Session-based Recommendations with Hierarchical Recurrent Neural Networks,
RecSys 2017). The recurrence is that of De et al. (Griffin, 2024) and Feng et al. (Were RNNs All We Needed?, 2024):
its gates read the input alone, so that a whole window is one scan, and one event is one multiply-add. The gated
recurrent unit of Cho et al. (2014), as in Hidasi et al. (Session-based Recommendations with Recurrent Neural
Networks, ICLR 2016), is the other layer.

Shapes: T steps, B streams, L layers, H hidden, W state width, I items, C candidates (all items, or a sample),
N queries, K targets of these, S pairs of a query and an item of its history, R rows or spans, F features of a pair,
G buckets of time.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from shared.recipes.hrnn.config import GAP_BUCKETS, LAYERS, REPEAT_WIDTH
from shared.recipes.hrnn.config import HrnnConfig as HrnnConfig
from shared.recipes.hrnn.ops.dropout import apply_dropout
from shared.recipes.hrnn.ops.embedding_sum import add_embeddings
from shared.recipes.hrnn.ops.pair_dots import multiply_pairs
from shared.recipes.hrnn.ops.recurrent_layer import apply_recurrent_layer
from shared.recipes.hrnn.ops.rms_norm import apply_rms_norm
from shared.recipes.hrnn.ops.row_logsumexp import sum_exp_rows
from shared.recipes.hrnn.ops.scale_and_shift import scale_and_shift
from shared.recipes.hrnn.ops.softmax_loss import compute_softmax_loss
from shared.recipes.hrnn.repeat_features import COUNT, FEATURES
from shared.recipes.hrnn.time_buckets import bucket_gaps, find_nearest_known
from shared.recipes.hrnn.types import IMPOSSIBLE, Candidates, Events, FeatureBags, HistorySpans, Pairs, Targets
from shared.recipes.request_time import is_new_visit

if TYPE_CHECKING:
    from shared.recipes.hrnn.counters import BlendWeights


class HrnnNetwork(nn.Module):
    """The network of a configuration. The names of its parameters are those of the weights in an artifact."""

    def __init__(self, config: HrnnConfig, dropout: float = 0.2) -> None:
        super().__init__()
        hidden = config.hidden
        self.config = config
        self.dropout = dropout
        self.item = nn.Embedding(config.items + 1, hidden)  # and START
        self.bias = nn.Parameter(torch.zeros(config.items + 1))
        self.gap = nn.Embedding(GAP_BUCKETS, hidden)
        self.layers = nn.ModuleList(LAYER_TYPES[config.cell](hidden) for _ in range(LAYERS))
        self.norm = nn.RMSNorm(hidden)
        self.scale = nn.Embedding(GAP_BUCKETS, hidden)
        self.shift = nn.Embedding(GAP_BUCKETS, hidden)
        self.again = RepeatHead(config) if config.repeats else None
        self.of_type = nn.Embedding(config.event_types + 1, hidden) if config.event_types else None
        self.of_user = nn.Embedding(config.user_features, hidden) if config.user_features else None
        self.of_context = nn.Embedding(config.context_features, hidden) if config.context_features else None
        # Vector and bias of each item feature. The last row is shared by all cold items.
        self.of_item = nn.Embedding(config.item_features + 1, hidden + 1) if config.item_features else None
        self.id_dropout = 0.0
        self.request_gaps_G: Tensor | None = None
        self.event_gaps_G: Tensor | None = None
        """The counts of each time bucket in training: of requests, and of the events that are read."""
        self.fast = False
        """Train in bfloat16 outside of autocast: on a CPU all large products, on a GPU those of the loss."""
        nn.init.normal_(self.item.weight, std=hidden**-0.5)
        nn.init.ones_(self.scale.weight)
        optional = (self.of_type, self.of_user, self.of_context, self.of_item)
        for start_at_zero in (self.gap, self.shift, *optional):
            if start_at_zero is not None:
                nn.init.zeros_(start_at_zero.weight)

    def set_item_features(self, bags: FeatureBags, cold_I: Tensor, id_dropout: float) -> None:
        """Set the features of the items before each fit, if the network has item features.

        ``cold_I`` marks items with too few interactions for a vector of their own: they have their features' and one
        that all cold items share. In training, a share ``id_dropout`` of the other items is treated the same (Volkovs
        et al., DropoutNet, 2017). An item that was cold in the last fit and no longer is starts from the shared vector.
        """
        if self.of_item is not None and hasattr(self, "cold_items"):
            met = torch.nonzero(cast(Tensor, self.cold_items) & ~cold_I).view(-1)
            with torch.no_grad():
                self.item.weight[met], self.bias[met] = self.of_item.weight[-1, :-1], self.of_item.weight[-1, -1]
        for name, tensor in zip(FeatureBags._fields, bags, strict=True):
            self.register_buffer(f"bag_{name}", tensor, persistent=False)
        self.register_buffer("cold_items", cold_I, persistent=False)
        self.id_dropout = id_dropout

    def fold_features(self) -> HrnnNetwork:
        """Return the same network for serving, with the features' vectors added to the items' own.

        Time buckets that were too rare in training get the weights of the nearest that were not.
        """
        network = HrnnNetwork(replace(self.config, item_features=0), self.dropout).eval()
        network.request_gaps_G, network.event_gaps_G = self.request_gaps_G, self.event_gaps_G
        state = {name: tensor for name, tensor in self.state_dict().items() if not name.startswith("of_item")}
        network.load_state_dict(state)
        with torch.no_grad():
            v_IH1 = self.get_item_embeddings(drop_ids=False)
            network.item.weight[:-1], network.bias[:-1] = v_IH1[:, :-1], v_IH1[:, -1]
            for counts_G, of_time in (
                (self.request_gaps_G, [network.scale, network.shift]),
                (self.event_gaps_G, [network.gap, *(cast(nn.Embedding, layer.time) for layer in network.layers)]),
            ):
                if counts_G is not None:
                    for of in of_time:
                        of.weight.copy_(of.weight[find_nearest_known(counts_G)])
        return network

    def apply_blend(self, blend: BlendWeights) -> HrnnNetwork:
        """Return the same network with the blend's weights on its own parts of the logits, without the counters."""
        network = copy.deepcopy(self)
        network.config = replace(network.config, leaning=blend.values)
        # p(again) reads the query, and would lose it if it were multiplied by 0.
        dot = blend.dot if abs(blend.dot) > LEAST_DOT else LEAST_DOT
        with torch.no_grad():
            network.bias.mul_(blend.bias)
            for of_query in (network.scale, network.shift, network.of_context):
                if of_query is not None:
                    of_query.weight.mul_(dot)
            if network.again is not None:
                network.again.apply_blend(blend, dot)
        return network

    def get_item_embeddings(self, ids_R: Tensor | None = None, *, drop_ids: bool = True) -> Tensor:
        """Return vector and bias, v_RH1, of these items (None: of all but START).

        ``drop_ids`` applies id dropout in training.
        """
        if ids_R is None and self.of_item is None:
            return torch.cat([self.item.weight, self.bias[:, None]], -1)[:-1]
        if ids_R is None:
            ids_R = torch.arange(self.config.items, device=self.bias.device)
        v_RH1 = torch.cat([self.item(ids_R), self.bias[ids_R, None]], -1)
        if self.of_item is None:
            return v_RH1
        item_R = ids_R.clamp(max=self.config.items - 1)  # START has no features and is not cold
        cold_R = cast(Tensor, self.cold_items)[item_R]
        if self.training and drop_ids:
            cold_R = cold_R | (torch.rand(len(ids_R), device=ids_R.device) < self.id_dropout)
        bags = FeatureBags(*(cast(Tensor, getattr(self, f"bag_{name}")) for name in FeatureBags._fields)).select_rows(
            item_R
        )
        known_R1 = (ids_R < self.config.items)[:, None]
        v_RH1 = torch.where(cold_R[:, None] & known_R1, self.of_item.weight[-1], v_RH1)
        return v_RH1 + known_R1 * bags.sum_embeddings(self.of_item)

    def create_state(self, streams: int) -> Tensor:
        """Return the state_LBW of new users."""
        return self.bias.new_zeros(LAYERS, streams, cast(int, self.layers[0].width))

    def forward(self, events: Events, state_LBW: Tensor) -> tuple[Tensor, Tensor]:
        """Read T more events of B streams; return the output after each, x_TBH, and the state after the last.

        Consecutive windows that pass on the state give the same as one long window.
        """
        gap_TB = bucket_gaps(events.before)
        new_session_TB = events.begins | is_new_visit(events.before)
        keep_TB2 = torch.stack([~new_session_TB, ~events.begins], -1).to(self.bias)
        if self.of_item is None:
            x_TBH = add_embeddings(self.item.weight, events.items, self.gap.weight, gap_TB)
        else:
            ids_R, places_TB = torch.unique(events.items, return_inverse=True)
            x_TBH = self.get_item_embeddings(ids_R)[:, :-1][places_TB] + self.gap(gap_TB)
        if self.of_type is not None:
            x_TBH = x_TBH + self.of_type(cast(Tensor, events.types))
        if self.of_user is not None:
            x_TBH = x_TBH + cast(FeatureBags, events.users).sum_embeddings(self.of_user).view_as(x_TBH)
        x_TBH = self._apply_dropout(x_TBH)
        states = []
        for layer, h_BW in zip(self.layers, state_LBW, strict=True):
            x_TBH, h_BW = layer(x_TBH, gap_TB, keep_TB2, h_BW, fast=self.fast and self.training)
            states.append(h_BW)
        return apply_rms_norm(x_TBH, self.norm.weight), torch.stack(states)

    def compute_query(self, x_NH: Tensor, after_N: Tensor, contexts: FeatureBags | None = None) -> Tensor:
        """Return q_NH: the queries ``after`` seconds after the events of x, in these contexts."""
        gap_N = bucket_gaps(after_N)
        q_NH = scale_and_shift(x_NH, self.scale.weight, self.shift.weight, gap_N)
        if self.of_context is not None and contexts is not None:
            q_NH = q_NH + contexts.sum_embeddings(self.of_context)
        return self._apply_dropout(q_NH)

    def _apply_dropout(self, x: Tensor) -> Tensor:
        return apply_dropout(x, self.dropout) if self.training and self.dropout else x

    def compute_logits(self, q_NH: Tensor) -> Tensor:
        """Return z_NI of all items."""
        v_IH1 = self.get_item_embeddings()
        return torch.addmm(v_IH1[:, -1], q_NH, v_IH1[:, :-1].T)

    def get_item_vectors(self, ids_R: Tensor) -> Tensor:
        """Return v_RH of these items."""
        return self.get_item_embeddings(ids_R)[:, :-1].float()

    def compute_log_probs(
        self, q_NH: Tensor, pairs: Pairs, known_N3: Tensor, more: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """Return log p_NI of all items; -inf for items of the history if repeats are not modelled.

        ``more`` is added to the logits of new items, [N,I], and of pairs, [S].
        """
        z_NI = self.compute_logits(q_NH).float()
        if more is not None:
            z_NI = z_NI + more[0]
        z_S = z_NI[pairs.rows, pairs.items]
        z_NI[pairs.rows, pairs.items] = -torch.inf
        log_sum_N1 = z_NI.logsumexp(-1, keepdim=True).clamp(min=IMPOSSIBLE)
        z_NI -= log_sum_N1
        if self.again is None or not len(pairs.rows):
            return z_NI
        fits_N = sum_exp_rows(z_S, pairs.rows, len(q_NH))
        fits_better_N = torch.where(fits_N > IMPOSSIBLE / 2, fits_N - log_sum_N1.view(-1), 0)
        again_N = self.again.compute_share_logit(q_NH, known_N3, pairs) + self.again.evidence * fits_better_N
        # A user with all items in the history can only repeat.
        again_N = torch.where(z_NI.amax(-1) == -torch.inf, -IMPOSSIBLE, again_N)
        a_S = self.again.compute_logits(q_NH, pairs, self.get_item_vectors)
        if more is not None:
            a_S = a_S + more[1]
        a_S = a_S - sum_exp_rows(a_S, pairs.rows, len(q_NH))[pairs.rows]
        z_NI += functional.logsigmoid(-again_N)[:, None]
        z_NI[pairs.rows, pairs.items] = a_S + functional.logsigmoid(again_N)[pairs.rows]
        return z_NI

    def compute_loss(
        self,
        q_NH: Tensor,
        pairs: Pairs,
        known_N3: Tensor,
        targets: Targets,
        choose: Callable[[Tensor], Candidates | None] = lambda _: None,
        spans: HistorySpans | None = None,
    ) -> Tensor:
        """Return the weighted mean over targets of -log p.

        ``pairs`` and ``spans`` together are the histories, and do not overlap. ``choose`` returns the candidates of the
        softmax over new items.
        """
        targets = targets._replace(weights=targets.weights / targets.weights.sum().clamp(min=1e-9))
        if self.again is None:
            return self.compute_new_loss(q_NH, pairs, targets, choose, spans)
        pair_K = targets.find_pairs(pairs, self.config.items)
        had_K = pair_K >= 0
        again_N = self.again.compute_share_logit(q_NH, known_N3, pairs)[targets.rows]
        loss = (functional.softplus(torch.where(had_K, -again_N, again_N)) * targets.weights).sum()
        # Even without targets: in ddp each rank must use all weights.
        loss = loss + self._compute_repeat_loss(q_NH, pairs, targets.select(had_K), pair_K[had_K])
        new = targets.select(~had_K)
        # New items keep a share of the loss, however many of the targets are repeats.
        share = new.weights.sum()
        new = new._replace(weights=new.weights * (LEAST_NEW_WEIGHT / share.clamp(min=1e-9)).clamp(min=1))
        asked_N, new = new.renumber_queries(len(q_NH))
        return loss + self.compute_new_loss(q_NH[asked_N], pairs.select_queries(asked_N), new, choose)

    def _compute_repeat_loss(self, q_NH: Tensor, pairs: Pairs, targets: Targets, pair_K: Tensor) -> Tensor:
        """Return the weighted sum of -log p(target | again) over targets, which are the pairs ``pair_K``."""
        assert self.again is not None  # noqa: S101
        asked_N, targets = targets.renumber_queries(len(q_NH))
        number_S = asked_N[pairs.rows].cumsum(0) - 1
        pairs = pairs.select_queries(asked_N)
        a_S = self.again.compute_logits(q_NH[asked_N], pairs, self.get_item_vectors)
        lost_K = sum_exp_rows(a_S, pairs.rows, int(asked_N.sum()))[targets.rows] - a_S[number_S[pair_K]]
        return (lost_K * targets.weights).sum()

    def compute_new_loss(
        self,
        q_NH: Tensor,
        pairs: Pairs,
        targets: Targets,
        choose: Callable[[Tensor], Candidates | None],
        spans: HistorySpans | None = None,
    ) -> Tensor:
        """Return the weighted sum over targets of -log p(target | new), over the candidates or over all items.

        Over candidates each exp(logit) is divided by the probability of being drawn, so that their sum is an unbiased
        estimate of the sum over all items (logQ correction; Bengio & Senecal, 2008). A target is always a candidate, so
        its own logit is not corrected.
        """
        candidates = choose(targets.items)
        if candidates is None:
            return compute_softmax_loss(
                q_NH.float(), self.get_item_embeddings().float(), pairs, targets, None, spans, fast=self.fast
            )
        pairs, targets, spans = candidates.filter_parts(pairs, targets, spans)
        v_CH1 = self.get_item_embeddings(candidates.ids)
        v_CH1 = torch.cat([v_CH1[:, :-1], v_CH1[:, -1:] - candidates.log_share[:, None]], -1)
        shares_K = candidates.log_share[targets.items]
        return compute_softmax_loss(q_NH.float(), v_CH1.float(), pairs, targets, shares_K, spans, fast=self.fast)


LEAST_DOT = 1e-3
"""The least factor of a query in ``apply_blend``."""

LEAST_NEW_WEIGHT = 0.5
"""The least weight of new items in the loss, in which all events together have 1."""


class RepeatHead(nn.Module):
    """The probability that the user repeats an item, and the logits of the history's items.

    The buffers ``mean``, ``scale``, ``least`` and ``most`` describe the repeat features of the training data
    (``set_feature_range``). ``count`` and ``evidence`` are weights of the blend (``apply_blend``): of the number of an
    item's events, and in p(again) of how much better the history's items fit than new ones.
    """

    mean: Tensor
    scale: Tensor
    least: Tensor
    most: Tensor
    count: Tensor
    evidence: Tensor

    def __init__(self, config: HrnnConfig) -> None:
        super().__init__()
        self.fit = nn.Parameter(torch.ones(config.hidden))
        self.bias = nn.Embedding(config.items, 1)
        self.known = nn.Linear(FEATURES, REPEAT_WIDTH)
        self.of_type = nn.Embedding(config.event_types + 1, REPEAT_WIDTH) if config.event_types else None
        self.worth = nn.Linear(REPEAT_WIDTH, 1, bias=False)
        self.of_user = nn.Linear(config.hidden + 3, 1)
        nn.init.zeros_(self.bias.weight)
        for name, value in (("mean", 0.0), ("scale", 1.0), ("least", IMPOSSIBLE), ("most", -IMPOSSIBLE)):
            self.register_buffer(name, torch.full((FEATURES,), value))
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("evidence", torch.zeros(()))

    def set_feature_range(self, pairs: Pairs) -> None:
        """Set mean, scale and range from the features of these pairs."""
        x_SF = cast(Tensor, pairs.features)
        if len(x_SF) < 2:
            return
        some_SF = x_SF[:: max(1, len(x_SF) // 100_000)]
        with torch.no_grad():
            self.mean.copy_(x_SF.mean(0))
            self.scale.copy_(1 / x_SF.std(0).clamp(min=0.1))
            self.least.copy_(some_SF.quantile(0.005, 0))
            self.most.copy_(some_SF.quantile(0.995, 0))

    def apply_blend(self, blend: BlendWeights, dot: float) -> None:
        """Multiply the parts of the logits by the blend's weights, given that q is multiplied by ``dot``."""
        self.of_user.weight[:, : len(self.fit)].div_(dot)
        self.fit.mul_(blend.again_dot / dot)
        self.worth.weight.mul_(blend.again_known)
        self.bias.weight.mul_(blend.again_known)
        self.count.fill_(blend.again_count)
        self.of_user.weight.mul_(blend.share)
        self.of_user.bias.mul_(blend.share).add_(blend.offset)
        self.evidence.fill_(blend.evidence)

    def compute_share_logit(self, q_NH: Tensor, known_N3: Tensor, pairs: Pairs) -> Tensor:
        """[N] Return the logit of p(again); IMPOSSIBLE for an empty history."""
        again_N = self.of_user(torch.cat([q_NH.float(), known_N3], -1)).view(-1)
        has_N = torch.zeros_like(again_N, dtype=torch.bool).index_fill_(0, pairs.rows, True)
        return torch.where(has_N, again_N, IMPOSSIBLE)

    def compute_logits(self, q_NH: Tensor, pairs: Pairs, vectors: Callable[[Tensor], Tensor]) -> Tensor:
        """Return a_S of the pairs. ``vectors`` returns v_RH of items."""
        return self.compute_dots(q_NH, pairs, vectors) + self.compute_feature_logits(pairs)

    def compute_dots(self, q_NH: Tensor, pairs: Pairs, vectors: Callable[[Tensor], Tensor]) -> Tensor:
        """[S] Return (r * v_i) q."""
        ids_R, places_S = torch.unique(pairs.items, return_inverse=True)
        q_NH, v_RH = q_NH.float(), vectors(ids_R) * self.fit
        return multiply_pairs(q_NH, pairs.rows, v_RH, places_S)

    def compute_feature_logits(self, pairs: Pairs) -> Tensor:
        """[S] Return c_i + m(features of the last event)."""
        x_SF = cast(Tensor, pairs.features)
        x_SW = self.known((torch.minimum(torch.maximum(x_SF, self.least), self.most) - self.mean) * self.scale)
        if self.of_type is not None:
            x_SW = x_SW + self.of_type(cast(Tensor, pairs.types))
        worth_S = self.worth(functional.silu(x_SW)).view(-1) + self.bias(pairs.items).view(-1)
        return cast(Tensor, worth_S + self.count * x_SF[:, COUNT])


class LinearRecurrence(nn.Module):
    """A layer: norm, gated linear recurrence, output gate, residual."""

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
        weights = self.norm.weight, self.into.weight, self.time.weight, self.out.weight
        return apply_recurrent_layer(x_TBH, *weights, gap_TB, keep_TB2, h_BW, fast=fast)


class GatedUnit(nn.Module):
    """A layer: norm, gated recurrent unit, residual. Its gates read the state, so that it runs step by step."""

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
        fast: bool = False,  # noqa: ARG002 -- its time goes into calls, not products
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


LAYER_TYPES = {"linear": LinearRecurrence, "gru": GatedUnit}
