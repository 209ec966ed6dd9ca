"""Processes that train one network together: who each is, what they agree on, and where they meet.

Rank zero is the process of the job: it starts the others (``leading.py``), says how far the training is, validates, and
writes. Each of the others is ``rank.py``. They meet at a store of rank zero's:

    order       JSON, ``Order``: what there is to do
    arrived     how many of the others have read it and are ready
    lost        why a rank of a further node is no more
    over        rank zero has ended
    group/...   torch.distributed's own
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import timedelta

from torch import distributed
from torch.distributed import TCPStore  # type: ignore[attr-defined]
from torch.distributed.distributed_c10d import PrefixStore, Store

from shared.recipes.hrnn.rank import COLLECTIVE_SECONDS, Rank

Address = tuple[str, int]
"""Host and port."""


@dataclass(frozen=True, kw_only=True)
class RankAssignment:
    """What rank zero asks of the others."""

    path: str
    """``handover.py``'s file, which all nodes find at the same place."""
    processes: int
    """Of each node."""
    size: int
    """Ranks in all."""
    name: str
    """No two are alike."""


def join_group(store: Store, rank: Rank, *, cuda: bool) -> Rank:
    """Joins the group of all ranks: NCCL's among GPUs, else gloo's."""
    patience = timedelta(seconds=COLLECTIVE_SECONDS)
    distributed.init_process_group(
        "nccl" if cuda else "gloo",
        store=PrefixStore("group", store),
        rank=rank.number,
        world_size=rank.size,
        timeout=patience,
    )
    return replace(rank, talking=distributed.new_group(backend="gloo", timeout=patience) if cuda else None)


def connect_store(address: Address) -> TCPStore:
    """Rank zero's store. Raises ``torch.distributed.DistError`` where it is not there any more."""
    return TCPStore(*address, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=30))


def read_assignment(store: Store) -> RankAssignment:
    return RankAssignment(**json.loads(store.get("order")))
