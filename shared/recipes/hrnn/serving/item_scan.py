"""A scan over all items of a large catalogue in 8-bit vectors, and exact logits of those that may be among the best.

Such a request waits for memory, and 8-bit vectors are a fourth of it. Each vector is a scale s_i and codes c_i in
[-127, 127], with a rest e_i. A query is a scale and 16 bits, in two halves that are multiplied as two queries, which
takes no longer: q~, and q = q~ + d. Then

    q . v_i = q~ . (s_i c_i) + q~ . e_i + d . v_i        estimated: the first term, to the last bit

so that an estimate is at most |q~| |e_i| + |d| |v_i| from the logit (Cauchy-Schwarz). With A the greatest |e_i| / s_i
and B the greatest |v_i| / s_i this is at most s_i (|q~| A + |d| B). A request needs the float32 vectors of those items
alone whose estimate is no further below the best ones than the bounds of both allow. No other item can be among the
best, so the best items found are always the best, not only most of the time.

Shapes: B queries, H hidden, I items, C items of a chunk, K some items.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.recipes.distribution import find_contenders, find_score_threshold
from shared.recipes.hrnn.serving.file_rows import FileRows
from shared.recipes.hrnn.serving.int8_products import MOST, Codes, Int8Products, find_query_range

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]

CHUNK = 131072
"""Items of one product. Larger chunks need fewer calls; the sums of this many still fit a cache."""

SLACK = 2e-5
"""The part of a logit that float32 may round away between the products and a score."""


class QuantizedScan:
    """The 8-bit vectors of all items. ``vectors_IH`` and ``bias_I`` may be mapped. Threads may share it."""

    def __init__(self, vectors_IH: Floats, bias_I: Floats) -> None:
        self._rows = FileRows(vectors_IH)
        self._bias_I = bias_I
        self._reach = find_query_range()
        self._scale_I = np.empty(len(bias_I), np.float32)
        self._products: list[Int8Products] = []
        #: Buffers for sums: as many as there have been passes at once.
        self._rooms: list[npt.NDArray[np.int32]] = []
        self._left = self._whole = 0.0
        for begin in range(0, len(bias_I), CHUNK):
            vectors_CH = vectors_IH[begin : begin + CHUNK]
            scale_C = self._scale_I[begin : begin + CHUNK]
            scale_C[:] = np.maximum(np.abs(vectors_CH).max(1) / MOST, np.finfo(np.float32).tiny)
            coded_CH = _quantize_vectors(vectors_CH, scale_C)
            units_CH = vectors_CH / scale_C[:, None]
            self._whole = max(self._whole, _find_greatest_length(units_CH))
            units_CH -= coded_CH
            self._left = max(self._left, _find_greatest_length(units_CH))
            self._products.append(Int8Products(coded_CH.astype(np.int8), self._reach + 1))
        self._widest = float(self._scale_I.max(initial=0.0))
        self._slack = SLACK * (1 + float(np.abs(bias_I).max(initial=0.0)))
        self._rows.release_pages()
        _trim_heap()

    def estimate_logits(self, queries: Sequence[Floats], logits: Sequence[Floats]) -> None:
        """Write estimates of each query's logits with their biases, each into its own float32[I]."""
        asked = [_QuantizedQuery(q_H, self._reach) for q_H in queries]
        halves_BH = np.concatenate([each.halves_2H for each in asked])
        needed = len(halves_BH) * min(CHUNK, len(self._bias_I))
        room = self._rooms.pop() if self._rooms else np.empty(needed, np.int32)
        if len(room) < needed:
            room = np.empty(needed, np.int32)
        for number, products in enumerate(self._products):
            chunk = slice(number * CHUNK, (number + 1) * CHUNK)
            scale_C, bias_C = self._scale_I[chunk], self._bias_I[chunk]
            sums_BC = products.multiply_queries(halves_BH, room)
            for each, sums_C, rest_C, logits_I in zip(asked, sums_BC[::2], sums_BC[1::2], logits, strict=True):
                logits_C = logits_I[chunk]
                sums_C *= self._reach + 1
                sums_C += rest_C
                np.copyto(logits_C, sums_C, casting="unsafe")
                logits_C *= scale_C
                logits_C *= each.scale
                logits_C += bias_C
        self._rooms.append(room)

    def iter_codes(self, size: int) -> Iterator[Codes]:
        """Yield the codes int8[C,H] of ``size`` items at a time, computed from their vectors.

        From then on exact logits are computed from the mapped vectors, as for blocks of queries.
        """
        for begin in range(0, len(self._bias_I), size):
            chunk = slice(begin, begin + size)
            yield _quantize_vectors(self._rows.array_IH[chunk], self._scale_I[chunk]).astype(np.int8)
        self._rows.release_pages()

    def quantize_queries(self, q_QH: Floats) -> tuple[npt.NDArray[np.uint8], Floats]:
        """Return (uint8[2Q,H]: the first halves of all queries, then the second ones; float32[Q]: their scales)."""
        asked = [_QuantizedQuery(q_H, self._reach) for q_H in q_QH]
        halves = [each.halves_2H[half] for half in (0, 1) for each in asked]
        return np.stack(halves), np.array([each.scale for each in asked])

    def join_halves(self, sums_BC: npt.NDArray[np.int32], scale_Q: Floats, begin: int, logits_QC: Floats) -> None:
        """Write the logits of a chunk from the sums of ``quantize_queries``, which are overwritten."""
        chunk = slice(begin, begin + logits_QC.shape[1])
        sums_QC = sums_BC[: len(logits_QC)]
        sums_QC *= self.base
        sums_QC += sums_BC[len(logits_QC) :]
        np.copyto(logits_QC, sums_QC, casting="unsafe")
        logits_QC *= self._scale_I[chunk]
        logits_QC *= scale_Q[:, None]
        logits_QC += self._bias_I[chunk]

    @property
    def base(self) -> int:
        """How many times as much a step of a query's first half is as one of its second half."""
        return self._reach + 1

    def create_error_bounds(self, q_H: Floats, exact: npt.NDArray[np.integer[Any]]) -> ScanErrorBounds:
        """Return the error bounds of a query's estimates. ``exact``: places with scores from another source."""
        return ScanErrorBounds(self, q_H, exact)


class ScanErrorBounds:
    """The error bounds of one query's estimates, and their corrections."""

    def __init__(self, scan: QuantizedScan, q_H: Floats, exact: npt.NDArray[np.integer[Any]]) -> None:
        self._scan = scan
        self._q_H = q_H.astype(np.float64)
        self._asked = asked = _QuantizedQuery(q_H, scan._reach)
        near_H = asked.steps_H * np.float64(asked.scale)
        near, off = np.linalg.norm(near_H), np.linalg.norm(self._q_H - near_H)
        self._bound = float(near * scan._left + off * scan._whole)
        self.greatest_bound = scan._widest * self._bound + scan._slack
        self._exact = np.unique(exact)

    def get_bounds(self, places_K: Places) -> npt.NDArray[np.float64]:
        bounds_K = self._scan._scale_I[places_K].astype(np.float64) * self._bound + self._scan._slack
        bounds_K[self._is_exact(places_K)] = 0.0
        return bounds_K

    def compute_corrections(self, places_K: Places) -> npt.NDArray[np.float64]:
        corrections_K = np.zeros(len(places_K))
        (rough,) = (~self._is_exact(places_K)).nonzero()
        places = places_K[rough]
        scale_K = self._scan._scale_I[places]
        vectors_KH = self._scan._rows[places]
        # Not by a matrix product: equal rows must have equal sums, in any position.
        exact_K = np.einsum("kh,h->k", vectors_KH, self._q_H)
        estimated_K = np.einsum(
            "kh,h->k", _quantize_vectors(vectors_KH, scale_K), self._asked.steps_H, dtype=np.float64
        )
        corrections_K[rough] = exact_K - estimated_K * scale_K * self._asked.scale
        return corrections_K

    def settle_some(self, places_K: Places, logits_K: Floats, count: int) -> npt.NDArray[np.bool_]:
        """``settle_best`` of some items, ascending, that contain the best; return which of them it made exact."""
        settled_K = find_contenders(logits_K.astype(np.float64), self.get_bounds(places_K), count)
        logits_K[settled_K] += self.compute_corrections(places_K[settled_K])
        self._exact = np.union1d(self._exact, places_K[settled_K])
        return settled_K

    def settle_best(self, logits_I: Floats, count: int) -> None:
        """Correct the estimates, to which terms may have been added, so that the best ``count`` are exact and are the
        best. Items at -inf are excluded.
        """
        least = max(find_score_threshold(logits_I, count), float(np.finfo(np.float32).min))
        (places,) = (logits_I >= least - 2 * self.greatest_bound).nonzero()
        places = places[find_contenders(logits_I[places].astype(np.float64), self.get_bounds(places), count)]
        logits_I[places] += self.compute_corrections(places)
        self._exact = np.union1d(self._exact, places)

    def _is_exact(self, places_K: Places) -> npt.NDArray[np.bool_]:
        if not len(self._exact):
            return np.zeros(len(places_K), np.bool_)
        at_K = self._exact.searchsorted(places_K)
        at_K[at_K == len(self._exact)] = 0
        found_K: npt.NDArray[np.bool_] = self._exact[at_K] == places_K
        return found_K


class _QuantizedQuery:
    """A query as a scale and whole steps, and each step as two bytes: first * (reach + 1) + second."""

    def __init__(self, q_H: Floats, reach: int) -> None:
        base = reach + 1
        most = reach * base
        self.scale = np.float32(max(float(np.abs(q_H).max(initial=0.0)) / most, float(np.finfo(np.float32).tiny)))
        self.steps_H = np.clip(np.rint(q_H / np.float64(self.scale)), -most, most)
        first_H = np.rint(self.steps_H / base)
        self.halves_2H = (np.stack([first_H, self.steps_H - base * first_H]) + base).astype(np.uint8)


def _quantize_vectors(vectors_CH: Floats, scale_C: Floats) -> Floats:
    """Return the codes as floats. Equal vectors always have equal codes."""
    coded_CH: Floats = np.rint(vectors_CH / scale_C[:, None])
    return np.clip(coded_CH, -MOST, MOST, out=coded_CH)


def _find_greatest_length(vectors_CH: Floats) -> float:
    """Return an upper bound of the vectors' lengths, above float32's rounding."""
    return float(np.sqrt(np.einsum("ch,ch->c", vectors_CH, vectors_CH).max(initial=0.0))) * (1 + 1e-5)


def _trim_heap() -> None:
    """Return freed memory of the heap to the kernel; do nothing without glibc."""
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
