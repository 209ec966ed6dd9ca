"""A vector for every item, such that items with nearby events, or with similar metadata, get similar vectors.

For an item i and an item j that the same user took a few events before or after it:

    p(j | i) = softmax_j(x_i . x_j + b_j)      x_i = [k_i e_i ; sum_f w_f m_f]      over the features f of i
    b_j = k_j b'_j + (1 - k_j) b'' + sum_f w_f m'_f

k_i is 1, or 0 for a cold item: an item with too few events for a vector e_i of its own, which is ranked by its
features. Each step treats some items as cold, so that the features learn to stand alone. Seeds and candidates share one
table, so that similarity is symmetric.

Item2vec (Barkan and Koenigstein, 2016) is this without features and with a sampled loss; Meta-Prod2Vec (Vasile,
Smirnova and Conneau, 2016) adds metadata. Shapes: R seeds, T targets of each, C candidates, D values.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from shared.recipes.hrnn.types import FeatureBags


@dataclass(frozen=True, kw_only=True)
class SimilarItemsConfig:
    """The sizes of the network."""

    items: int
    id_hidden: int
    metadata_hidden: int = 0
    """0 where there are no features."""
    features: int = 0


class SimilarItemsNetwork(nn.Module):
    """The tables of vectors and biases, of items and of features."""

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
            # The features of an item sum up to a vector of about the size of an item's own.
            nn.init.normal_(self.features.weight, std=0.5 * (4 * form.metadata_hidden) ** -0.5)
            nn.init.zeros_(self.features.weight[:, -1])

    def forward(self, ids_C: Tensor, known_C: Tensor, bags_C: FeatureBags | None) -> Tensor:
        """Return x_CD of these items with b_C as its last column."""
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
    """loss_R: the mean negative log probability of each seed's targets, given as places among the candidates.

    ``own_RC`` is true where a candidate is the seed itself, ``offset_C`` is subtracted from the candidates' logits, and
    ``counts_RT`` is 1 for a target that counts, else 0.
    """
    logits_RC = functional.linear(x_RD[:, :-1], x_CD[:, :-1], x_CD[:, -1] - offset_C)
    # Not -inf: where the seed is the only candidate its loss is multiplied by 0, which would give NaN.
    logits_RC = logits_RC.masked_fill(own_RC, torch.finfo(logits_RC.dtype).min)
    logp_RT = logits_RC.gather(1, targets_RT).where(counts_RT > 0, 0.0) - torch.logsumexp(logits_RC, 1, keepdim=True)
    return -(logp_RT * counts_RT).sum(1) / counts_RT.sum(1).clamp(min=1)
