"""Buckets of time: a length in seconds as one of GAP_BUCKETS numbers, and which of them training has met.

Shapes: G buckets of time.
"""

from __future__ import annotations

import torch
from torch import Tensor

from shared.recipes.hrnn.config import GAP_BUCKETS

LEAST_MET = 100
"""A bucket has weights of its own only if training has met it so many times."""


def bucket_gaps(seconds: Tensor) -> Tensor:
    """Return floor(log2(1 + seconds)): 0, 1-2, 3-6 ... seconds, up to 136 years. Negative seconds, of a clock that was
    set back, are in bucket 0."""
    return torch.log2(seconds.clamp(min=0).float() + 1).long().clamp(max=GAP_BUCKETS - 1)


def find_known_buckets(counts_G: Tensor) -> Tensor:
    """Return the buckets that were met LEAST_MET times, ascending. If there are none, return the most frequent."""
    return torch.nonzero(counts_G >= min(LEAST_MET, int(counts_G.max()))).view(-1)


def find_nearest_known(counts_G: Tensor) -> Tensor:
    """[G] Return for each bucket the nearest of ``find_known_buckets``; of two equally near, the shorter."""
    known = find_known_buckets(counts_G)
    distance_GK = (torch.arange(len(counts_G), device=known.device)[:, None] - known).abs()
    return known[distance_GK.argmin(1)]
