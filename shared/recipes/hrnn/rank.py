"""The place of a process among those that train one network together, and its share of each window."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, distributed

from shared.recipes.hrnn.types import Window

COLLECTIVE_SECONDS = 300.0
"""A rank that others wait for longer, while rank zero validates or writes a checkpoint, is lost."""


@dataclass(frozen=True)
class Rank:
    """One of several processes that train together, or the only one."""

    number: int = 0
    size: int = 1
    local: int = 0
    """Place among the processes of its machine."""
    talking: distributed.ProcessGroup | None = None
    """Where what is agreed is said, if not among all that train; it does not wait for a GPU."""

    def select_streams(self, window: Window) -> Window:
        """Its streams: every ``size``-th."""
        if self.size == 1:
            return window
        return Window(*(each[:, self.number :: self.size] for each in window))

    def select_state(self, state_LBW: Tensor) -> Tensor:
        return state_LBW[:, self.number :: self.size].contiguous()

    def gather_state(self, state_LBW: Tensor) -> Tensor:
        """The state of all streams, of each rank's. All ranks must ask."""
        if self.size == 1:
            return state_LBW
        parts = [torch.empty_like(state_LBW) for _ in range(self.size)]
        distributed.all_gather(parts, state_LBW.contiguous())
        return torch.stack(parts, 2).flatten(1, 2)

    def agree_on(self, decision: bool) -> bool:
        """What rank zero has decided. All ranks must ask."""
        if self.size == 1:
            return decision
        said = torch.tensor([decision], dtype=torch.uint8)
        distributed.broadcast(said, 0, group=self.talking)
        return bool(said)


ALONE = Rank()
