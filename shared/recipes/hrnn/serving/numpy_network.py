"""The network of network.py for one user at a time, in numpy. Its state can be extended by new events.

A request spends its time in calls, not in arithmetic: an event takes some forty short calls of numpy, and would take
twice as many longer ones of torch. The equations are in network.py, and tests compare the results to 1e-5. The weights
may be mapped from their file: they are only read, so that all processes of a machine share them.

Shapes: T events, L layers, H hidden, W state width, I items, S distinct items of a history, F features.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from shared.recipes.hrnn.config import GAP_BUCKETS, LAYERS, REPEAT_WIDTH, HrnnConfig
from shared.recipes.hrnn.repeat_features import COUNT, FEATURES, LastInteractions, compute_repeat_features
from shared.recipes.hrnn.serving.block_scan import ScanSource
from shared.recipes.hrnn.serving.block_search import FloatSource, LogitSource
from shared.recipes.hrnn.serving.file_rows import FileRows
from shared.recipes.hrnn.serving.item_scan import ScanErrorBounds
from shared.recipes.hrnn.serving.numpy_layers import LAYER_TYPES, BlockSteps, apply_rms_norm, apply_sigmoid
from shared.recipes.hrnn.serving.shared_pass import SETTLED, Floats, SharedPasses, open_rows
from shared.recipes.request_time import is_new_visit
from shared.recipes.scoring_api import ApproximateScores
from shared.system.cpu_quota import available_cpus

Numbers = npt.NDArray[np.int64]
Seconds = npt.NDArray[np.float64]


class ReadState(NamedTuple):
    """The network's state and output after some events."""

    state: Floats  # [L,W]
    x: Floats  # [H] after the last of them


class TakenItems(NamedTuple):
    """The items of a history, each once, with its last event."""

    items: Numbers  # [S]
    lasts: Numbers  # [S] the number of its last event, from 1
    at: Seconds  # [S] the time of that event, since the epoch
    visits: Numbers  # [S] the number of its visit
    firsts: Seconds  # [S] the time of the item's first event
    counts: Numbers  # [S] the number of its events
    faded: Seconds  # [S,D] the sum of its events, each faded by HALF_LIVES until the last
    types: Numbers  # [S] the type of the last event; 0: none

    def as_of_request(self, moment: RequestMoment) -> LastInteractions:
        return LastInteractions(
            distance=moment.events + 1.0 - self.lasts,
            visits=(moment.visit - self.visits).astype(np.float64),
            seconds=np.maximum(moment.at - self.at, 0),
            counts=self.counts.astype(np.float64),
            interval=(self.at - self.firsts) / np.maximum(self.counts - 1, 1),
            faded=np.log(self.faded),
            events=np.full(len(self.items), float(moment.events)),
        )


class NumpyNetwork:
    """The network with its weights, which have torch's names and the shapes of ``get_weight_shapes``."""

    def __init__(self, config: HrnnConfig, weights: Mapping[str, Floats]) -> None:
        self.config = config
        self._of = weights
        self._layers = [LAYER_TYPES[config.cell](_select_layer(weights, layer)) for layer in range(LAYERS)]
        self._items = open_rows(weights["item.weight"])
        self._passes = SharedPasses(weights["item.weight"][:-1], weights["bias"][:-1], available_cpus())
        self._again = NumpyRepeatHead(config, weights) if config.repeats else None

    def sum_feature_vectors(self, name: str, values: npt.ArrayLike, weights: npt.ArrayLike) -> Floats:
        """[H] Return the weighted sum of the vectors of F features of a "user" or "context"."""
        summed_H: Floats = np.asarray(weights, np.float32) @ self._of[f"of_{name}.weight"][np.asarray(values)]
        return summed_H

    def create_state(self) -> Floats:
        """Return the state_LW of new users."""
        return np.zeros((LAYERS, self._layers[0].width), np.float32)

    def read_events(
        self, items_T: Numbers, before_T: Seconds, types_T: Numbers, user_H: Floats | None, state_LW: Floats | None
    ) -> ReadState:
        """Read T more events, at least one; with ``state_LW`` None a user begins with the first.

        START is the number after the last item. ``before_T`` has the seconds since the previous event, ``types_T`` the
        types, 0: none.
        """
        gap_T = find_gap_buckets(before_T)
        keep_T2 = np.ones((len(items_T), 2), np.bool_)
        keep_T2[:, 0] = np.logical_not(is_new_visit(before_T))
        if state_LW is None:
            state_LW = self.create_state()
            keep_T2[0] = False
        x_TH = self._embed_events(self._items[items_T], gap_T, types_T)
        if user_H is not None:
            x_TH += user_H
        states = []
        for layer, h_W in zip(self._layers, state_LW, strict=True):
            x_TH, h_W = layer.read_events(x_TH, gap_T, keep_T2, h_W)
            states.append(h_W)
        return ReadState(np.stack(states), apply_rms_norm(x_TH[-1:], self._of["norm.weight"])[0])

    def embed_block(self, items_N: Numbers, gap_N: Numbers, types_N: Numbers) -> Floats:
        """[N,H] Return the sums of the vectors of items, buckets of time and types."""
        # Not through FileRows: a block's products map all vectors in any case.
        return self._embed_events(self._of["item.weight"][items_N], gap_N, types_N)

    def _embed_events(self, x_TH: Floats, gap_T: Numbers, types_T: Numbers) -> Floats:
        """Add the vectors of buckets of time and types to those of items, in place."""
        x_TH += self._of["gap.weight"][gap_T]
        if self.config.event_types:
            x_TH += self._of["of_type.weight"][types_T]
        return x_TH

    def create_block_states(self, users: int) -> list[Floats]:
        """Return the state [Q,W] of each layer for new users."""
        return [np.zeros((users, layer.width), np.float32) for layer in self._layers]

    def read_block(self, x_NH: Floats, steps: BlockSteps, states: Sequence[Floats], kept: Numbers) -> Floats:
        """Read events of several users, and return the output after the rows ``kept``; ``states`` change in place."""
        for layer, h_QW in zip(self._layers, states, strict=True):
            x_NH = layer.read_block(x_NH, steps, h_QW, kept if layer is self._layers[-1] else None)
        return apply_rms_norm(x_NH, self._of["norm.weight"])

    def compute_query(self, x_H: Floats, after: float, context_H: Floats | None) -> Floats:
        """Return q_H: the query ``after`` seconds later, in this context."""
        gap = find_gap_bucket(after)
        q_H: Floats = x_H * self._of["scale.weight"][gap]
        q_H += self._of["shift.weight"][gap]
        if context_H is not None:
            q_H += context_H
        return q_H

    def score_repeats(
        self, q_H: Floats, taken: TakenItems, moment: RequestMoment, more_S: Floats
    ) -> RepeatScores | None:
        """Score the items of a history; None if the network never recommends these, or there are none.

        ``more_S`` is added to their logits.
        """
        if self._again is None or not len(taken.items):
            return None
        v_SH = self._items[taken.items]
        shares_S = self._again.compute_shares(q_H, v_SH, taken, moment, more_S)
        return RepeatScores(self._again.compute_share_logit(q_H, moment), self._again.evidence, shares_S)

    def score_items(self, q_H: Floats, had_S: Numbers, new: SparseValues, again: RepeatScores | None) -> Relevance:
        """Return the probability of each item for a user with items ``had``; None if no item can be recommended.

        ``new`` is added to the logits of items that are new to the user.
        """
        scores_I = self._passes.compute_logits(q_H)
        return self.share_out(scores_I, had_S, new, again, self._passes.create_error_bounds(q_H, had_S))

    @cached_property
    def source(self) -> LogitSource:
        """The logits of all items for blocks of queries; the same estimates as for single ones."""
        scan = self._passes.scan
        if isinstance(self._items, FileRows):
            self._items.read_mapped()
        return FloatSource(self._of["item.weight"][:-1], self._of["bias"][:-1]) if scan is None else ScanSource(scan)

    def create_error_bounds(self, q_H: Floats, exact: Numbers) -> ScanErrorBounds | None:
        """Return the error bounds of a query's logits, which are exact at some places; None: all are exact."""
        return self._passes.create_error_bounds(q_H, exact)

    @staticmethod
    def share_out(
        scores_I: Floats,
        had_S: Numbers,
        new: SparseValues,
        again: RepeatScores | None,
        rough: ScanErrorBounds | None = None,
    ) -> Relevance:
        """Turn the logits of all items into ``score_items``, in place. ``rough`` has their error bounds."""
        scores_I[new.items] += new.values
        fits_S = scores_I[had_S]
        scores_I[had_S] = -np.inf
        if rough is not None:
            rough.settle_best(scores_I, SETTLED)
        most = np.maximum.reduce(scores_I)
        if most == -np.inf:  # no item is new
            if again is None:
                return Relevance(None)
            scores_I[:] = 0
            scores_I[had_S] = again.shares
            return Relevance(scores_I)
        scores_I -= most
        np.exp(scores_I, out=scores_I)
        total = np.add.reduce(scores_I)
        if again is None:
            scores_I *= 1 / total
            return Relevance(scores_I, rough)
        logit = again.logit
        if again.evidence:
            logit += again.evidence * (_sum_exp(fits_S) - float(most) - math.log(total))
        share = 0.5 + 0.5 * math.tanh(0.5 * logit)
        scores_I *= (1 - share) / total
        scores_I[had_S] = share * again.shares
        return Relevance(scores_I, rough)


class Relevance(NamedTuple):
    """The probabilities of all items after a history."""

    shares: Floats | None
    """float32[I]; None if the history tells nothing."""
    rough: ApproximateScores | None = None
    """Their error bounds; None: they are exact."""


class RequestMoment(NamedTuple):
    """The moment at which a request counts as asked, and the user's activity."""

    at: float
    """Seconds since the epoch."""
    visit: int
    """The number of its visit."""
    events: int
    """The number of the user's events before it."""
    known_3: Floats
    """``compute_user_activity``."""


class RepeatScores(NamedTuple):
    """The scores of a history's items."""

    logit: float
    """The logit of p(again)."""
    evidence: float
    """The factor of how much better the history's items fit than new ones, which is added to the logit."""
    shares: Floats
    """[S] p(i | again)."""


class SparseValues(NamedTuple):
    """Values of some items, each item once, or of all items in order."""

    items: Numbers | slice
    values: Floats

    @classmethod
    def from_items(cls, items: Numbers, values: npt.NDArray[Any], many: int) -> Self:
        """Store the values of ``items``, ascending, out of ``many``, in the form with fewer bytes."""
        if 3 * len(items) < many:
            return cls(items, values.astype(np.float32))
        values_I = np.zeros(many, np.float32)
        values_I[items] = values
        return cls(slice(None), values_I)


class CounterLogits(NamedTuple):
    """The counters' terms of the logits after a history."""

    new: SparseValues
    """Of new items."""
    again: Floats
    """[S] Of the history's items."""

    @classmethod
    def create_empty(cls, had: int) -> Self:
        return cls(SparseValues(np.zeros(0, np.int64), np.zeros(0, np.float32)), np.zeros(had, np.float32))


class NumpyRepeatHead:
    """``network.RepeatHead``."""

    def __init__(self, config: HrnnConfig, weights: Mapping[str, Floats]) -> None:
        of = {name.removeprefix("again."): weight for name, weight in weights.items() if name.startswith("again.")}
        self._fit_H, self._bias_I, self._worth_W = of["fit"], of["bias.weight"][:, 0], of["worth.weight"][0]
        self._known_FW, self._known_W = of["known.weight"].T, of["known.bias"]
        self._range = of["least"], of["most"], of["mean"], of["scale"]
        self._type_VW = of.get("of_type.weight")
        self._share_H, self._share_3 = np.split(of["of_user.weight"][0], [config.hidden])
        self._share, self._count = float(of["of_user.bias"][0]), float(of["count"])
        self.evidence = float(of["evidence"])

    def compute_share_logit(self, q_H: Floats, moment: RequestMoment) -> float:
        """Return the logit of the probability that the user repeats an item."""
        return float(self._share_H @ q_H + self._share_3 @ moment.known_3) + self._share

    def compute_shares(
        self, q_H: Floats, v_SH: Floats, taken: TakenItems, moment: RequestMoment, more_S: Floats
    ) -> Floats:
        """float32[S]: return the softmax over the history's items."""
        x_SF = compute_repeat_features(taken.as_of_request(moment)).astype(np.float32)
        a_S: Floats = self._count * x_SF[:, COUNT] + more_S
        a_S += self._bias_I[taken.items]
        a_S += v_SH @ (q_H * self._fit_H)
        least_F, most_F, mean_F, scale_F = self._range
        np.minimum(np.maximum(x_SF, least_F, out=x_SF), most_F, out=x_SF)
        x_SF -= mean_F
        x_SF *= scale_F
        x_SW: Floats = x_SF @ self._known_FW
        x_SW += self._known_W
        if self._type_VW is not None:
            x_SW += self._type_VW[taken.types]
        x_SW *= apply_sigmoid(x_SW)
        a_S += x_SW @ self._worth_W
        a_S -= np.maximum.reduce(a_S)
        np.exp(a_S, out=a_S)
        a_S *= 1 / np.add.reduce(a_S)
        return a_S

    @staticmethod
    def get_shapes(config: HrnnConfig) -> dict[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {
            "fit": (config.hidden,),
            "bias.weight": (config.items, 1),
            "known.weight": (REPEAT_WIDTH, FEATURES),
            "known.bias": (REPEAT_WIDTH,),
            "worth.weight": (1, REPEAT_WIDTH),
            "of_user.weight": (1, config.hidden + 3),
            "of_user.bias": (1,),
            **dict.fromkeys(("count", "evidence"), ()),
            **dict.fromkeys(("least", "most", "mean", "scale"), (FEATURES,)),
        }
        if config.event_types:
            found["of_type.weight"] = (config.event_types + 1, REPEAT_WIDTH)
        return {f"again.{name}": shape for name, shape in found.items()}


def get_weight_shapes(config: HrnnConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of every weight of this network. Raises ValueError for a network that is never served."""
    if config.item_features or config.cell not in LAYER_TYPES:
        raise ValueError(f"a network of the form {config} is not served")
    hidden = config.hidden
    found: dict[str, tuple[int, ...]] = {
        "item.weight": (config.items + 1, hidden),
        "bias": (config.items + 1,),
        "gap.weight": (GAP_BUCKETS, hidden),
        "norm.weight": (hidden,),
        "scale.weight": (GAP_BUCKETS, hidden),
        "shift.weight": (GAP_BUCKETS, hidden),
    }
    for layer in range(LAYERS):
        found |= {
            f"layers.{layer}.{name}": shape for name, shape in LAYER_TYPES[config.cell].get_shapes(hidden).items()
        }
    if config.repeats:
        found |= NumpyRepeatHead.get_shapes(config)
    embedded = {"type": config.event_types and config.event_types + 1, "user": config.user_features}
    embedded["context"] = config.context_features
    return found | {f"of_{name}.weight": (size, hidden) for name, size in embedded.items() if size}


def find_gap_bucket(seconds: float) -> int:
    """``find_gap_buckets`` of one number."""
    return bisect_right(_EDGES, seconds)


def find_gap_buckets(seconds: Seconds) -> Numbers:
    """Return the buckets that ``time_buckets.bucket_gaps`` returns."""
    return _EDGES_G.searchsorted(seconds, "right")


def _compute_bucket_edges() -> list[float]:
    """Return the least seconds of each bucket from 1 on, to the bit.

    The logarithm of float32 puts the last seconds of a bucket into the next.
    """
    found = []
    for bucket in range(1, GAP_BUCKETS):
        below, edge = 2.0 ** (bucket - 1) - 1, 2.0**bucket
        while below < (middle := (below + edge) / 2) < edge:
            reached = np.float32(math.log2(np.float32(middle) + np.float32(1))) >= bucket
            below, edge = (below, middle) if reached else (middle, edge)
        found.append(edge)
    return found


_EDGES = _compute_bucket_edges()
_EDGES_G = np.array(_EDGES)


def _select_layer(weights: Mapping[str, Floats], layer: int) -> dict[str, Floats]:
    prefix = f"layers.{layer}."
    return {name.removeprefix(prefix): weight for name, weight in weights.items() if name.startswith(prefix)}


def _sum_exp(x: Floats) -> float:
    most = float(np.maximum.reduce(x))
    return most + math.log(float(np.add.reduce(np.exp(x - most))))
