"""A vector for every item, so that items taken near one another, and items of like metadata, have vectors alike.

Of an item i and another, j, that the same user took a few events before or after it:

    p(j | i) = softmax_j(x_i . x_j + b_j)      x_i = [k_i e_i ; sum_f w_f m_f]      over the features f of i
    b_j = k_j b'_j + (1 - k_j) b'' + sum_f w_f m'_f

k_i is 1, or 0 for a stranger: an item too rarely taken to have a vector e_i of its own. It is judged by its features,
and some items are made strangers in each step, so that the features learn to stand alone. One table serves as seeds
and as candidates: what is like is so both ways.

Item2vec (Barkan and Koenigstein, 2016) is this without features and with a sampled loss; Meta-Prod2Vec (Vasile,
Smirnova and Conneau, 2016) adds metadata. In shapes: R seeds, T targets of each, C candidates, D values.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from shared.recipes.hrnn.types import FeatureBags


@dataclass(frozen=True, kw_only=True)
class SimilarItemsConfig:
    items: int
    id_hidden: int
    metadata_hidden: int = 0
    """0 where there are no features."""
    features: int = 0


class SimilarItemsNetwork(nn.Module):
    def __init__(self, form: SimilarItemsConfig) -> None:
        super().__init__()
        self.form = form
        self.ids = nn.Embedding(form.items, form.id_hidden, sparse=True)
        self.bias = nn.Embedding(form.items, 1, sparse=True)
        self.stranger_bias = nn.Parameter(torch.zeros(1))
        self.features = nn.Embedding(form.features, form.metadata_hidden + 1) if form.features else None
        nn.init.normal_(self.ids.weight, std=0.5 * form.id_hidden**-0.5)
        nn.init.zeros_(self.bias.weight)
        if self.features is not None:
            # As with one table, so with the other: features of an item sum up to a vector like an item's own.
            nn.init.normal_(self.features.weight, std=0.5 * (4 * form.metadata_hidden) ** -0.5)
            nn.init.zeros_(self.features.weight[:, -1])

    def forward(self, ids_C: Tensor, known_C: Tensor, bags_C: FeatureBags | None) -> Tensor:
        """x_CD of these items with b_C as its last column."""
        parts = [self.ids(ids_C) * known_C[:, None]]
        b_C1 = self.bias(ids_C) * known_C[:, None] + self.stranger_bias * (1 - known_C[:, None])
        if self.features is not None and bags_C is not None:
            of_features = bags_C.sum_embeddings(self.features)
            parts.append(of_features[:, :-1])
            b_C1 = b_C1 + of_features[:, -1:]
        return torch.cat([*parts, b_C1], 1)


def compute_losses(
    x_RD: Tensor, x_CD: Tensor, offset_C: Tensor, own_RC: Tensor, targets_RT: Tensor, counts_RT: Tensor
) -> Tensor:
    """loss_R: how badly each seed foretells its targets, which are places among the candidates, on the mean.

    ``own_RC`` is where a candidate is the seed itself, ``offset_C`` is taken from the candidates' logits and
    ``counts_RT`` is 1 for a target that counts, else 0.
    """
    logits_RC = functional.linear(x_RD[:, :-1], x_CD[:, :-1], x_CD[:, -1] - offset_C)
    # Not infinity: where the seed is all that there is, it counts nothing, and nothing times infinity is no number.
    logits_RC = logits_RC.masked_fill(own_RC, torch.finfo(logits_RC.dtype).min)
    logp_RT = logits_RC.gather(1, targets_RT).where(counts_RT > 0, 0.0) - torch.logsumexp(logits_RC, 1, keepdim=True)
    return -(logp_RT * counts_RT).sum(1) / counts_RT.sum(1).clamp(min=1)
