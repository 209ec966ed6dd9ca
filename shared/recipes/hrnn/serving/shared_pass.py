"""Requests that wait at one moment for the vectors of all items are answered by one pass over them.

What a request waits for in a large catalogue is the memory that the vectors come from, at each request all of it. A
product with four queries takes a third longer than one with one: they share what was read.

    fewer passes than cores are under way    a request goes at once, alone
    else                                     it waits; when one has ended, those who wait go together, the first MOST
                                             of them, led by the first

So nobody waits for company, nor, with as many threads as are usual, for more than the pass that is under way. What
can fail by what a request says comes before and after, in its own thread.

From SCANNED items on a pass goes over vectors of 8 bits, and what it finds are estimates (scan.py): four queries take a
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

from shared.recipes.hrnn.serving.file_rows import Rows
from shared.recipes.hrnn.serving.item_scan import Rough, Scan

Floats = npt.NDArray[np.float32]

SCANNED = 100_000
"""Items from which their vectors are scanned in 8 bits."""

SETTLED = 64
"""The best so many are made exact before there is a sum of all, of which they may be most."""

MOST = 4
"""Queries in one pass: eight take almost twice as long as four, three as long as four. Each has its own float32[I]."""

CHUNK = 16384
"""Items whose logits go from [C,B] into the requests' own [I] while a core's cache holds them."""

BLOCK = 256
"""Items of one product. OpenBLAS multiplies small matrices as they lie, and lays larger ones out anew first, which
takes longer than the product."""


def rows(vectors_IH: Floats) -> Rows | Floats:
    """Of which a few at a time are asked for by their places."""
    return Rows(vectors_IH) if len(vectors_IH) > SCANNED else vectors_IH


class Passes:
    """``vectors_IH`` and ``bias_I`` may be mapped; passes at once are as many as ``cores``, or half, of scans."""

    def __init__(self, vectors_IH: Floats, bias_I: Floats, cores: int) -> None:
        self._vectors_IH = vectors_IH
        self._bias_I = bias_I
        self._scan = Scan(vectors_IH, bias_I) if len(bias_I) >= SCANNED else None
        # Two cores that scan at once leave each other little of the memory, and whom they begin alone nobody joins: 75
        # requests/s over 8 connections with a million items on 2 cores, and 89 with one pass at a time.
        self._free = cores if self._scan is None else max(1, cores // 2)
        self._waiting: list[_Waiting] = []
        self._lock = threading.Lock()

    def logits(self, q_H: Floats) -> Floats:
        """float32[I], for the caller to keep: how near q_H each item is, and its bias. Safe from several threads.

        Estimates where ``rough`` answers something.
        """
        with self._lock:
            waiting = None if self._free > 0 else _Waiting(q_H, np.empty(len(self._bias_I), np.float32))
            if waiting is None:
                self._free -= 1
            else:
                self._waiting.append(waiting)
        if waiting is None:
            try:
                return self.alone(q_H)
            finally:
                self._ended()
        waiting.called.wait()
        if waiting.others is not None:
            try:
                self._lead([waiting, *waiting.others])
            finally:
                self._ended()
        return waiting.logits_I if waiting.answered else self.alone(q_H)

    def rough(self, q_H: Floats, exact: npt.NDArray[np.integer[Any]] | None = None) -> Rough | None:
        """What tells how far the logits of a query are off; None: they are not. ``exact``: the places of items whose
        scores are not made of them.
        """
        if self._scan is None:
            return None
        return self._scan.rough(q_H, np.zeros(0, np.int64) if exact is None else exact)

    def alone(self, q_H: Floats) -> Floats:
        """One query's logits, in a pass of its own."""
        if self._scan is not None:
            estimates_I = np.empty(len(self._bias_I), np.float32)
            self._scan.logits([q_H], [estimates_I])
            return estimates_I
        logits_I: Floats = self._vectors_IH @ q_H
        logits_I += self._bias_I
        return logits_I

    def together(self, queries: Sequence[Floats], logits: Sequence[Floats]) -> None:
        """The same for MOST or fewer, to float rounding, each into its own float32[I]."""
        if self._scan is not None:
            self._scan.logits(queries, logits)
            return
        q_HB = np.zeros((self._vectors_IH.shape[1], MOST), np.float32)
        for place, q_H in enumerate(queries):
            q_HB[:, place] = q_H
        for begin in range(0, len(self._bias_I), CHUNK):
            chunk = slice(begin, begin + CHUNK)
            logits_CB, bias_C = _product(self._vectors_IH[chunk], q_HB), self._bias_I[chunk]
            for logits_C, logits_I in zip(logits_CB.T, logits, strict=False):
                np.add(logits_C, bias_C, out=logits_I[chunk])

    def _lead(self, led: Sequence[_Waiting]) -> None:
        """A pass that breaks answers nobody: each goes alone then, and fails alone."""
        try:
            if len(led) > 1:
                with suppress(Exception):
                    self.together([each.q_H for each in led], [each.logits_I for each in led])
                    for each in led:
                        each.answered = True
        finally:
            for each in led[1:]:
                each.called.set()

    def _ended(self) -> None:
        """Of those who wait the first may begin."""
        with self._lock:
            self._free += 1
            if self._waiting:
                led, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
                self._free -= 1
                led[0].others = led[1:]
                led[0].called.set()


class _Waiting:
    """A request until its turn."""

    def __init__(self, q_H: Floats, logits_I: Floats) -> None:
        self.q_H = q_H
        self.logits_I = logits_I
        self.answered = False
        self.called = threading.Event()
        """Its turn has come: to lead, or to go on with its logits."""
        self.others: Sequence[_Waiting] | None = None
        """Whom it leads; None: it does not. Itself among them would be a cycle, and memory that is kept for a while."""


def _product(vectors_CH: Floats, q_HB: Floats) -> Floats:
    if len(vectors_CH) % BLOCK:
        return vectors_CH @ q_HB
    items, hidden = vectors_CH.shape
    return (vectors_CH.reshape(-1, BLOCK, hidden) @ q_HB).reshape(items, MOST)
