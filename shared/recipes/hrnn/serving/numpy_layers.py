"""The layers of network.py in numpy: for the events of one user, and for those of a block of users.

Shapes: T events of a user, Q users, N events of a block of users, H hidden, W state width, V several of these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from shared.recipes.hrnn.config import GAP_BUCKETS
from shared.recipes.hrnn.serving.file_rows import Floats

Numbers = npt.NDArray[np.int64]

EPS = np.finfo(np.float32).eps
"""The epsilon of torch's RMSNorm for float32."""


class BlockSteps(NamedTuple):
    """Consecutive events of several users, in rows: the events of the first step, of the second, and so on."""

    active: Sequence[int]
    """At each step so many users, the first ones, have an event."""
    gap: Numbers  # [N] the bucket of the seconds since the user's previous event
    keep: npt.NDArray[np.bool_]  # [N,2] whether the event keeps the two halves of the state


class NumpyLayer(Protocol):
    """A layer of the network, with the names of its class in network.py."""

    width: int
    """The width of its state."""

    def __init__(self, weights: Mapping[str, Floats]) -> None: ...

    @staticmethod
    def get_shapes(hidden: int) -> dict[str, tuple[int, ...]]: ...

    def read_events(
        self, x_TH: Floats, gap_T: Numbers, keep_T2: npt.NDArray[np.bool_], h_W: Floats
    ) -> tuple[Floats, Floats]: ...

    def read_block(self, x_NH: Floats, steps: BlockSteps, h_QW: Floats, kept: Numbers | None) -> Floats:
        """Read events of several users, and return the layer's output after each.

        ``h_QW`` has their states, which change in place. With ``kept`` the outputs of these rows alone are returned.
        """
        ...


class NumpyLinearRecurrence:
    """``network.LinearRecurrence``."""

    def __init__(self, weights: Mapping[str, Floats]) -> None:
        self._norm_H, self._time_PW = weights["norm.weight"], weights["time.weight"]
        self._into_HV, self._out_WH = weights["into.weight"].T, weights["out.weight"].T
        self.width = len(self._out_WH)

    @staticmethod
    def get_shapes(hidden: int) -> dict[str, tuple[int, ...]]:
        width = 2 * hidden
        return {
            "norm.weight": (hidden,),
            "into.weight": (3 * width, hidden),
            "time.weight": (GAP_BUCKETS, width),
            "out.weight": (hidden, width),
        }

    def read_events(
        self, x_TH: Floats, gap_T: Numbers, keep_T2: npt.NDArray[np.bool_], h_W: Floats
    ) -> tuple[Floats, Floats]:
        gate, v, g = np.split(apply_rms_norm(x_TH, self._norm_H) @ self._into_HV, 3, axis=1)
        a = apply_sigmoid(gate + self._time_PW[gap_T])
        h_TW = v - a * v
        a *= np.repeat(keep_T2, self.width // 2, axis=1)
        for a_W, b_W in zip(a, h_TW, strict=True):
            b_W += a_W * h_W
            h_W = b_W
        return x_TH + (h_TW * g * apply_sigmoid(g)) @ self._out_WH, h_W

    def read_block(self, x_NH: Floats, steps: BlockSteps, h_QW: Floats, kept: Numbers | None) -> Floats:
        width, half = self.width, self.width // 2
        normed_NH = apply_rms_norm(x_NH, self._norm_H)
        into_NV = normed_NH @ self._into_HV[:, : 2 * width]
        a_NW, h_NW = into_NV[:, :width], into_NV[:, width:]
        a_NW += self._time_PW[steps.gap]
        a_NW = apply_sigmoid(a_NW)
        h_NW -= a_NW * h_NW
        a_NW[:, :half] *= steps.keep[:, :1]
        a_NW[:, half:] *= steps.keep[:, 1:]
        begin = 0
        for active in steps.active:
            rows = slice(begin, begin + active)
            a_QW = a_NW[rows]
            a_QW *= h_QW[:active]
            a_QW += h_NW[rows]
            h_QW[:active] = a_QW
            begin += active
        h_NW = a_NW
        if kept is not None:
            x_NH, normed_NH, h_NW = x_NH[kept], normed_NH[kept], h_NW[kept]
        g_NW = normed_NH @ self._into_HV[:, 2 * width :]
        h_NW *= g_NW
        h_NW *= apply_sigmoid(g_NW)
        return x_NH + h_NW @ self._out_WH


class NumpyGatedUnit:
    """``network.GatedUnit``."""

    def __init__(self, weights: Mapping[str, Floats]) -> None:
        self._norm_H, self._time_PV, self._bias_V = weights["norm.weight"], weights["time.weight"], weights["into.bias"]
        self._into_HV, self._recur_HV = weights["into.weight"].T, weights["recur.weight"].T
        self._out_HH = weights["out.weight"].T
        self.width = len(self._out_HH)

    @staticmethod
    def get_shapes(hidden: int) -> dict[str, tuple[int, ...]]:
        return {
            "norm.weight": (hidden,),
            "into.weight": (3 * hidden, hidden),
            "into.bias": (3 * hidden,),
            "time.weight": (GAP_BUCKETS, 3 * hidden),
            "recur.weight": (3 * hidden, hidden),
            "out.weight": (hidden, hidden),
        }

    def read_events(
        self, x_TH: Floats, gap_T: Numbers, keep_T2: npt.NDArray[np.bool_], h_W: Floats
    ) -> tuple[Floats, Floats]:
        into_TV = apply_rms_norm(x_TH, self._norm_H) @ self._into_HV + self._bias_V + self._time_PV[gap_T]
        width, of_session = self.width, self.width // 2
        keep_TW = np.repeat(keep_T2, (of_session, width - of_session), axis=1)
        h_TW = np.empty_like(x_TH)
        for t, (into_V, keep_W) in enumerate(zip(into_TV, keep_TW, strict=True)):
            h_W = h_W * keep_W
            of_state_V = h_W @ self._recur_HV
            reset, update = apply_sigmoid(into_V[: 2 * width] + of_state_V[: 2 * width]).reshape(2, width)
            new = np.tanh(into_V[2 * width :] + reset * of_state_V[2 * width :])
            h_W = h_TW[t] = new + update * (h_W - new)
        return x_TH + h_TW @ self._out_HH, h_W

    def read_block(self, x_NH: Floats, steps: BlockSteps, h_QW: Floats, kept: Numbers | None) -> Floats:
        width, of_session = self.width, self.width // 2
        into_NV = apply_rms_norm(x_NH, self._norm_H) @ self._into_HV
        into_NV += self._bias_V
        into_NV += self._time_PV[steps.gap]
        h_NW, begin = np.empty_like(x_NH), 0
        for active in steps.active:
            rows = slice(begin, begin + active)
            into_QV, h = into_NV[rows], h_QW[:active]
            h[:, :of_session] *= steps.keep[rows, :1]
            h[:, of_session:] *= steps.keep[rows, 1:]
            of_state_QV = h @ self._recur_HV
            gates = apply_sigmoid(into_QV[:, : 2 * width] + of_state_QV[:, : 2 * width])
            new = np.tanh(into_QV[:, 2 * width :] + gates[:, :width] * of_state_QV[:, 2 * width :])
            h -= new
            h *= gates[:, width:]
            h += new
            h_NW[rows] = h
            begin += active
        if kept is not None:
            x_NH, h_NW = x_NH[kept], h_NW[kept]
        return x_NH + h_NW @ self._out_HH


LAYER_TYPES: Mapping[str, type[NumpyLayer]] = {"linear": NumpyLinearRecurrence, "gru": NumpyGatedUnit}


def apply_rms_norm(x_TH: Floats, weight_H: Floats) -> Floats:
    square_T1 = np.einsum("th,th->t", x_TH, x_TH)[:, None]
    normed_TH: Floats = x_TH * (1 / np.sqrt(square_T1 / x_TH.shape[1] + EPS)) * weight_H
    return normed_TH


def apply_sigmoid(x: Floats) -> Floats:
    """Compute the sigmoid by tanh, which never overflows."""
    y: Floats = np.tanh(0.5 * x)
    y *= 0.5
    y += 0.5
    return y
