"""The network's answer computed query by query from the equations, and queries to compute it for."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from shared.recipes.hrnn.config import HrnnConfig
from shared.recipes.hrnn.network import HrnnNetwork
from shared.recipes.hrnn.repeat_features import COUNT
from shared.recipes.hrnn.types import Pairs
from tests.recipes.networks import (
    H,
    some_known,
    some_pairs,
)

QUERIES = 11


def compute_shares(net: HrnnNetwork, q: Tensor, pairs: Pairs, known: Tensor) -> list[Tensor]:
    """p_I of each query, written out."""
    v, found = net.get_item_embeddings(), []
    for row in range(len(q)):
        at = torch.nonzero(pairs.rows == row).view(-1)
        had = pairs.items[at]
        new = torch.exp(v[:, :-1] @ q[row] + v[:, -1]) * torch.ones(len(v)).index_fill_(0, had, 0.0)
        new = new / new.sum()
        if net.again is None or not len(had):
            found.append(new)
            continue
        again, features = net.again, pairs.features
        assert features is not None
        x = again.known((features[at].clamp(again.least, again.most) - again.mean) * again.scale)
        if again.of_type is not None:
            assert pairs.types is not None
            x = x + again.of_type(pairs.types[at])
        a = (v[had, :-1] * again.fit) @ q[row] + again.bias(had)[:, 0] + again.worth(functional.silu(x))[:, 0]
        a = a + again.count * features[at, COUNT]
        share = torch.sigmoid(again.of_user(torch.cat([q[row], known[row]])))
        found.append(((1 - share) * new).index_copy(0, had, share * torch.softmax(a, 0)))
    return found


def make_queries(form: HrnnConfig) -> tuple[Tensor, Pairs, Tensor]:
    """q, pairs, known; the first has no history."""
    torch.manual_seed(5)
    return torch.randn(QUERIES, H, requires_grad=True), some_pairs(form, QUERIES), some_known(QUERIES)


def set_feature_range(net: HrnnNetwork) -> HrnnNetwork:
    """With features of pairs that have a mean, a scale and a range, and a weight of how often."""
    if net.again is not None:
        with torch.no_grad():
            for buffer, values in (("mean", 0.3), ("scale", 0.7), ("least", -0.8), ("most", 0.9), ("count", 0.4)):
                getattr(net.again, buffer).fill_(values)
    return net
