"""The blend of the network's logits with the counters, and the fit of its weights on the validation users.

Items that are new to a user have a softmax over

    z'_i = dot v_i q + bias b_i + last last_i + near near_i + lately lately_i + like like_i + fashion_f fashion_fi

and items of the user's history one over

    a'_i = again_dot (r * v_i) q + again_known (c_i + m_i) + again_count log(times taken)
           + again_last last_i + again_near near_i + again_lately lately_i

and the probability of a repeat has the logit

    share w [q, activity of the user] + evidence (log sum exp z'_i over the history - the same over new items) + offset

In the network's own logits the first two weights are 1 and the rest 0. The weights maximize the likelihood of the
items that the validation users took (Newton's method), with a quadratic penalty PULL towards the network's own.

Shapes: N queries, I items, S pairs, F weights, K targets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from shared.recipes.hrnn.blend_search import find_best_weights
from shared.recipes.hrnn.counters import FASHION, NAMES, NEWEST, BlendWeights, Counters, compute_recency_weights
from shared.recipes.hrnn.network import HrnnNetwork, RepeatHead
from shared.recipes.hrnn.ops.row_logsumexp import sum_exp_rows
from shared.recipes.hrnn.repeat_features import COUNT
from shared.recipes.hrnn.sequence_packing import REMEMBERED, Streams
from shared.recipes.hrnn.types import Pairs, Queries, Targets
from shared.recipes.ranking_metrics import LONGEST

PULL = 1.0
"""The penalty on weights, in units of the curvature of a single choice."""

STAYS = 1e9
"""The penalty on fixed weights."""

PAIR_PARTS = 3
"""The logits of repeats use the first so many of NAMES, without ``like``: items of one history are similar anyway."""

STEPS, HALVINGS, ENOUGH = 12, 6, 1e-3
"""Newton's method: the most steps, the most halvings of a step that went too far, and the gain after which it ends."""

MOST_NUMBERS = 2**22
"""Logits, of all queries together, that the weights are fitted on."""


@dataclass(frozen=True)
class CounterBlend:
    """The counters of a network, and the weights of both in the logits."""

    counters: Counters
    weights: BlendWeights

    def compute_extra_logits(self, streams: Streams, places_N: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """Return the terms to add to the logits before these places: of new items, [N,I], and of pairs, [S]."""
        found_NFI = compute_counter_features(self.counters, streams, places_N, pairs)
        blend = self.weights
        weights = np.array([blend.last, blend.near, blend.lately, blend.like, *blend.fashion], np.float32)
        new_NI = torch.from_numpy(np.einsum("nfi,f->ni", found_NFI, weights))
        of_again = np.array([blend.again_last, blend.again_near, blend.again_lately], np.float32)
        again_S = torch.from_numpy(select_pair_features(found_NFI, pairs) @ of_again)
        return new_NI.to(streams.device), again_S.to(streams.device)


def compute_counter_features(
    counters: Counters, streams: Streams, places_N: Tensor, pairs: Pairs
) -> npt.NDArray[np.float32]:
    """float32[N,len(NAMES) + len(FASHION),I] Compute the counters' values before these places."""
    rows = pairs.rows.cpu().numpy()
    ends = np.searchsorted(rows, np.arange(len(places_N) + 1))
    items_S = pairs.items.cpu().numpy()
    found = np.zeros((len(places_N), len(NAMES) + len(FASHION), len(counters.prior_I)), np.float32)
    stale_N = counters.compute_staleness(places_N.cpu().numpy())
    for row, (items, moments, at) in enumerate(streams.iter_newest(places_N, NEWEST)):
        faded, is_last = compute_recency_weights(moments)
        had = items_S[ends[row] : ends[row + 1]]
        for part_I, (ids, values) in zip(found[row], counters.iter_parts(items, faded, is_last, had), strict=False):
            part_I[ids] = values
        found[row, len(NAMES) :] = counters.get_fashion(at - stale_N[row])
    return found


def select_pair_features(found_NFI: npt.NDArray[np.float32], pairs: Pairs) -> npt.NDArray[np.float32]:
    """float32[S,PAIR_PARTS] Select the counter features of pairs."""
    found_SF: npt.NDArray[np.float32] = found_NFI[pairs.rows.cpu().numpy(), :PAIR_PARTS, pairs.items.cpu().numpy()]
    return found_SF


class NewItemChoice:
    """The choices among new items: the parts of their logits ``x_NFI``, the histories' items ``had``, bool[N,I], which
    are no candidates, the items taken, as in ``Targets``, and the users who chose, int64[N]; None: each choice is of
    another user."""

    network_weights = (1.0, 1.0) + (0.0,) * (len(NAMES) + len(FASHION))

    def __init__(
        self,
        x_NFI: Tensor,
        had_NI: Tensor,
        rows_K: Tensor,
        items_K: Tensor,
        weights_K: Tensor,
        fixed: int = 0,
        users_N: Tensor | None = None,
    ) -> None:
        """The first ``fixed`` weights stay the network's own."""
        self.fixed = fixed
        #: [K] The user of each target, numbered from 0.
        self.users_K = rows_K if users_N is None else torch.unique(users_N, return_inverse=True)[1][rows_K]
        self._x_NFI, self._had_NI = x_NFI, had_NI
        self._taken = rows_K, items_K, weights_K
        self._weights_N = torch.zeros(len(x_NFI)).index_add_(0, rows_K, weights_K)
        self._taken_F = torch.einsum("kf,k->f", x_NFI[rows_K, :, items_K], weights_K)

    @property
    def single_counters(self) -> list[tuple[float, ...]]:
        """Popularity alone, and each counter with popularity as a prior."""
        bias = (0.0, 1.0) + (0.0,) * (len(self.network_weights) - 2)
        return [bias, *((*bias[:place], 1.0, *bias[place + 1 :]) for place in range(2, len(bias)))]

    def compute_ndcg(self, theta_F: Tensor) -> tuple[Tensor, Tensor]:
        """Return (NDCG of each target among new items, [K], their weights)."""
        rows_K, items_K, weights_K = self._taken
        z_NI = self._compute_logits(theta_F)
        best_NT = z_NI.topk(min(LONGEST + 1, z_NI.shape[1])).values
        # Of items with equal logits the target ranks last: constant logits gain nothing.
        return compute_ndcg((best_NT[rows_K] >= z_NI[rows_K, items_K, None]).sum(1)), weights_K

    def compute_loss(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return (minus the log-likelihood, p_NI)."""
        rows_K, items_K, weights_K = self._taken
        log_p_NI = self._compute_logits(theta).log_softmax(-1)
        # A user with all items in the history has no targets here; NaN would spoil the sums even with weight 0.
        return -(log_p_NI[rows_K, items_K] * weights_K).double().sum(), log_p_NI.exp_().nan_to_num_(0.0)

    def _compute_logits(self, theta_F: Tensor) -> Tensor:
        return (theta_F.float() @ self._x_NFI).masked_fill_(self._had_NI, -torch.inf)

    def compute_evidence(self, theta_F: Tensor) -> Tensor:
        """[N] Return how much better the history's items fit than new ones; infinite if there are none of either."""
        z_NI = theta_F.float() @ self._x_NFI
        had_N, new_N = (z_NI.masked_fill(out_NI, -torch.inf).logsumexp(-1) for out_NI in (~self._had_NI, self._had_NI))
        return had_N - new_N

    def compute_derivatives(self, p_NI: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss's first derivative, [F], and second, [F,F]."""
        likely_NFI = self._x_NFI * p_NI[:, None]
        mean_NF = likely_NFI.sum(2)
        curved = torch.einsum("nfg,n->fg", likely_NFI @ self._x_NFI.mT, self._weights_N)
        curved -= mean_NF.T @ (mean_NF * self._weights_N[:, None])
        return self._weights_N @ mean_NF - self._taken_F, curved


class RepeatChoice:
    """The choices among items of histories: ``x_SF`` of the pairs, their rows, and the pairs that were taken."""

    network_weights = (1.0, 1.0) + (0.0,) * (1 + PAIR_PARTS)
    fixed = 0

    def __init__(self, x_SF: Tensor, rows_S: Tensor, taken_K: Tensor, weights_K: Tensor) -> None:
        self._x_SF, self._rows_S = x_SF, rows_S
        self._taken_K, self._weights_K = taken_K, weights_K
        self._many = int(rows_S.max()) + 1 if len(rows_S) else 0
        self._weights_N = torch.zeros(self._many).index_add_(0, rows_S[taken_K], weights_K)
        self._taken_F = weights_K @ x_SF[taken_K]

    def compute_loss(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        a_S = self._x_SF @ theta.float()
        log_p_S = a_S - sum_exp_rows(a_S, self._rows_S, self._many)[self._rows_S]
        return -(log_p_S[self._taken_K] * self._weights_K).double().sum(), log_p_S.exp()

    def compute_derivatives(self, p_S: Tensor) -> tuple[Tensor, Tensor]:
        weighted_SF = self._x_SF * p_S[:, None]
        mean_NF = torch.zeros(self._many, self._x_SF.shape[1]).index_add_(0, self._rows_S, weighted_SF)
        curved = self._x_SF.T @ (weighted_SF * self._weights_N[self._rows_S, None])
        curved -= mean_NF.T @ (mean_NF * self._weights_N[:, None])
        return self._weights_N @ mean_NF - self._taken_F, curved


def fit_weights(
    choice: NewItemChoice | RepeatChoice | RepeatShareChoice, on_block: Callable[[], None] = lambda: None
) -> list[float]:
    """Return the weights that maximize the penalized likelihood of the items taken, by damped Newton steps."""
    own = torch.tensor(choice.network_weights, dtype=torch.double)
    pull_F = torch.full_like(own, PULL)
    pull_F[: choice.fixed] = STAYS

    def compute_penalized(theta: Tensor) -> tuple[Tensor, Tensor]:
        on_block()
        loss, p = choice.compute_loss(theta)
        return loss + (pull_F / 2 * (theta - own) ** 2).sum(), p

    theta = own.clone()
    loss, p = compute_penalized(theta)
    for _ in range(STEPS):
        on_block()
        slope, curved = choice.compute_derivatives(p)
        step = torch.linalg.solve(curved.double() + torch.diag(pull_F), slope.double() + pull_F * (theta - own))
        for _ in range(HALVINGS):
            better, p = compute_penalized(theta - step)
            if better < loss:
                break
            step /= 2
        else:
            break
        gained, theta, loss = loss - better, theta - step, better
        if gained < ENOUGH:
            break
    found: list[float] = theta.tolist()
    return [*choice.network_weights[: choice.fixed], *found[choice.fixed :]]


def compute_ndcg(rank_K: Tensor) -> Tensor:
    """[K] Return the NDCG@25 of a single relevant item at each rank."""
    return torch.where(rank_K <= LONGEST, 1 / torch.log2(1.0 + rank_K), 0.0)


class RepeatShareChoice:
    """The choices between a repeat and a new item: ``x_NF`` of each query, and its weights of repeats and of new items.

    The features are the network's logit of p(again), how much better the history's items fit than new ones, and 1.
    """

    network_weights = (1.0, 0.0, 0.0)
    fixed = 0

    def __init__(self, x_NF: Tensor, again_N: Tensor, new_N: Tensor) -> None:
        self._x_NF, self._again_N, self._new_N = x_NF, again_N, new_N

    def compute_loss(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        logit_N = self._x_NF @ theta.float()
        loss = self._again_N * functional.softplus(-logit_N) + self._new_N * functional.softplus(logit_N)
        return loss.double().sum(), logit_N.sigmoid()

    def compute_derivatives(self, p_N: Tensor) -> tuple[Tensor, Tensor]:
        weights_N = self._again_N + self._new_N
        curved = self._x_NF.T @ (self._x_NF * (weights_N * p_N * (1 - p_N))[:, None])
        return self._x_NF.T @ (weights_N * p_N - self._again_N), curved


class BlendFitter:
    """Collects users' choices batch by batch, then fits the blend's weights to them."""

    def __init__(self, network: HrnnNetwork, streams: Streams, counters: Counters, fixed: int = 0) -> None:
        """The first ``fixed`` weights of new items stay the network's own."""
        self._network, self._streams, self._counters, self._fixed = network, streams, counters, fixed
        self._of_new: list[tuple[Tensor, ...]] = []
        self._of_again: list[tuple[Tensor, ...]] = []
        self._of_share: list[tuple[Tensor, ...]] = []
        self._users: list[Tensor] = []
        self._rows = self._pairs = 0

    def add(self, x_NH: Tensor, places_N: Tensor, targets: Targets) -> None:
        """Add the choices before these places, where the network's output was ``x_NH``."""
        queries = self._streams.build_queries(places_N, REMEMBERED, self._network.config)
        q_NH = self._network.compute_query(x_NH, queries.after, queries.contexts)
        found_NFI = compute_counter_features(self._counters, self._streams, places_N, queries.pairs)
        pair_K = targets.find_pairs(queries.pairs, self._network.config.items)
        self._add_new_items(q_NH, found_NFI, queries, targets.select(pair_K < 0))
        if self._network.again is not None:
            had_K = pair_K >= 0
            self._add_repeats(self._network.again, q_NH, found_NFI, queries.pairs, targets.select(had_K), pair_K[had_K])
            share_N = self._network.again.compute_share_logit(q_NH, queries.known, queries.pairs)
            weights_N2 = targets.weights.new_zeros(len(q_NH), 2)
            weights_N2.index_put_((targets.rows, had_K.long()), targets.weights, accumulate=True)
            self._of_share.append((share_N.cpu(), weights_N2.cpu()))
        self._users.append(self._streams.find_users(places_N))
        self._rows += len(places_N)

    def _add_new_items(
        self, q_NH: Tensor, found_NFI: npt.NDArray[np.float32], queries: Queries, targets: Targets
    ) -> None:
        v_IH1 = self._network.get_item_embeddings()
        own_NFI = torch.stack([q_NH @ v_IH1[:, :-1].T, v_IH1[:, -1].expand(len(q_NH), -1)], 1)
        had_NI = torch.zeros(len(q_NH), len(v_IH1), dtype=torch.bool)
        had_NI[queries.pairs.rows.cpu(), queries.pairs.items.cpu()] = True
        rows_K, items_K, weights_K = (each.cpu() for each in targets)
        x_NFI = torch.cat([own_NFI.cpu(), torch.from_numpy(found_NFI)], 1)
        self._of_new.append((x_NFI, had_NI, rows_K + self._rows, items_K, weights_K))

    def _add_repeats(
        self,
        again: RepeatHead,
        q_NH: Tensor,
        found_NFI: npt.NDArray[np.float32],
        pairs: Pairs,
        targets: Targets,
        pair_K: Tensor,
    ) -> None:
        times_S = cast(Tensor, pairs.features)[:, COUNT]
        own_SF = torch.stack(
            [
                again.compute_dots(q_NH, pairs, self._network.get_item_vectors),
                again.compute_feature_logits(pairs),
                times_S,
            ],
            1,
        )
        x_SF = torch.cat([own_SF.cpu(), torch.from_numpy(select_pair_features(found_NFI, pairs))], 1)
        self._of_again.append((x_SF, pairs.rows.cpu() + self._rows, pair_K.cpu() + self._pairs, targets.weights.cpu()))
        self._pairs += len(pairs.rows)

    def fit_blend(self, on_block: Callable[[], None] = lambda: None) -> BlendWeights:
        """Return the weights. ``on_block`` is called often, and may raise to stop."""
        x_NFI, had_NI, rows_K, items_K, weights_K = (torch.cat(each) for each in zip(*self._of_new, strict=True))
        of_new = NewItemChoice(x_NFI, had_NI, rows_K, items_K, weights_K, self._fixed, torch.cat(self._users))
        new = fit_weights(of_new, on_block)
        # With fixed weights, items that no counter knows would fall behind as the logits of the rest grow.
        if not self._fixed:
            new = find_best_weights(of_new, new, on_block)
        if not self._pairs:
            return BlendWeights.from_parts(new, RepeatChoice.network_weights, RepeatShareChoice.network_weights)
        of_again = RepeatChoice(*(torch.cat(each) for each in zip(*self._of_again, strict=True)))
        share_N, weights_N2 = (torch.cat(each) for each in zip(*self._of_share, strict=True))
        evidence_N = of_new.compute_evidence(torch.tensor(new))
        open_N = torch.isfinite(evidence_N)
        x_NF = torch.stack([share_N, evidence_N, torch.ones_like(share_N)], 1)[open_N]
        share = fit_weights(RepeatShareChoice(x_NF, weights_N2[open_N, 1], weights_N2[open_N, 0]), on_block)
        if share[1] < 0:  # a better fit must not make a repeat less likely
            x_NF[:, 1] = 0
            share = fit_weights(RepeatShareChoice(x_NF, weights_N2[open_N, 1], weights_N2[open_N, 0]), on_block)
        return BlendWeights.from_parts(new, fit_weights(of_again, on_block), share)
