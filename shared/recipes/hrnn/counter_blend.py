"""How far the network leans on what was counted: weights that the validation users tell, and its logits with them.

What is new to a user is a softmax over

    z'_i = dot v_i q + bias b_i + last last_i + near near_i + lately lately_i + like like_i + fashion_f fashion_fi

and what the user has had one over

    a'_i = again_dot (r * v_i) q + again_known (c_i + m_i) + again_count log(times taken)
           + again_last last_i + again_near near_i + again_lately lately_i

and whether it is one that the user has had has the logit

    share w [q, known of the user] + evidence (log sum of exp z'_i of what was had - the same of what is new) + offset

the network's own having the first two weights 1, and the others 0. The weights are those under which what the
validation users took is the most likely (Newton's method), drawn towards the network's own by PULL.

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
"""As much as one choice of which the weight in question says all."""

STAYS = 1e9
"""The pull on weights that stay as they are."""

PAIR_PARTS = 3
"""The first of NAMES, of which the logits of what was had know: what was had is like what was had."""

STEPS, HALVINGS, ENOUGH = 12, 6, 1e-3
"""Of Newton's method: at most, of a step that went too far, and the gain of a step after which there is none."""

MOST_NUMBERS = 2**22
"""Logits at once, of all queries that the weights are worked out from."""


@dataclass(frozen=True)
class CounterBlend:
    """What a network leans on, and how far."""

    counters: Counters
    weights: BlendWeights

    def compute_extra_logits(self, streams: Streams, places_N: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """What is added to its logits before these places: [N,I] of items that are new, [S] of those of the pairs."""
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
    """float32[N,len(NAMES) + len(FASHION),I] what was counted says before these places."""
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
    """float32[S,OF_PAIRS] of what was ``counted``."""
    found_SF: npt.NDArray[np.float32] = found_NFI[pairs.rows.cpu().numpy(), :PAIR_PARTS, pairs.items.cpu().numpy()]
    return found_SF


class NewItemChoice:
    """The choices among what is new: of the parts of logits ``x_NFI``, ``had`` bool[N,I] are no candidates, and
    what was taken how often is told as in ``Targets``."""

    network_weights = (1.0, 1.0) + (0.0,) * (len(NAMES) + len(FASHION))

    def __init__(
        self, x_NFI: Tensor, had_NI: Tensor, rows_K: Tensor, items_K: Tensor, weights_K: Tensor, fixed: int = 0
    ) -> None:
        """So many of the first weights stay the network's own."""
        self.fixed = fixed
        self._x_NFI, self._had_NI = x_NFI, had_NI
        self._taken = rows_K, items_K, weights_K
        self._weights_N = torch.zeros(len(x_NFI)).index_add_(0, rows_K, weights_K)
        self._taken_F = torch.einsum("kf,k->f", x_NFI[rows_K, :, items_K], weights_K)

    @property
    def single_counters(self) -> list[tuple[float, ...]]:
        """Popularity, and beside it, as a prior, each counter."""
        bias = (0.0, 1.0) + (0.0,) * (len(self.network_weights) - 2)
        return [bias, *((*bias[:place], 1.0, *bias[place + 1 :]) for place in range(2, len(bias)))]

    def compute_ndcg(self, theta_F: Tensor) -> tuple[Tensor, Tensor]:
        """([K] what each target gains by its place among what is new, its weight)."""
        rows_K, items_K, weights_K = self._taken
        z_NI = self._compute_logits(theta_F)
        best_NT = z_NI.topk(min(LONGEST + 1, z_NI.shape[1])).values
        # Of equal ones the last: what tells nothing gains nothing.
        return compute_ndcg((best_NT[rows_K] >= z_NI[rows_K, items_K, None]).sum(1)), weights_K

    def compute_loss(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """(minus the log of the likelihood, p_NI) with these weights_F."""
        rows_K, items_K, weights_K = self._taken
        log_p_NI = self._compute_logits(theta).log_softmax(-1)
        # To whom nothing is new, nothing new is asked about, and not even 0 times NaN.
        return -(log_p_NI[rows_K, items_K] * weights_K).double().sum(), log_p_NI.exp_().nan_to_num_(0.0)

    def _compute_logits(self, theta_F: Tensor) -> Tensor:
        return (theta_F.float() @ self._x_NFI).masked_fill_(self._had_NI, -torch.inf)

    def compute_evidence(self, theta_F: Tensor) -> Tensor:
        """[N] how much better what was had fits than what is new; infinite where there is only one of them."""
        z_NI = theta_F.float() @ self._x_NFI
        had_N, new_N = (z_NI.masked_fill(out_NI, -torch.inf).logsumexp(-1) for out_NI in (~self._had_NI, self._had_NI))
        return had_N - new_N

    def compute_derivatives(self, p_NI: Tensor) -> tuple[Tensor, Tensor]:
        """Its first derivative, [F], and its second, [F,F]."""
        likely_NFI = self._x_NFI * p_NI[:, None]
        mean_NF = likely_NFI.sum(2)
        curved = torch.einsum("nfg,n->fg", likely_NFI @ self._x_NFI.mT, self._weights_N)
        curved -= mean_NF.T @ (mean_NF * self._weights_N[:, None])
        return self._weights_N @ mean_NF - self._taken_F, curved


class RepeatChoice:
    """The choices among what was had: ``x_SF`` of the pairs, the rows of these, and which pairs were taken."""

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
    """The weights under which what was taken is the most likely."""
    own = torch.tensor(choice.network_weights, dtype=torch.double)
    pull_F = torch.full_like(own, PULL)
    pull_F[: choice.fixed] = STAYS

    def loss_of(theta: Tensor) -> tuple[Tensor, Tensor]:
        on_block()
        loss, p = choice.compute_loss(theta)
        return loss + (pull_F / 2 * (theta - own) ** 2).sum(), p

    theta = own.clone()
    loss, p = loss_of(theta)
    for _ in range(STEPS):
        on_block()
        slope, curved = choice.compute_derivatives(p)
        step = torch.linalg.solve(curved.double() + torch.diag(pull_F), slope.double() + pull_F * (theta - own))
        for _ in range(HALVINGS):
            better, p = loss_of(theta - step)
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
    """[K] what an item at each place adds to the discounted gain of a list of 25."""
    return torch.where(rank_K <= LONGEST, 1 / torch.log2(1.0 + rank_K), 0.0)


class RepeatShareChoice:
    """Whether what was taken had been had: ``x_NF`` of each query with a choice, by what weight it was, and was not.

    The features are the network's logit of p(again), how much better what was had fits than what is new, and 1.
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
    """What users chose, and out of what: as it comes in, and then the weights that tell it best."""

    def __init__(self, network: HrnnNetwork, streams: Streams, counters: Counters, fixed: int = 0) -> None:
        """So many of the network's own weights of what is new stay as they are."""
        self._network, self._streams, self._counters, self._fixed = network, streams, counters, fixed
        self._of_new: list[tuple[Tensor, ...]] = []
        self._of_again: list[tuple[Tensor, ...]] = []
        self._of_share: list[tuple[Tensor, ...]] = []
        self._rows = self._pairs = 0

    def add(self, x_NH: Tensor, places_N: Tensor, targets: Targets) -> None:
        """What was taken before these places, where the network knew ``x_NH``."""
        asked = self._streams.build_queries(places_N, REMEMBERED, self._network.config)
        q_NH = self._network.compute_query(x_NH, asked.after, asked.contexts)
        found_NFI = compute_counter_features(self._counters, self._streams, places_N, asked.pairs)
        pair_K = targets.find_pairs(asked.pairs, self._network.config.items)
        self._add_new_items(q_NH, found_NFI, asked, targets.select(pair_K < 0))
        if self._network.again is not None:
            had_K = pair_K >= 0
            self._add_repeats(self._network.again, q_NH, found_NFI, asked.pairs, targets.select(had_K), pair_K[had_K])
            share_N = self._network.again.compute_share_logit(q_NH, asked.known, asked.pairs)
            weights_N2 = targets.weights.new_zeros(len(q_NH), 2)
            weights_N2.index_put_((targets.rows, had_K.long()), targets.weights, accumulate=True)
            self._of_share.append((share_N.cpu(), weights_N2.cpu()))
        self._rows += len(places_N)

    def _add_new_items(
        self, q_NH: Tensor, found_NFI: npt.NDArray[np.float32], asked: Queries, targets: Targets
    ) -> None:
        v_IH1 = self._network.get_item_embeddings()
        own_NFI = torch.stack([q_NH @ v_IH1[:, :-1].T, v_IH1[:, -1].expand(len(q_NH), -1)], 1)
        had_NI = torch.zeros(len(q_NH), len(v_IH1), dtype=torch.bool)
        had_NI[asked.pairs.rows.cpu(), asked.pairs.items.cpu()] = True
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
        x_NFI, had_NI, rows_K, items_K, weights_K = (torch.cat(each) for each in zip(*self._of_new, strict=True))
        of_new = NewItemChoice(x_NFI, had_NI, rows_K, items_K, weights_K, self._fixed)
        new = fit_weights(of_new, on_block)
        if not self._fixed:  # else what no counter knows would fall behind, as the others' logits drift apart
            new = find_best_weights(of_new, new, on_block)
        if not self._pairs:
            return BlendWeights.from_parts(new, RepeatChoice.network_weights, RepeatShareChoice.network_weights)
        of_again = RepeatChoice(*(torch.cat(each) for each in zip(*self._of_again, strict=True)))
        share_N, weights_N2 = (torch.cat(each) for each in zip(*self._of_share, strict=True))
        evidence_N = of_new.compute_evidence(torch.tensor(new))
        open_N = torch.isfinite(evidence_N)
        x_NF = torch.stack([share_N, evidence_N, torch.ones_like(share_N)], 1)[open_N]
        share = fit_weights(RepeatShareChoice(x_NF, weights_N2[open_N, 1], weights_N2[open_N, 0]), on_block)
        if share[1] < 0:  # what fits better is never taken less for that
            x_NF[:, 1] = 0
            share = fit_weights(RepeatShareChoice(x_NF, weights_N2[open_N, 1], weights_N2[open_N, 0]), on_block)
        return BlendWeights.from_parts(new, fit_weights(of_again, on_block), share)
