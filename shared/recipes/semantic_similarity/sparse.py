"""Sparse matrices in rows, and their products with dense ones. NumPy alone; shapes: R rows, C columns, N entries."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

ROWS_AT_ONCE = 1024


@dataclass(frozen=True, eq=False)
class SparseRows:
    """A matrix of R rows: row r has ``values[offsets[r]:offsets[r + 1]]`` in the columns at the same places."""

    offsets: npt.NDArray[np.int64]
    """[R + 1]"""
    columns: npt.NDArray[np.int32]
    """[N]"""
    values: npt.NDArray[np.float32]
    """[N]"""

    @classmethod
    def from_lengths(
        cls, lengths_R: npt.NDArray[np.int64], columns: npt.NDArray[np.int32], values: npt.NDArray[np.float32]
    ) -> Self:
        """Build a matrix whose rows have so many entries each."""
        return cls(np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths_R)]), columns, values)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def row_numbers(self) -> npt.NDArray[np.int32]:
        """int32[N]: the row of each entry."""
        return np.repeat(np.arange(len(self), dtype=np.int32), np.diff(self.offsets))

    def transpose(self, columns: int) -> SparseRows:
        """Return the transposed matrix; this one has so many columns."""
        order = np.argsort(self.columns, kind="stable")
        lengths = np.bincount(self.columns, minlength=columns)
        return SparseRows.from_lengths(lengths, self.row_numbers[order], self.values[order])

    def multiply(
        self, dense_CK: npt.NDArray[np.float32], on_block: Callable[[], None] = lambda: None
    ) -> npt.NDArray[np.float32]:
        """float32[R,K]: the product with a dense matrix; ``on_block`` is called before each block of rows."""
        product_RK = np.zeros((len(self), dense_CK.shape[1]), np.float32)
        ends = self.offsets.tolist()
        for row, (begin, end) in enumerate(itertools.pairwise(ends)):
            if row % ROWS_AT_ONCE == 0:
                on_block()
            if begin < end:
                # The few rows of a product fit into the processor's cache: quicker than to gather many at a time.
                product_RK[row] = self.values[begin:end] @ dense_CK[self.columns[begin:end]]
        return product_RK


def compute_right_singular_vectors(
    left: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]],
    right: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]],
    columns: int,
    rank: int,
    rng: np.random.Generator,
    *,
    rounds: int = 2,
    more: int = 16,
) -> npt.NDArray[np.float32]:
    """float32[C,K]: the first right singular vectors of a matrix A of C columns; K is ``rank``, or A's rank if smaller.

    ``left(X)`` is A X and ``right(Y)`` is A^T Y. Source: Halko, Martinsson and Tropp (2011), algorithm 4.4: a random
    range, ``more`` columns wider than the rank, improved by ``rounds`` of subspace iteration.
    """
    range_RK = orthonormalize(left(rng.standard_normal((columns, rank + more), dtype=np.float32)))
    for _ in range(rounds):
        range_RK = orthonormalize(left(orthonormalize(right(range_RK))))
    small_CK = right(range_RK)  # the transpose of Q^T A
    squares_K, turned_KK = np.linalg.eigh(small_CK.T.astype(np.float64) @ small_CK)
    singular_K = np.sqrt(np.maximum(squares_K[::-1][:rank], 0.0))
    kept_K = singular_K > 1e-5 * max(singular_K.max(initial=0.0), 1e-30)
    turned_KK = turned_KK[:, ::-1][:, :rank][:, kept_K] / singular_K[kept_K]
    vectors_CK: npt.NDArray[np.float32] = small_CK @ turned_KK.astype(np.float32)
    return vectors_CK


def orthonormalize(tall_RK: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """float32[R,L]: an orthonormal basis of the columns, without directions that are 1,000 times shorter than others.

    Two products and the eigenvectors of [K,K], twice for accuracy, take a fraction of the time of a QR decomposition.
    """
    for _ in range(2):
        squares_K, vectors_KK = np.linalg.eigh((tall_RK.T @ tall_RK).astype(np.float64))
        kept_K = squares_K > 1e-6 * max(squares_K.max(initial=0.0), 1e-30)
        tall_RK = tall_RK @ (vectors_KK[:, kept_K] / np.sqrt(squares_K[kept_K])).astype(np.float32)
    return tall_RK
