"""The best items of many queries at once, found chunk by chunk: the logits of all items are never held together.

A chunk's logits are one product of matrices; what a request adds to them, their sum of exponentials and the items that
may be among the best are taken from the chunk while it is in a core's cache. An item may be among the best as long as
fewer than ``count`` better ones have been met, so that a few times ``count`` items of each query are kept.

Shapes: Q queries, R rows of a part of them, I items, C items of a chunk, H hidden, S items of a history, K candidates,
A items kept apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from shared.recipes.hrnn.serving.file_rows import Floats

Places = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

CHUNK_NUMBERS = 2**18
"""Logits of a chunk: 1 MiB, which a core's second cache holds."""

ROUNDING = 2e-6
"""The part of a logit by which float32 may reorder items between the product and the score."""

LEAST = float(np.finfo(np.float32).min)


class LogitSource(Protocol):
    """Computes the logits of all items in chunks."""

    most_queries: int
    """More queries in one pass would gain nothing."""

    def iter_chunks(self, q_QH: Floats) -> Iterator[tuple[int, Floats]]:
        """Yield (the first place, logits float32[Q,C] with biases) of each chunk, which the next overwrites."""
        ...

    def get_margins(self, q_QH: Floats) -> npt.NDArray[np.float64]:
        """float64[Q]: how far apart two logits must be at least so that their order is certain."""
        ...


class FloatSource:
    """``LogitSource`` of float32 vectors; they may be mapped."""

    most_queries = 512

    def __init__(self, vectors_IH: Floats, bias_I: Floats) -> None:
        self._vectors_IH, self._bias_I = vectors_IH, bias_I

    def iter_chunks(self, q_QH: Floats) -> Iterator[tuple[int, Floats]]:
        size = get_chunk_size(len(q_QH), len(self._bias_I))
        room = np.empty(len(q_QH) * size, np.float32)
        for begin in range(0, len(self._bias_I), size):
            bias_C = self._bias_I[begin : begin + size]
            logits_QC = room[: len(q_QH) * len(bias_C)].reshape(len(q_QH), len(bias_C))
            np.matmul(q_QH, self._vectors_IH[begin : begin + size].T, out=logits_QC)
            logits_QC += bias_C
            yield begin, logits_QC

    def get_margins(self, q_QH: Floats) -> npt.NDArray[np.float64]:
        return np.zeros(len(q_QH))


def get_chunk_size(queries: int, items: int) -> int:
    """Return the number of items of a chunk."""
    return min(items, max(64, CHUNK_NUMBERS // queries))


class SearchedQuery(NamedTuple):
    """One query of a search."""

    q_H: Floats
    had: Places
    """[S] Items that are left out of the sum and of the best."""
    added: tuple[Places | slice, Floats]
    """Items, ascending, each once, and what is added to their logits; or all items."""
    masks: Sequence[Mask | None]
    """The best items are wanted under each of these; None lets every item through."""
    asked: Places
    """[P] Items whose logits are wanted in any case."""
    apart: Places
    """[A] Items that are summed, but are not among the candidates, ascending; the same for all queries of a search."""


class FoundLogits(NamedTuple):
    """The logits of one query."""

    places: Places
    """[K] Ascending: the best ``count`` items under each mask are among them, and they are none of ``had``."""
    logits: Floats
    """[K]"""
    fits: Floats
    """[S] The logits of ``had``."""
    asked: Floats
    """[P] The logits of ``asked``; -inf for those of ``had``."""
    most: float
    """The greatest logit of all items but ``had``, and least; -inf: there are no other items."""
    least: float
    total: float
    """The sum of exp(logit - most) over all items but ``had``."""
    apart: Floats
    """[A] The logits of the items kept apart; -inf for those of ``had``."""


def search_items(source: LogitSource, queries: Sequence[SearchedQuery], count: int) -> list[FoundLogits]:
    """Search the items for each query."""
    found: list[FoundLogits] = []
    for begin in range(0, len(queries), source.most_queries):
        found += _Search(source, queries[begin : begin + source.most_queries], count).run()
    return found


class _Search:
    def __init__(self, source: LogitSource, queries: Sequence[SearchedQuery], count: int) -> None:
        self._source, self._queries, self._apart = source, queries, queries[0].apart
        self._q_QH = np.stack([query.q_H for query in queries])
        many = len(queries)
        self._most_Q = np.full(many, -np.inf, np.float32)
        self._least_Q = np.full(many, np.inf, np.float32)
        self._total_Q = np.zeros(many)
        self._apart_QA = np.empty((many, len(self._apart)), np.float32)
        self._had = _FlatPlaces([query.had for query in queries])
        self._asked = _FlatPlaces([query.asked for query in queries])
        self._dense: list[tuple[int, Floats]] = []
        self._sparse: list[tuple[int, Places, Floats]] = []
        for row, query in enumerate(queries):
            items, values = query.added
            if isinstance(items, slice):
                self._dense.append((row, values))
            elif len(items):
                self._sparse.append((row, items, values))
        margins_Q = source.get_margins(self._q_QH)
        whole = [row for row, query in enumerate(queries) if any(mask is None for mask in query.masks)]
        masked = [(row, mask) for row, query in enumerate(queries) for mask in query.masks if mask is not None]
        self._whole = _Candidates(np.array(whole, np.int64), count, margins_Q)
        self._masked = _Candidates(np.array([row for row, _ in masked], np.int64), count, margins_Q)
        self._masks = [mask for _, mask in masked]

    def run(self) -> list[FoundLogits]:
        for begin, logits_QC in self._source.iter_chunks(self._q_QH):
            self._read_chunk(begin, logits_QC)
        entries = [self._whole.select_best(), self._masked.select_best()]
        rows, places, logits = (np.concatenate(each) for each in zip(*entries, strict=True))
        order = np.lexsort((places, rows))
        rows, places, logits = rows[order], places[order], logits[order]
        fresh = np.ones(len(rows), np.bool_)
        fresh[1:] = (np.diff(rows) != 0) | (np.diff(places) != 0)
        rows, places, logits = rows[fresh], places[fresh], logits[fresh]
        bounds = rows.searchsorted(np.arange(len(self._queries) + 1)).tolist()
        fits, asked = self._had.split_values(), self._asked.split_values()
        return [
            FoundLogits(
                places[begin:end], logits[begin:end], fits[row], asked[row], most, least, total, self._apart_QA[row]
            )
            for row, (begin, end, most, least, total) in enumerate(
                zip(
                    bounds[:-1],
                    bounds[1:],
                    self._most_Q.tolist(),
                    self._least_Q.tolist(),
                    self._total_Q.tolist(),
                    strict=True,
                )
            )
        ]

    def _read_chunk(self, begin: int, logits_QC: Floats) -> None:
        end = begin + logits_QC.shape[1]
        self._add_terms(begin, end, logits_QC)
        rows, columns = self._had.read_chunk(begin, end, logits_QC)
        logits_QC[rows, columns] = -np.inf
        self._asked.read_chunk(begin, end, logits_QC)
        most_Q = np.maximum(self._most_Q, np.maximum.reduce(logits_QC, axis=1))
        first, last = self._apart.searchsorted([begin, end])
        if len(self._apart):
            logits_QC[rows, columns] = np.inf
            np.minimum(self._least_Q, np.minimum.reduce(logits_QC, axis=1), out=self._least_Q)
            logits_QC[rows, columns] = -np.inf
            at = self._apart[first:last] - begin
            apart_QA = self._apart_QA[:, first:last] = logits_QC[:, at]
            logits_QC[:, at] = -np.inf
        self._whole.add_chunk(begin, logits_QC, None)
        if self._masks:
            allowed_RC = np.stack([mask[begin:end] for mask in self._masks])
            self._masked.add_chunk(begin, logits_QC, allowed_RC)
        if last > first:
            logits_QC[:, at] = apart_QA
        self._add_exponentials(most_Q, logits_QC)

    def _add_terms(self, begin: int, end: int, logits_QC: Floats) -> None:
        for row, values in self._dense:
            logits_QC[row] += values[begin:end]
        for row, items, values in self._sparse:
            first, last = items.searchsorted([begin, end])
            logits_QC[row, items[first:last] - begin] += values[first:last]

    def _add_exponentials(self, most_Q: Floats, logits_QC: Floats) -> None:
        """Add a chunk to the sums; its logits are overwritten."""
        known = most_Q > -np.inf
        reference_Q = np.where(known, most_Q, np.float32(0))
        logits_QC -= reference_Q[:, None]
        np.exp(logits_QC, out=logits_QC)
        self._total_Q *= np.exp(np.where(known, self._most_Q - reference_Q, 0.0), dtype=np.float64)
        self._total_Q += np.add.reduce(logits_QC, axis=1)
        self._most_Q = most_Q


class _FlatPlaces:
    """Places of several queries, in the order of the items."""

    def __init__(self, places: Sequence[Places]) -> None:
        lengths = [len(each) for each in places]
        self._ends = np.cumsum(lengths)[:-1]
        flat = np.concatenate(places) if places else np.zeros(0, np.int64)
        self._order = np.argsort(flat, kind="stable")
        self._places = flat[self._order]
        self._rows = np.repeat(np.arange(len(places)), lengths)[self._order]
        self.values = np.empty(len(flat), np.float32)

    def read_chunk(self, begin: int, end: int, logits_QC: Floats) -> tuple[Places, Places]:
        """Take the values of the places in a chunk, and return their rows and columns."""
        first, last = self._places.searchsorted([begin, end])
        rows, columns = self._rows[first:last], self._places[first:last] - begin
        self.values[self._order[first:last]] = logits_QC[rows, columns]
        return rows, columns

    def split_values(self) -> list[Floats]:
        return np.split(self.values, self._ends)


class _Candidates:
    """The items of several queries that may be among the best ``count``."""

    def __init__(self, queries_R: Places, count: int, margins_Q: npt.NDArray[np.float64]) -> None:
        self._queries_R, self._count, self._margins_R = queries_R, count, margins_Q[queries_R]
        #: Items with less cannot be among the best.
        self._least_R = np.full(len(queries_R), LEAST, np.float32)
        self._best_RK = np.full((len(queries_R), count), -np.inf, np.float32)
        self._entries: list[tuple[Places, Places, Floats]] = []
        self._recent: list[tuple[Places, Floats]] = []
        self._chunks = 0

    def add_chunk(self, begin: int, logits_QC: Floats, allowed_RC: Mask | None) -> None:
        """Keep the items of a chunk that may be among the best."""
        many = len(self._queries_R)
        if not many or not self._count:
            return
        logits_RC = logits_QC if many == len(logits_QC) and allowed_RC is None else logits_QC[self._queries_R]
        if allowed_RC is not None:
            logits_RC = np.where(allowed_RC, logits_RC, np.float32(-np.inf))
        size = logits_RC.shape[1]
        if not self._chunks and size > 2 * self._count:
            self._raise_least(np.partition(logits_RC, size - self._count, axis=1)[:, size - self._count])
        (flat,) = (logits_RC >= self._least_R[:, None]).ravel().nonzero()
        rows, logits = flat // size, logits_RC.ravel()[flat]
        self._entries.append((rows, flat - rows * size + begin, logits))
        self._recent.append((rows, logits))
        self._chunks += 1
        if self._chunks & (self._chunks - 1) == 0:
            self._tighten()

    def _raise_least(self, reached_R: Floats) -> None:
        """Take note that ``count`` items of each query reach these logits."""
        margin_R = self._margins_R + ROUNDING * (1 + np.abs(np.maximum(reached_R, LEAST / 2)))
        np.maximum(self._least_R, np.maximum(reached_R - margin_R, LEAST), out=self._least_R, casting="unsafe")

    def _tighten(self) -> None:
        """Find the ``count`` best logits of each query so far."""
        rows, logits = (np.concatenate(each) for each in zip(*self._recent, strict=True))
        self._recent = []
        if not len(rows):
            return
        if self._chunks > 1:
            order = np.argsort(rows.astype(np.uint16), kind="stable")
            rows, logits = rows[order], logits[order]
        rank = np.arange(len(rows)) - rows.searchsorted(np.arange(len(self._queries_R)))[rows]
        several_RK = np.full((len(self._queries_R), self._count + int(rank.max()) + 1), -np.inf, np.float32)
        several_RK[:, : self._count] = self._best_RK
        several_RK[rows, self._count + rank] = logits
        several_RK.partition(several_RK.shape[1] - self._count, axis=1)
        self._best_RK = several_RK[:, -self._count :]
        self._raise_least(self._best_RK[:, 0])

    def select_best(self) -> tuple[Places, Places, Floats]:
        """Return (number of the query, place, logit) of each candidate."""
        if not self._entries:
            return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)
        self._tighten_rest()
        rows, places, logits = (np.concatenate(each) for each in zip(*self._entries, strict=True))
        kept = logits >= self._least_R[rows]
        return self._queries_R[rows[kept]], places[kept], logits[kept]

    def _tighten_rest(self) -> None:
        if self._recent:
            self._tighten()
