"""What of a training step torch does not fuse on a CPU, compiled by numba: each a pass over rows that lie in the cache.

Only what trains or evaluates on a CPU imports this. Float32, or bfloat16 as its bits, uint16; sums in float32.
Shapes as in network.py: T steps, B streams, N rows, H hidden, W state width, P buckets of time.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import types
from numba.extending import overload

HOW = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz", "arcp"}}


def compiled(function: Any) -> Any:
    """Compiled at the first call with arguments of these types, and kept on disk where a place for it can be had."""
    try:
        return numba.njit(cache=True, **HOW)(function)
    except RuntimeError:  # neither this folder nor the user's can be written
        return numba.njit(**HOW)(function)


ZERO, ONE = np.float32(0), np.float32(1)
LEAST_MEAN = np.finfo(np.float32).eps
"""What torch's rms_norm adds to the mean square."""
LOG2_E = np.float32(1 / np.log(2))
LEAST, MOST = np.float32(-126), np.float32(126)
# 2^f for 0 <= f < 1, to 2e-7: least squares of the relative error at Chebyshev's points.
C0, C1, C2, C3, C4, C5 = (np.float32(c) for c in (0.99999993, 0.69315307, 0.24015362, 0.05582632, 0.00898934, 0.00187758))
LAST, SIXTEEN, BELOW_HALF = np.int32(1), np.int32(16), np.int32(0x7FFF)


@compiled
def widened(x: Any) -> Any:
    return np.int32(np.int32(x) << SIXTEEN).view(np.float32)


@compiled
def rounded(x: Any) -> Any:
    bits = np.float32(x).view(np.int32)
    return np.int16(np.int32(bits + BELOW_HALF + np.int32(np.int32(bits >> SIXTEEN) & LAST)) >> SIXTEEN)


def number(x: Any) -> Any:
    """float32 of what lies in an array."""


def as_in(place: Any, x: Any) -> Any:
    """What to write there: ``x``, rounded to the nearest even where the array holds bfloat16."""


@overload(number, inline="always", strict=False)
def _number(x: Any) -> Any:
    return (lambda x: widened(x)) if isinstance(x, types.Integer) else (lambda x: x)


@overload(as_in, inline="always", strict=False)
def _as_in(place: Any, x: Any) -> Any:
    return (lambda place, x: rounded(x)) if isinstance(place, types.Integer) else (lambda place, x: x)


@compiled
def sigmoid(x: Any) -> Any:
    t = min(max(-x * LOG2_E, LEAST), MOST)
    whole = np.floor(t)
    f = t - whole
    of_f = C0 + f * (C1 + f * (C2 + f * (C3 + f * (C4 + f * C5))))
    power = np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32)
    return ONE / (ONE + of_f * power)


@compiled
def norm(_: int, begin: int, end: int, x_NH: Any, weight_H: Any, y_NH: Any, rms_N: Any) -> None:
    """y = x / rms(x) * weight. ``rms_N`` gets the reciprocals."""
    H = x_NH.shape[1]
    for n in range(begin, end):
        x, y = x_NH[n], y_NH[n]
        total = ZERO
        for h in range(H):
            total += x[h] * x[h]
        rms_N[n] = rms = np.float32(ONE / np.sqrt(total / np.float32(H) + LEAST_MEAN))
        for h in range(H):
            y[h] = as_in(y[h], x[h] * rms * weight_H[h])


@compiled
def norm_back(
    part: int,
    begin: int,
    end: int,
    dy_NH: Any,
    x_NH: Any,
    rms_N: Any,
    weight_H: Any,
    past_NH: Any,
    dx_NH: Any,
    dweight_H: Any,
) -> None:
    """``past_NH`` is the gradient that came past the norm, by the residual; None where there is none."""
    H = x_NH.shape[1]
    for n in range(begin, end):
        dy, x, dx, rms = dy_NH[n], x_NH[n], dx_NH[n], rms_N[n]
        dweight = dweight_H[part]
        along = ZERO
        for h in range(H):
            d = number(dy[h])
            along += d * weight_H[h] * x[h]
            dweight[h] += d * x[h] * rms
        along = np.float32(along * rms * rms / np.float32(H))
        if past_NH is None:
            for h in range(H):
                dx[h] = (number(dy[h]) * weight_H[h] - x[h] * along) * rms
        else:
            past = past_NH[n]
            for h in range(H):
                dx[h] = (number(dy[h]) * weight_H[h] - x[h] * along) * rms + past[h]


@compiled
def gated_scan(
    _: int,
    begin: int,
    end: int,
    into_TB32R: Any,
    time_P2R: Any,
    gap_TB: Any,
    keep_TB2: Any,
    before_B2R: Any,
    h_TB2R: Any,
    y_TB2R: Any,
) -> None:
    """For some streams h_t = a h_(t-1) + (1 - a) v, with a = sigmoid(gate + time), and y = h silu(g)."""
    for t in range(len(h_TB2R)):
        for b in range(begin, end):
            for of_user in range(2):
                gates, vs, gs = into_TB32R[t, b, 0, of_user], into_TB32R[t, b, 1, of_user], into_TB32R[t, b, 2, of_user]
                keep, time = keep_TB2[t, b, of_user], time_P2R[gap_TB[t, b], of_user]
                before = before_B2R[b, of_user] if t == 0 else h_TB2R[t - 1, b, of_user]
                h, y = h_TB2R[t, b, of_user], y_TB2R[t, b, of_user]
                for r in range(len(h)):
                    a, v, g = sigmoid(number(gates[r]) + time[r]), number(vs[r]), number(gs[r])
                    h_r = v + a * (keep * before[r] - v)
                    h[r] = h_r
                    y[r] = as_in(y[r], h_r * g * sigmoid(g))


@compiled
def gated_scan_back(
    part: int,
    begin: int,
    end: int,
    dy_TB2R: Any,
    into_TB32R: Any,
    time_P2R: Any,
    gap_TB: Any,
    keep_TB2: Any,
    before_B2R: Any,
    h_TB2R: Any,
    dinto_TB32R: Any,
    dtime_P2R: Any,
    dh_B2R: Any,
) -> None:
    """The adjoint, last step first; ``dh_B2R`` is what later steps say of the state, 0 at first."""
    for t in range(len(h_TB2R) - 1, -1, -1):
        for b in range(begin, end):
            for of_user in range(2):
                gates, vs, gs = into_TB32R[t, b, 0, of_user], into_TB32R[t, b, 1, of_user], into_TB32R[t, b, 2, of_user]
                dgates, dvs = dinto_TB32R[t, b, 0, of_user], dinto_TB32R[t, b, 1, of_user]
                dgs, dy = dinto_TB32R[t, b, 2, of_user], dy_TB2R[t, b, of_user]
                keep, time = keep_TB2[t, b, of_user], time_P2R[gap_TB[t, b], of_user]
                dtime = dtime_P2R[part, gap_TB[t, b], of_user]
                before = before_B2R[b, of_user] if t == 0 else h_TB2R[t - 1, b, of_user]
                h, dh = h_TB2R[t, b, of_user], dh_B2R[b, of_user]
                for r in range(len(h)):
                    a, v, g, d = sigmoid(number(gates[r]) + time[r]), number(vs[r]), number(gs[r]), number(dy[r])
                    s = sigmoid(g)
                    d_h = d * g * s + dh[r]
                    dh[r] = keep * a * d_h
                    dv = d_h - a * d_h
                    dgate = (keep * before[r] - v) * a * dv
                    dtime[r] += dgate
                    dgates[r], dvs[r] = as_in(dgates[r], dgate), as_in(dvs[r], dv)
                    dgs[r] = as_in(dgs[r], d * h[r] * s * (ONE + g - g * s))


@compiled
def look_up(_: int, begin: int, end: int, one_IH: Any, ones_N: Any, other_PH: Any, others_N: Any, x_NH: Any) -> None:
    """The sum of a row of either."""
    for n in range(begin, end):
        x, one, other = x_NH[n], one_IH[ones_N[n]], other_PH[others_N[n]]
        for h in range(len(x)):
            x[h] = one[h] + other[h]


@compiled
def look_up_back(dx_NH: Any, done_IH: Any, ones_N: Any, dother_PH: Any, others_N: Any) -> None:
    for n in range(len(dx_NH)):
        dx, done, dother = dx_NH[n], done_IH[ones_N[n]], dother_PH[others_N[n]]
        for h in range(len(dx)):
            done[h] += dx[h]
            dother[h] += dx[h]


@compiled
def scale_and_shift(
    _: int, begin: int, end: int, x_NH: Any, scale_PH: Any, shift_PH: Any, gap_N: Any, y_NH: Any
) -> None:
    for n in range(begin, end):
        x, y, scale, shift = x_NH[n], y_NH[n], scale_PH[gap_N[n]], shift_PH[gap_N[n]]
        for h in range(len(x)):
            y[h] = x[h] * scale[h] + shift[h]


@compiled
def scale_and_shift_back(
    part: int,
    begin: int,
    end: int,
    dy_NH: Any,
    x_NH: Any,
    scale_PH: Any,
    gap_N: Any,
    dx_NH: Any,
    dscale_PH: Any,
    dshift_PH: Any,
) -> None:
    for n in range(begin, end):
        dy, x, dx, scale = dy_NH[n], x_NH[n], dx_NH[n], scale_PH[gap_N[n]]
        dscale, dshift = dscale_PH[part, gap_N[n]], dshift_PH[part, gap_N[n]]
        for h in range(len(x)):
            dx[h] = dy[h] * scale[h]
            dscale[h] += dy[h] * x[h]
            dshift[h] += dy[h]


@compiled
def drop(_: int, begin: int, end: int, x_N: Any, bytes_N: Any, dropped: int, y_N: Any) -> None:
    """0 where the byte is below ``dropped``; what stays stands for that, too."""
    kept = np.float32(256 / (256 - dropped))
    x, byte, y = x_N[begin:end], bytes_N[begin:end], y_N[begin:end]
    for n in range(len(x)):  # from 0: numba sees that it is no place counted from the end, and LLVM has no branch
        y[n] = x[n] * kept if byte[n] >= dropped else ZERO
