"""The network of network.py for one user at a time, in numpy: what it has read of a history goes on with new events.

A request waits for calls, not for arithmetic: an event is some forty short calls of numpy, and twice as many longer
ones of torch. The equations stand in network.py, and tests hold this to them to 1e-5. The weights may be mapped from
their file: they are only read, and all processes of a machine share them.

Shapes: T events, L layers, H hidden, W state width, I items, S distinct items of a history, F features.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from shared.cores import granted_cores
from shared.recipes.hrnn.form import COUNT_BUCKETS, DISTANCE_BUCKETS, GAP_BUCKETS, LAYERS, SESSION_SECONDS, Form
from shared.recipes.hrnn.passes import Floats, Passes

Numbers = npt.NDArray[np.int64]
Seconds = npt.NDArray[np.float64]

EPS = np.finfo(np.float32).eps
"""Of torch's RMSNorm for float32."""


class Read(NamedTuple):
    """What is known after some events."""

    state: Floats  # [L,W]
    x: Floats  # [H] after the last of them


class Taken(NamedTuple):
    """The items of a history, each once: what the repeat head looks at."""

    items: Numbers  # [S]
    lasts: Numbers  # [S] the number of the event that took it last, from 1
    at: Seconds  # [S] when that was, since the epoch
    counts: Numbers  # [S] how often it was taken
    types: Numbers  # [S] the type of the last time; 0: none


class Weights:
    """Those of a network of a form, by torch's names for them, in the shapes that ``shapes`` tells."""

    def __init__(self, form: Form, weights: Mapping[str, Floats]) -> None:
        self.form = form
        self._of = weights
        self._layers = [CELLS[form.cell](_of_layer(weights, layer)) for layer in range(LAYERS)]
        self._passes = Passes(weights["item.weight"][:-1], weights["bias"][:-1], granted_cores())
        self._repeat_H, self._repeat_bias = weights["repeat.weight"][0], float(weights["repeat.bias"][0])
        self._ages: Floats | None = None
        if form.repeats:
            distance, seconds, count, type_ = (weights[f"ages.{number}"] for number in range(len(form.ages)))
            self._ages = (distance[:, None, None, None] + seconds[:, None, None] + count[:, None] + type_).ravel()
        #: From one bucket of seconds to the next, in ``_ages``.
        self._step = COUNT_BUCKETS * (form.event_types + 1)

    def features(self, name: str, values: npt.ArrayLike, weights: npt.ArrayLike) -> Floats:
        """What F features of the "user" or "context" say: their vectors' weighted sum, [H]."""
        summed_H: Floats = np.asarray(weights, np.float32) @ self._of[f"of_{name}.weight"][np.asarray(values)]
        return summed_H

    def start(self) -> Floats:
        """The state_LW of users of whom nothing is known."""
        return np.zeros((LAYERS, self._layers[0].width), np.float32)

    def read(
        self, items_T: Numbers, before_T: Seconds, types_T: Numbers, user_H: Floats | None, state_LW: Floats | None
    ) -> Read:
        """Reads T events more, at least one; ``state_LW`` None: a user begins with the first.

        START is the number after the last item. ``before_T`` tells the seconds since the event before each, ``types_T``
        their types, 0: none.
        """
        gap_T = gap_buckets(before_T)
        keep_T2 = np.ones((len(items_T), 2), np.bool_)
        keep_T2[:, 0] = before_T <= SESSION_SECONDS
        if state_LW is None:
            state_LW = self.start()
            keep_T2[0] = False
        x_TH = self._of["item.weight"][items_T] + self._of["gap.weight"][gap_T]
        if self.form.event_types:
            x_TH += self._of["of_type.weight"][types_T]
        if user_H is not None:
            x_TH += user_H
        states = []
        for layer, h_W in zip(self._layers, state_LW, strict=True):
            x_TH, h_W = layer.read(x_TH, gap_T, keep_T2, h_W)
            states.append(h_W)
        return Read(np.stack(states), _normed(x_TH[-1:], self._of["norm.weight"])[0])

    def query(self, x_H: Floats, after: float, context_H: Floats | None) -> Floats:
        """q_H: x seen ``after`` seconds later, when somebody asks."""
        gap = gap_bucket(after)
        q_H: Floats = x_H * self._of["scale.weight"][gap]
        q_H += self._of["shift.weight"][gap]
        if context_H is not None:
            q_H += context_H
        return q_H

    def scores(self, q_H: Floats, taken: Taken, codes_S: Numbers, now: float) -> Floats:
        """float32[I]: the softmax over all items, of somebody who asks at ``now`` and whose ``codes`` these are."""
        scores_I = self._passes.logits(q_H)
        if len(taken.items):
            repeat = float(self._repeat_H @ q_H) + self._repeat_bias
            if self._ages is None:
                scores_I[taken.items] += repeat
            else:
                scores_I[taken.items] += repeat + self._ages[self.aged(codes_S, taken, now)]
        scores_I -= np.maximum.reduce(scores_I)
        np.exp(scores_I, out=scores_I)
        scores_I *= 1 / np.add.reduce(scores_I)
        return scores_I

    def codes(self, taken: Taken, events: int) -> Numbers:
        """int64[S]: what is taken of so many events in the words of ``streams.pair_codes``, the times left out."""
        codes_S = np.minimum(_log2(events + 1 - taken.lasts), DISTANCE_BUCKETS - 1)
        codes_S = codes_S * (GAP_BUCKETS * COUNT_BUCKETS) + np.minimum(_log2(taken.counts), COUNT_BUCKETS - 1)
        types = self.form.event_types
        return codes_S * (types + 1) + taken.types if types else codes_S

    def aged(self, codes_S: Numbers, taken: Taken, now: float) -> Numbers:
        """int64[S]: the same at ``now``, places in ``Network.age_table``."""
        aged_S = gap_buckets(now - taken.at)
        aged_S *= self._step
        aged_S += codes_S
        return aged_S


def shapes(form: Form) -> dict[str, tuple[int, ...]]:
    """The shape of every weight of a network of this form. Raises ValueError for a form that is never served."""
    if form.item_features or form.cell not in CELLS:
        raise ValueError(f"no network of the form {form} is served")
    hidden = form.hidden
    found: dict[str, tuple[int, ...]] = {
        "item.weight": (form.items + 1, hidden),
        "bias": (form.items + 1,),
        "gap.weight": (GAP_BUCKETS, hidden),
        "norm.weight": (hidden,),
        "scale.weight": (GAP_BUCKETS, hidden),
        "shift.weight": (GAP_BUCKETS, hidden),
        "repeat.weight": (1, hidden),
        "repeat.bias": (1,),
    }
    for layer in range(LAYERS):
        found |= {f"layers.{layer}.{name}": shape for name, shape in CELLS[form.cell].shapes(hidden).items()}
    if form.repeats:
        found |= {f"ages.{number}": (size,) for number, size in enumerate(form.ages)}
    embedded = {"type": form.event_types and form.event_types + 1, "user": form.user_features}
    embedded["context"] = form.context_features
    return found | {f"of_{name}.weight": (size, hidden) for name, size in embedded.items() if size}


class Cell(Protocol):
    """A layer of the network, in the words of its class in network.py."""

    width: int
    """Of its state."""

    def __init__(self, weights: Mapping[str, Floats]) -> None: ...

    @staticmethod
    def shapes(hidden: int) -> dict[str, tuple[int, ...]]: ...

    def read(
        self, x_TH: Floats, gap_T: Numbers, keep_T2: npt.NDArray[np.bool_], h_W: Floats
    ) -> tuple[Floats, Floats]: ...


class Linear:
    """``network.LinearRecurrence``."""

    def __init__(self, weights: Mapping[str, Floats]) -> None:
        self._norm_H, self._time_PW = weights["norm.weight"], weights["time.weight"]
        self._into_HV, self._out_WH = weights["into.weight"].T, weights["out.weight"].T
        self.width = len(self._out_WH)

    @staticmethod
    def shapes(hidden: int) -> dict[str, tuple[int, ...]]:
        width = 2 * hidden
        return {
            "norm.weight": (hidden,),
            "into.weight": (3 * width, hidden),
            "time.weight": (GAP_BUCKETS, width),
            "out.weight": (hidden, width),
        }

    def read(self, x_TH: Floats, gap_T: Numbers, keep_T2: npt.NDArray[np.bool_], h_W: Floats) -> tuple[Floats, Floats]:
        gate, v, g = np.split(_normed(x_TH, self._norm_H) @ self._into_HV, 3, axis=1)
        a = _sigmoid(gate + self._time_PW[gap_T])
        h_TW = v - a * v
        a *= np.repeat(keep_T2, self.width // 2, axis=1)
        for a_W, b_W in zip(a, h_TW, strict=True):
            b_W += a_W * h_W
            h_W = b_W
        return x_TH + (h_TW * g * _sigmoid(g)) @ self._out_WH, h_W


class Gated:
    """``network.GatedUnit``."""

    def __init__(self, weights: Mapping[str, Floats]) -> None:
        self._norm_H, self._time_PV, self._bias_V = weights["norm.weight"], weights["time.weight"], weights["into.bias"]
        self._into_HV, self._recur_HV = weights["into.weight"].T, weights["recur.weight"].T
        self._out_HH = weights["out.weight"].T
        self.width = len(self._out_HH)

    @staticmethod
    def shapes(hidden: int) -> dict[str, tuple[int, ...]]:
        return {
            "norm.weight": (hidden,),
            "into.weight": (3 * hidden, hidden),
            "into.bias": (3 * hidden,),
            "time.weight": (GAP_BUCKETS, 3 * hidden),
            "recur.weight": (3 * hidden, hidden),
            "out.weight": (hidden, hidden),
        }

    def read(self, x_TH: Floats, gap_T: Numbers, keep_T2: npt.NDArray[np.bool_], h_W: Floats) -> tuple[Floats, Floats]:
        into_TV = _normed(x_TH, self._norm_H) @ self._into_HV + self._bias_V + self._time_PV[gap_T]
        width, of_session = self.width, self.width // 2
        keep_TW = np.repeat(keep_T2, (of_session, width - of_session), axis=1)
        h_TW = np.empty_like(x_TH)
        for t, (into_V, keep_W) in enumerate(zip(into_TV, keep_TW, strict=True)):
            h_W = h_W * keep_W
            of_state_V = h_W @ self._recur_HV
            reset, update = _sigmoid(into_V[: 2 * width] + of_state_V[: 2 * width]).reshape(2, width)
            new = np.tanh(into_V[2 * width :] + reset * of_state_V[2 * width :])
            h_W = h_TW[t] = new + update * (h_W - new)
        return x_TH + h_TW @ self._out_HH, h_W


CELLS: Mapping[str, type[Cell]] = {"linear": Linear, "gru": Gated}


def gap_bucket(seconds: float) -> int:
    """``gap_buckets`` of one number."""
    return bisect_right(_EDGES, seconds)


def gap_buckets(seconds: Seconds) -> Numbers:
    """``network.gap_buckets``."""
    return _EDGES_G.searchsorted(seconds, "right")


def _edges() -> list[float]:
    """The least seconds of each bucket from 1 on. float32 has the end of a bucket in the next."""
    found = []
    for bucket in range(1, GAP_BUCKETS):
        below, edge = 2.0 ** (bucket - 1) - 1, 2.0**bucket
        while below < (middle := (below + edge) / 2) < edge:
            reached = np.float32(math.log2(np.float32(middle) + np.float32(1))) >= bucket
            below, edge = (below, middle) if reached else (middle, edge)
        found.append(edge)
    return found


_EDGES = _edges()
_EDGES_G = np.array(_EDGES)


def _of_layer(weights: Mapping[str, Floats], layer: int) -> dict[str, Floats]:
    prefix = f"layers.{layer}."
    return {name.removeprefix(prefix): weight for name, weight in weights.items() if name.startswith(prefix)}


def _log2(numbers: npt.NDArray[np.number]) -> Numbers:
    return np.log2(numbers.astype(np.float32)).astype(np.int64)


def _normed(x_TH: Floats, weight_H: Floats) -> Floats:
    square_T1 = np.einsum("th,th->t", x_TH, x_TH)[:, None]
    normed_TH: Floats = x_TH * (1 / np.sqrt(square_T1 / x_TH.shape[1] + EPS)) * weight_H
    return normed_TH


def _sigmoid(x: Floats) -> Floats:
    """By tanh, which overflows nowhere."""
    y: Floats = np.tanh(0.5 * x)
    y *= 0.5
    y += 0.5
    return y
