"""Requests that wait for the vectors of all items at the same time share one pass over them.

Each request in a large catalogue waits for memory: for all vectors. A product with four queries takes a third longer
than with one, because they share the vectors read.

    fewer passes than cores are running    a request starts at once, alone
    else                                   it waits; when a pass ends, the first MOST waiting requests start together,
                                           led by the first

So no request waits for company, nor, with the usual number of threads, for more than the pass that is running. Code
that can fail on a request's content runs before and after the pass, in the request's own thread.

From SCANNED items on, a pass reads 8-bit vectors and its results are estimates (item_scan.py). Four queries take a
third longer than one there too.

Shapes: B queries, H hidden, I items, C items of a chunk.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.recipes.hrnn.serving.file_rows import FileRows
from shared.recipes.hrnn.serving.item_scan import QuantizedScan, ScanErrorBounds

Floats = npt.NDArray[np.float32]

SCANNED = 100_000
"""The least items whose vectors are scanned in 8 bits."""

SETTLED = 64
"""So many of the best logits are made exact before all are summed: they may be most of the sum."""

MOST = 4
"""The most queries in one pass: eight take almost twice as long as four, three as long as four. Each has its own
float32[I]."""

CHUNK = 16384
"""Items whose logits are copied from [C,B] into the requests' own [I] while they are in a core's cache."""

BLOCK = 256
"""Items of one product. OpenBLAS multiplies small matrices in place, but first copies larger ones into another layout,
which takes longer than the product."""


def open_rows(vectors_IH: Floats) -> FileRows | Floats:
    """Return the rows for lookups of a few places at a time."""
    return FileRows(vectors_IH) if len(vectors_IH) > SCANNED else vectors_IH


class SharedPasses:
    """Computes logits of all items, at most as many passes at once as ``cores``, or half as many scans.

    ``vectors_IH`` and ``bias_I`` may be mapped.
    """

    def __init__(self, vectors_IH: Floats, bias_I: Floats, cores: int) -> None:
        self._vectors_IH = vectors_IH
        self._bias_I = bias_I
        self._scan = QuantizedScan(vectors_IH, bias_I) if len(bias_I) >= SCANNED else None
        # Two scans at once share the memory's bandwidth, and a request that started alone is joined by none: 75
        # requests/s over 8 connections with a million items on 2 cores, and 89 with one pass at a time.
        self._free = cores if self._scan is None else max(1, cores // 2)
        self._waiting: list[_WaitingRequest] = []
        self._lock = threading.Lock()

    def compute_logits(self, q_H: Floats) -> Floats:
        """float32[I]: return the products of all items with q_H plus their biases, in an array of the caller's own.

        They are estimates if ``create_estimate`` returns an object. Several threads may call.
        """
        with self._lock:
            waiting = None if self._free > 0 else _WaitingRequest(q_H, np.empty(len(self._bias_I), np.float32))
            if waiting is None:
                self._free -= 1
            else:
                self._waiting.append(waiting)
        if waiting is None:
            try:
                return self.compute_alone(q_H)
            finally:
                self._end_pass()
        waiting.called.wait()
        if waiting.followers is not None:
            try:
                self._lead_pass([waiting, *waiting.followers])
            finally:
                self._end_pass()
        return waiting.logits_I if waiting.answered else self.compute_alone(q_H)

    @property
    def scan(self) -> QuantizedScan | None:
        """The 8-bit vectors; None: passes read those of float32."""
        return self._scan

    def create_error_bounds(
        self, q_H: Floats, exact: npt.NDArray[np.integer[Any]] | None = None
    ) -> ScanErrorBounds | None:
        """Return the error bounds of a query's logits; None: they are exact.

        ``exact``: places of items with scores from another source.
        """
        if self._scan is None:
            return None
        return self._scan.create_error_bounds(q_H, np.zeros(0, np.int64) if exact is None else exact)

    def compute_alone(self, q_H: Floats) -> Floats:
        """Return one query's logits, by a pass of its own."""
        if self._scan is not None:
            estimates_I = np.empty(len(self._bias_I), np.float32)
            self._scan.estimate_logits([q_H], [estimates_I])
            return estimates_I
        logits_I: Floats = self._vectors_IH @ q_H
        logits_I += self._bias_I
        return logits_I

    def compute_together(self, queries: Sequence[Floats], logits: Sequence[Floats]) -> None:
        """Write the logits of at most MOST queries, to float rounding, each into its own float32[I]."""
        if self._scan is not None:
            self._scan.estimate_logits(queries, logits)
            return
        q_HB = np.zeros((self._vectors_IH.shape[1], MOST), np.float32)
        for place, q_H in enumerate(queries):
            q_HB[:, place] = q_H
        for begin in range(0, len(self._bias_I), CHUNK):
            chunk = slice(begin, begin + CHUNK)
            logits_CB, bias_C = _multiply_blocks(self._vectors_IH[chunk], q_HB), self._bias_I[chunk]
            for logits_C, logits_I in zip(logits_CB.T, logits, strict=False):
                np.add(logits_C, bias_C, out=logits_I[chunk])

    def _lead_pass(self, led: Sequence[_WaitingRequest]) -> None:
        """Run a pass for these. If it fails, each request computes alone afterwards, and may fail alone."""
        try:
            if len(led) > 1:
                with suppress(Exception):
                    self.compute_together([each.q_H for each in led], [each.logits_I for each in led])
                    for each in led:
                        each.answered = True
        finally:
            for each in led[1:]:
                each.called.set()

    def _end_pass(self) -> None:
        """Let the first waiting requests start."""
        with self._lock:
            self._free += 1
            if self._waiting:
                led, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
                self._free -= 1
                led[0].followers = led[1:]
                led[0].called.set()


class _WaitingRequest:
    """A request that waits for its turn."""

    def __init__(self, q_H: Floats, logits_I: Floats) -> None:
        self.q_H = q_H
        self.logits_I = logits_I
        self.answered = False
        self.called = threading.Event()
        """Set when its turn has come: to lead a pass, or to continue with its logits."""
        self.followers: Sequence[_WaitingRequest] | None = None
        """The requests that it leads; None: it does not lead. Without itself, since a reference cycle would delay the
        release of memory."""


def _multiply_blocks(vectors_CH: Floats, q_HB: Floats) -> Floats:
    """Multiply in blocks of BLOCK items where the number of items allows it."""
    if len(vectors_CH) % BLOCK:
        return vectors_CH @ q_HB
    items, hidden = vectors_CH.shape
    return (vectors_CH.reshape(-1, BLOCK, hidden) @ q_HB).reshape(items, MOST)
