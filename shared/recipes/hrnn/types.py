"""The tensors that the packers, the network and its operations hand to each other.

Shapes: T steps, B streams, N queries, K targets of these, S pairs of a query and an item of its history, R rows or
spans, C candidates, F features of a pair.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

IMPOSSIBLE = -1e30
"""The logit of an impossible choice. It is finite, so that a query without targets may have impossible choices only."""


class FeatureBags(NamedTuple):
    """For each of R rows its features: ``values[offsets[r]:offsets[r + 1]]`` with their ``weights``."""

    offsets: Tensor  # [R + 1]
    values: Tensor  # [F]
    weights: Tensor  # [F]

    def select_rows(self, rows: Tensor) -> FeatureBags:
        """Return the bags of these rows."""
        begins = self.offsets[rows]
        lengths = self.offsets[rows + 1] - begins
        offsets = functional.pad(lengths.cumsum(0), (1, 0))
        places = torch.arange(int(offsets[-1]), device=rows.device)
        places += (begins - offsets[:-1]).repeat_interleave(lengths)
        return FeatureBags(offsets, self.values[places], self.weights[places])

    def sum_embeddings(self, of: nn.Embedding) -> Tensor:
        """Return the weighted sum of each bag's vectors: [R,H]."""
        return functional.embedding_bag(
            self.values,
            of.weight,
            self.offsets,
            mode="sum",
            per_sample_weights=self.weights,
            include_last_offset=True,
        )


class Events(NamedTuple):
    """The input of the network. ``types`` and ``users`` are None where the network reads none."""

    items: Tensor  # [T,B] START is the number after the last item
    before: Tensor  # [T,B] seconds since the user's previous event; 0 at the first
    begins: Tensor  # [T,B] True at START, where the state is reset
    types: Tensor | None = None  # [T,B] 0: none
    users: FeatureBags | None = None  # R = T x B


class Window(NamedTuple):
    """The events to predict in one step.

    ``places`` are the same events in the order of the file. Events of one moment have no order, and are read in one
    that is drawn in each epoch.
    """

    events: Tensor  # int64[T,B]
    counts: Tensor  # bool[T,B] False for events that fill up the last stream
    places: Tensor  # int64[T,B]
    before: Tensor  # int64[T,B] the event read before each; arbitrary where a user begins

    def to(self, device: torch.device) -> Window:
        return Window(*(each.to(device) for each in self))


class Pairs(NamedTuple):
    """Query ``rows[s]`` has item ``items[s]`` in its history. Each pair stands once, rows ascending."""

    rows: Tensor  # [S]
    items: Tensor  # [S]
    features: Tensor | None = None  # [S,F] of the item's last time; None where repeats are not modelled
    types: Tensor | None = None  # [S] type of that time, 0: none; None where types are not read

    def select_queries(self, chosen_N: Tensor) -> Pairs:
        """Return the pairs of the chosen queries, bool[N], which are renumbered."""
        number_N = chosen_N.cumsum(0) - 1
        at = torch.nonzero(chosen_N[self.rows]).view(-1)
        rows, items = number_N[self.rows[at]], self.items[at]
        return Pairs(rows, items, *(None if each is None else each[at] for each in (self.features, self.types)))


class Targets(NamedTuple):
    """Query ``rows[k]`` must predict ``items[k]``. A query may have several targets, rows ascending."""

    rows: Tensor  # [K]
    items: Tensor  # [K]
    weights: Tensor  # [K]

    def select(self, chosen_K: Tensor) -> Targets:
        """Return some of them, chosen by bool[K] or by their places."""
        return Targets(*(each[chosen_K] for each in self))

    def select_queries(self, chosen_N: Tensor) -> Targets:
        """Return the targets of the chosen queries, bool[N], which are renumbered."""
        chosen = self.select(chosen_N[self.rows])
        return chosen._replace(rows=(chosen_N.cumsum(0) - 1)[chosen.rows])

    def renumber_queries(self, queries: int) -> tuple[Tensor, Targets]:
        """Return (bool[N] which queries have targets, the targets with these queries renumbered)."""
        asked_N = torch.zeros(queries, dtype=torch.bool, device=self.rows.device).index_fill_(0, self.rows, True)
        return asked_N, self._replace(rows=(asked_N.cumsum(0) - 1)[self.rows])

    def find_pairs(self, pairs: Pairs, items: int) -> Tensor:
        """[K] Find for each target the pair of its query and item; -1 where the item is new to the user."""
        keys_S, order_S = torch.sort(pairs.rows * items + pairs.items)
        keys_K = self.rows * items + self.items
        if not len(keys_S):
            return torch.full_like(keys_K, -1)
        places_K = torch.searchsorted(keys_S, keys_K).clamp(max=len(keys_S) - 1)
        return torch.where(keys_S[places_K] == keys_K, order_S[places_K], -1)


class HistorySpans(NamedTuple):
    """``Pairs`` in a shorter form, for queries that are the T steps of B streams, stream by stream: N = B x T.

    The user of ``streams[r]`` has ``items[r]`` in the history in the steps from ``begins[r]`` to before ``ends[r]``.
    No two spans are of one stream and one item. Streams ascend.
    """

    streams: Tensor  # [R]
    items: Tensor  # [R]
    begins: Tensor  # [R]
    ends: Tensor  # [R]
    steps: int

    def select(self, chosen: Tensor) -> HistorySpans:
        """Return the spans chosen by bool[R], in the same order."""
        at = torch.nonzero(chosen).view(-1)
        streams, items, begins, ends = (each.index_select(0, at) for each in self[:4])
        return HistorySpans(streams, items, begins, ends, self.steps)

    def expand(self) -> tuple[Tensor, Tensor]:
        """Return rows and items of the same ``Pairs``. The rows are not in order."""
        lengths_R = self.ends - self.begins
        rows_S = torch.arange(int(lengths_R.sum()), device=lengths_R.device)
        rows_S += (self.streams * self.steps + self.ends - lengths_R.cumsum(0)).repeat_interleave(lengths_R)
        return rows_S, self.items.repeat_interleave(lengths_R)


class Queries(NamedTuple):
    """The input of the network's answers before each of N moments."""

    after: Tensor  # [N] seconds since the user's previous event; 0 within a visit
    pairs: Pairs
    contexts: FeatureBags | None
    known: Tensor  # [N,3] log of the user's events and of their items, and the share of repeats
    spans: HistorySpans | None = None


class Candidates(NamedTuple):
    """A sample of items that stands for all of them in one step. A target outside it has no loss."""

    ids: Tensor  # [C] ascending
    log_share: Tensor  # [C] log of the probability that the item is in the sample

    def filter_parts(
        self, pairs: Pairs, targets: Targets, spans: HistorySpans | None
    ) -> tuple[Pairs, Targets, HistorySpans | None]:
        """Keep the parts of these that are about candidates, with places in ``ids`` instead of items."""
        there_S, pair_S = self._find_places(pairs.items)
        there_K, target_K = self._find_places(targets.items)
        if spans is not None:
            there_R, span_R = self._find_places(spans.items)
            spans = spans._replace(items=span_R).select(there_R)
        targets = targets._replace(items=target_K).select(there_K)
        return Pairs(pairs.rows[there_S], pair_S[there_S]), targets, spans

    def _find_places(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """Return which of these are candidates, and their places."""
        places = torch.searchsorted(self.ids, items).clamp_(max=len(self.ids) - 1)
        return self.ids[places] == items, places
