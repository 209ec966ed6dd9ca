"""The place of a process among those that train one network together, and its share of each window."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, distributed

from shared.recipes.hrnn.types import Window

COLLECTIVE_SECONDS = 300.0
"""A rank that the other ranks wait for longer, even while rank zero validates or writes a checkpoint, is lost."""


@dataclass(frozen=True)
class Rank:
    """One of several processes that train together, or the only one."""

    number: int = 0
    size: int = 1
    local: int = 0
    """Its index among the processes of its machine."""
    decision_group: distributed.ProcessGroup | None = None
    """The group for decisions, which does not wait for GPUs; None: the default group."""

    def select_streams(self, window: Window) -> Window:
        """Return this rank's streams of the window: every ``size``-th."""
        if self.size == 1:
            return window
        return Window(*(each[:, self.number :: self.size] for each in window))

    def select_state(self, state_LBW: Tensor) -> Tensor:
        """Return the state of this rank's streams."""
        return state_LBW[:, self.number :: self.size].contiguous()

    def gather_state(self, state_LBW: Tensor) -> Tensor:
        """Return the state of all streams, from each rank's share. All ranks must call."""
        if self.size == 1:
            return state_LBW
        parts = [torch.empty_like(state_LBW) for _ in range(self.size)]
        distributed.all_gather(parts, state_LBW.contiguous())
        return torch.stack(parts, 2).flatten(1, 2)

    def agree_on(self, decision: bool) -> bool:
        """Return rank zero's decision. All ranks must call."""
        if self.size == 1:
            return decision
        message = torch.tensor([decision], dtype=torch.uint8)
        distributed.broadcast(message, 0, group=self.decision_group)
        return bool(message)


ALONE = Rank()
