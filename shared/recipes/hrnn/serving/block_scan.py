"""Logits of a block of queries by the scan of a large catalogue: the estimates of ``item_scan``, to the same bits.

Shapes: B halves of queries, Q queries, I items, C items of a chunk, H hidden.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from shared.recipes.hrnn.serving.file_rows import Floats
from shared.recipes.hrnn.serving.int8_products import Int8Products
from shared.recipes.hrnn.serving.item_scan import QuantizedScan

ITEMS, QUERIES = 2048, 128
"""Items of one product and the most queries of it: sums and logits of both halves fit a core's second cache."""


class ScanSource:
    """``block_search.LogitSource`` of 8-bit vectors, in smaller chunks than those of single requests."""

    most_queries = QUERIES

    def __init__(self, scan: QuantizedScan) -> None:
        self.scan = scan
        self._products = [Int8Products(codes_CH, scan.base) for codes_CH in scan.iter_codes(ITEMS)]

    def iter_chunks(self, q_QH: Floats) -> Iterator[tuple[int, Floats]]:
        halves_BH, scale_Q = self.scan.quantize_queries(q_QH)
        many = len(q_QH)
        room = np.empty(2 * many * ITEMS, np.int32)
        logits = np.empty(many * ITEMS, np.float32)
        for number, products in enumerate(self._products):
            logits_QC = logits[: many * products.items].reshape(many, products.items)
            self.scan.join_halves(products.multiply_queries(halves_BH, room), scale_Q, number * ITEMS, logits_QC)
            yield number * ITEMS, logits_QC

    def get_margins(self, q_QH: Floats) -> npt.NDArray[np.float64]:
        none = np.zeros(0, np.int64)
        return np.array([2 * self.scan.create_error_bounds(q_H, none).greatest_bound for q_H in q_QH])
